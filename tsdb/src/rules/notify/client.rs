//! The HTTP client of notifications: https by rustls, credentials from files. Passwords and tokens are held
//! for a request, the key of a certificate as long as the client; none is shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::rules::bounded::read_bounded;

/// Largest file of certificates or credentials, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How a receiver is reached; the names are those of Prometheus.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Whom to trust, and as whom to appear, over https.
    pub tls_config: TlsConfig,
    /// A user's name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A token.
    pub authorization: Option<Authorization>,
}

/// Certificates; the files are PEM and are read again when a connection fails.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Authorities to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate to show the receiver; with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// A user's name and password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// File that holds the password; read for each request.
    pub password_file: PathBuf,
}

/// A token in the header `Authorization`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// What stands before it.
    #[serde(rename = "type", default = "bearer")]
    pub kind: String,
    /// File that holds the token; read for each request.
    pub credentials_file: PathBuf,
}

fn bearer() -> String {
    "Bearer".to_owned()
}

/// A client, and the state of the files that it was made of.
pub(super) struct Client {
    http: reqwest::Client,
    made_of: Stamp,
}

/// When the files of certificates were written, and their lengths.
type Stamp = [Option<(SystemTime, u64)>; 3];

impl Client {
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn new(config: &HttpConfig) -> Result<Self, String> {
        // Before they are read: what is written meanwhile is seen the next time.
        let made_of = stamp(&config.tls_config);
        Ok(Self { http: client(config)?, made_of })
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Makes it anew when the files have changed and can be used; whether it did.
    pub(super) fn renew(&mut self, config: &HttpConfig) -> bool {
        if stamp(&config.tls_config) == self.made_of {
            return false;
        }
        match Self::new(config) {
            Ok(renewed) => *self = renewed,
            Err(reason) => {
                tracing::warn!(reason, "certificates have changed and cannot be used, the old ones stay");
                return false;
            }
        }
        true
    }
}

fn stamp(config: &TlsConfig) -> Stamp {
    [&config.ca_file, &config.cert_file, &config.key_file].map(|file| {
        let meta = std::fs::metadata(file.as_ref()?).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

/// A client for a receiver. Without any authority plain http still works; https then says that the issuer
/// is unknown.
///
/// # Errors
/// Which file cannot be used, and why.
fn client(config: &HttpConfig) -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    match &config.tls_config.ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("tls_config.ca_file {}: {error}", path.display()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let tls = match (&config.tls_config.cert_file, &config.tls_config.key_file) {
        (None, None) => tls.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let shown = key.display();
            let private = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|_| format!("tls_config.key_file {shown}: there is no PEM private key in it"))?;
            tls.with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| format!("tls_config.cert_file {}: {error}", certificate.display()))?
        }
        _ => return Err("tls_config: cert_file and key_file belong together".to_owned()),
    };
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().map_err(|error| error.to_string())
}

/// Adds the credentials to a request.
///
/// # Errors
/// Which file cannot be read, and why; never what is in it.
pub(super) fn authorized(
    request: reqwest::RequestBuilder,
    config: &HttpConfig,
) -> Result<reqwest::RequestBuilder, String> {
    let secret = |path: &Path| {
        let text =
            String::from_utf8(read(path)?).map_err(|_| format!("{}: it is not text", path.display()))?;
        Ok::<String, String>(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    if let Some(basic) = &config.basic_auth {
        return Ok(request.basic_auth(&basic.username, Some(secret(&basic.password_file)?)));
    }
    let Some(authorization) = &config.authorization else { return Ok(request) };
    let value = format!("{} {}", authorization.kind, secret(&authorization.credentials_file)?);
    let mut value = reqwest::header::HeaderValue::from_str(&value)
        .map_err(|_| format!("{}: a token is one line of ASCII", authorization.credentials_file.display()))?;
    value.set_sensitive(true);
    Ok(request.header(reqwest::header::AUTHORIZATION, value))
}

/// What is wrong with the settings of a receiver, seen before the first alert.
pub(super) fn check(config: &HttpConfig) -> Result<(), String> {
    if config.basic_auth.is_some() && config.authorization.is_some() {
        return Err("only one of basic_auth and authorization can be set".to_owned());
    }
    let client = client(config)?;
    authorized(client.get("http://localhost"), config).map(|_| ())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{}: there is no PEM certificate in it", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, MAX_FILE_BYTES).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named_without_their_contents() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret.pem");
        std::fs::write(&file, "hunter2\n").unwrap();
        let tls = TlsConfig { ca_file: Some(file.clone()), ..TlsConfig::default() };
        let error = check(&HttpConfig { tls_config: tls, ..HttpConfig::default() }).unwrap_err();
        assert!(error.contains("secret.pem") && !error.contains("hunter2"), "{error}");
        let tls = TlsConfig { cert_file: Some(file.clone()), ..TlsConfig::default() };
        assert!(check(&HttpConfig { tls_config: tls, ..HttpConfig::default() }).is_err());
        let missing = folder.path().join("none");
        let authorization = Some(Authorization { kind: bearer(), credentials_file: missing });
        assert!(check(&HttpConfig { authorization, ..HttpConfig::default() }).unwrap_err().contains("none"));
    }

    #[test]
    fn credentials_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "abc\n").unwrap();
        let authorization = Some(Authorization { kind: bearer(), credentials_file: file.clone() });
        let config = HttpConfig { authorization, ..HttpConfig::default() };
        let http = client(&config).unwrap();
        let request = authorized(http.post("http://localhost"), &config).unwrap().build().unwrap();
        assert_eq!(request.headers()["authorization"], "Bearer abc");
        assert!(!format!("{request:?}").contains("abc"), "tokens are not shown");
        let basic = BasicAuth { username: "u".to_owned(), password_file: file };
        let config = HttpConfig { basic_auth: Some(basic), ..HttpConfig::default() };
        let request = authorized(http.post("http://localhost"), &config).unwrap().build().unwrap();
        assert_eq!(request.headers()["authorization"], "Basic dTphYmM=");
    }

    #[test]
    fn a_client_is_made_anew_when_its_files_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let authority = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
        };
        std::fs::write(&file, authority("a")).unwrap();
        let tls_config = TlsConfig { ca_file: Some(file.clone()), ..TlsConfig::default() };
        let config = HttpConfig { tls_config, ..HttpConfig::default() };
        let mut client = Client::new(&config).unwrap();
        assert!(!client.renew(&config));
        std::fs::write(&file, authority("another-name")).unwrap();
        assert!(client.renew(&config));
        assert!(!client.renew(&config));
        std::fs::write(&file, "no certificate").unwrap();
        assert!(!client.renew(&config), "the old one stays");
    }
}
