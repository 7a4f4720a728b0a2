//! The HTTP client of notifications: https by rustls, with the authorities that the system trusts.

use std::sync::Arc;

/// A client for receivers. Without any authority of the system plain http still works; https then says
/// that the issuer is unknown.
///
/// # Errors
/// When the cryptography offers no version of TLS.
pub(super) fn client() -> Result<reqwest::Client, String> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().map_err(|error| error.to_string())
}
