//! Certificates of the tests' own making, and gRPC connections made with them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use binnacle_proto::identity::{SERVER_URI, node_uri};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::{Duration, OffsetDateTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// A certificate authority.
pub struct Authority {
    key: KeyPair,
    /// Its certificate, PEM.
    pub pem: String,
}

/// Certificate and key, PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let pem = Self::params().self_signed(&key)?.pem();
        Ok(Self { key, pem })
    }

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    /// A certificate for a node, valid from an hour ago for so many seconds from now, which may be
    /// negative.
    ///
    /// # Errors
    /// When the name cannot be in a certificate.
    pub fn node(&self, name: &str, seconds: i64) -> Result<Identity> {
        let uri = node_uri(name).context("not a node's name")?;
        self.sign(vec![SanType::URI(uri.try_into()?)], ExtendedKeyUsagePurpose::ClientAuth, seconds)
    }

    /// A certificate for a server on this machine.
    ///
    /// # Errors
    /// As [`Authority::node`].
    pub fn server(&self, seconds: i64) -> Result<Identity> {
        let names = vec![
            SanType::URI(SERVER_URI.try_into()?),
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        self.sign(names, ExtendedKeyUsagePurpose::ServerAuth, seconds)
    }

    fn sign(&self, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose, seconds: i64) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::hours(1);
        params.not_after = now + Duration::seconds(seconds);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &Issuer::new(Self::params(), &self.key))?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

/// A connection to `address` that trusts `authority` (PEM) and shows `identity`.
///
/// # Errors
/// What TLS or TCP said.
pub async fn channel(address: SocketAddr, authority: &str, identity: Option<&Identity>) -> Result<Channel> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut settings = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?)?
        }
    };
    settings.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(settings));
    let service = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::from(address.ip());
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Ok(Endpoint::from_shared(format!("https://{address}"))?.connect_with_connector(service).await?)
}
