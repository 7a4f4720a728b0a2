//! Asks the server over HTTP, with errors that say what to do.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::ServerUrl;

/// A client of one server.
pub(super) struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(server: &ServerUrl) -> anyhow::Result<Self> {
        let base = server.server.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            bail!("--server {base}: a URL starts with http://, e.g. http://127.0.0.1:9090");
        }
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(file) = &server.bearer_token_file {
            let token = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let mut value = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .with_context(|| format!("{} is not a token", file.display()))?;
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(server.ca_file.as_deref())?)
            .default_headers(headers)
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(130))
            .build()
            .context("HTTP client")?;
        Ok(Self { base, http })
    }

    /// `GET path?query`; the field `data` of the answer, and its warnings on standard error.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base)).query(query);
        let response = request.send().await.map_err(|error| self.explain(error))?;
        let status = response.status();
        let body =
            response.text().await.with_context(|| format!("{}{path}: the answer broke off", self.base))?;
        let answer: Option<Value> = serde_json::from_str(&body).ok();
        if !status.is_success() {
            let reason = answer.as_ref().and_then(|answer| answer["error"].as_str());
            match reason.unwrap_or_else(|| body.trim()) {
                "" => bail!("{}{path} answered {status}: is that a Binnacle server?", self.base),
                reason => bail!("{reason}"),
            }
        }
        let Some(mut answer) = answer else {
            bail!("{}{path} answered, but not with JSON: is that a Binnacle server?", self.base);
        };
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            eprintln!("warning: {}", warning.as_str().unwrap_or_default());
        }
        Ok(answer["data"].take())
    }

    /// Turns a failed request into words.
    fn explain(&self, error: reqwest::Error) -> anyhow::Error {
        if let Some(reason) = certificate_problem(&error) {
            return anyhow::anyhow!(
                "the certificate of {} is not trusted ({reason}): name its authority with --ca-file \
                 (or BINNACLE_CA_FILE); the server's own is DATA_DIR/tls/authority.pem",
                self.base
            );
        }
        if error.is_connect() {
            return anyhow::anyhow!(
                "no server answers at {}: start one with `binnacle server`, or name another with --server URL \
                 (or BINNACLE_SERVER)",
                self.base
            );
        }
        if error.is_timeout() {
            return anyhow::anyhow!("the server at {} did not answer in time", self.base);
        }
        anyhow::Error::new(error).context(format!("asking {}", self.base))
    }
}

/// Trusts what the system trusts, and the authorities in `ca_file`.
fn tls(ca_file: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let certificates = CertificateDer::pem_file_iter(file).with_context(|| file.display().to_string())?;
        for certificate in certificates {
            let certificate = certificate.with_context(|| file.display().to_string())?;
            roots.add(certificate).with_context(|| file.display().to_string())?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Why a server's certificate was refused, when that is what went wrong.
fn certificate_problem(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(rustls::Error::InvalidCertificate(reason)) = error.downcast_ref() {
        return Some(reason.to_string());
    }
    // An I/O error does not count what it wraps among its sources.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => certificate_problem(wrapped),
        None => error.source().and_then(certificate_problem),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_refused_certificate_is_found_however_it_is_wrapped() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(refused));
        assert!(certificate_problem(&wrapped).is_some());
        assert_eq!(certificate_problem(&io::Error::other("else")), None);
    }
}
