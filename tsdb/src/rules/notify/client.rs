//! The HTTP client of notifications: https by rustls, credentials from files. No secret is held longer
//! than a request, nor shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

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

/// A client for a receiver. Without any authority plain http still works; https then says that the issuer
/// is unknown.
///
/// # Errors
/// Which file cannot be used, and why.
pub(super) fn client(config: &HttpConfig) -> Result<reqwest::Client, String> {
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
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE_BYTES => Err(format!("{shown}: more than {MAX_FILE_BYTES} bytes")),
        _ => std::fs::read(path).map_err(|error| format!("{shown}: {error}")),
    }
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
}
