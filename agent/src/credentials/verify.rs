//! How the agent knows the server: by its authority, and by the server's own name in the certificate.

use std::sync::Arc;

use binnacle_proto::identity::{Facts, Fingerprint};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, PeerIncompatible,
    RootCertStore, SignatureScheme, client::WantsClientCert,
};

/// Whom to trust.
#[derive(Debug)]
enum Trust {
    /// These authorities.
    Authorities(RootCertStore),
    /// The authority with this fingerprint, which the server must show: first contact.
    Pinned(Fingerprint),
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

/// Settings that trust these authorities.
pub(super) fn trusting(
    authorities: &[CertificateDer<'static>],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    builder(Trust::Authorities(roots))
}

/// Settings that trust the authority with this fingerprint.
pub(super) fn pinned(authority: Fingerprint) -> Result<ClientConfig, Error> {
    Ok(with_alpn(builder(Trust::Pinned(authority))?.with_no_client_auth()))
}

/// gRPC is spoken over HTTP/2.
pub(super) fn with_alpn(mut settings: ClientConfig) -> ClientConfig {
    settings.alpn_protocols = vec![b"h2".to_vec()];
    // A session that is resumed would show an old certificate.
    settings.resumption = rustls::client::Resumption::disabled();
    settings
}

fn builder(trust: Trust) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { trust, provider: provider.clone() };
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let verify = |roots: &RootCertStore| {
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
        };
        match &self.trust {
            Trust::Authorities(roots) => verify(roots)?,
            Trust::Pinned(fingerprint) => {
                let shown = intermediates.iter().find(|shown| Fingerprint::of(shown) == *fingerprint);
                let shown = shown.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
                let mut roots = RootCertStore::empty();
                roots.add(shown.clone().into_owned())?;
                verify(&roots)?;
            }
        }
        // Only the server itself has such a certificate: by what name it is reached does not matter.
        let is_server = Facts::of(certificate).is_ok_and(|facts| facts.is_server);
        if !is_server {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
