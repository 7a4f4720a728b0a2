//! What a job's `tls_config` asks for, read anew when its files change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

/// Largest file with certificates, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A job's `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TlsConfig {
    /// Whom to trust (PEM); the machine's own authorities when absent.
    pub(super) ca_file: Option<PathBuf>,
    /// Our certificate and its key (PEM), both or neither.
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    /// The name in the target's certificate, where it is not that of its address.
    pub(super) server_name: Option<String>,
    /// Whether nothing below TLS 1.3 is spoken. Nothing below 1.2 ever is.
    pub(super) only_13: bool,
    /// Whether any certificate will do.
    pub(super) skip_verify: bool,
}

/// When a file was written, how long it is and which one it is.
type Looks = Option<(SystemTime, u64, u64)>;

/// The settings of a job's connections.
#[derive(Debug, Default)]
pub(super) struct Tls {
    config: TlsConfig,
    /// What was made of the files that looked so.
    made: Mutex<Option<([Looks; 3], Arc<ClientConfig>)>>,
}

impl Tls {
    pub(super) fn new(config: TlsConfig) -> Self {
        Self { config, made: Mutex::default() }
    }

    /// The name that the certificate of `host` must have.
    ///
    /// # Errors
    /// When it is no name.
    pub(super) fn name(&self, host: &str) -> Result<ServerName<'static>, String> {
        let name = self.config.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|e| format!("{name:?}: {e}"))
    }

    /// The settings now: the same ones as before while no file changes.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(super) fn settings(&self) -> Result<Arc<ClientConfig>, String> {
        let config = &self.config;
        let looks = [&config.ca_file, &config.cert_file, &config.key_file].map(|file| looks(file.as_deref()));
        let mut made = self.made.lock();
        if let Some((before, settings)) = &*made
            && *before == looks
        {
            return Ok(settings.clone());
        }
        let settings = Arc::new(config.settings()?);
        *made = Some((looks, settings.clone()));
        Ok(settings)
    }
}

fn looks(file: Option<&Path>) -> Looks {
    let meta = fs::metadata(file?).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

impl TlsConfig {
    fn settings(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[&SupportedProtocolVersion] = match self.only_13 {
            true => &[&rustls::version::TLS13],
            false => &[&rustls::version::TLS12, &rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.map_err(|e| e.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = match self.skip_verify {
            true => Arc::new(Anybody(provider)),
            false => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                verifier.map_err(|e| e.to_string())?
            }
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut settings = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| wrong(key, &e))?;
                let made = builder.with_client_auth_cert(certificates(cert)?, key);
                made.map_err(|e| wrong(cert, &e))?
            }
            _ => builder.with_no_client_auth(),
        };
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A session that is resumed would show an old certificate, and not look at the target's.
        settings.resumption = rustls::client::Resumption::disabled();
        Ok(settings)
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|e| wrong(file, &e))?;
                }
            }
            None => {
                // Some of a machine's certificates are of kinds that nobody can use.
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err("this machine trusts no authority: tls_config.ca_file is needed".to_owned());
                }
            }
        }
        Ok(roots)
    }
}

fn wrong(file: &Path, problem: &dyn std::fmt::Display) -> String {
    format!("{}: {problem}", file.display())
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(file).map_err(|e| wrong(file, &e))?.len();
    if size > MAX_FILE_BYTES {
        return Err(wrong(file, &format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    fs::read(file).map_err(|e| wrong(file, &e))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|e| wrong(file, &e))?;
    if found.is_empty() { Err(wrong(file, &"there is no certificate in it")) } else { Ok(found) }
}

/// Takes any certificate; its holder must have the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
