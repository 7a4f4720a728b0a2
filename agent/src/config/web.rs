//! Section `[web]`: who may read from the agent's own HTTP port.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::Error;

/// TLS of the agent's own HTTP port. Files are read anew when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Certificate of the port (PEM).
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
    /// Authorities (PEM): who asks must have a certificate of one of them.
    pub client_ca_file: Option<PathBuf>,
    /// Allows an address that other machines reach without TLS: everybody there can read what runs here.
    pub insecure: bool,
}

impl Web {
    pub(super) fn check(&self, http: Option<SocketAddr>) -> Result<(), Error> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(Error::config("web", "cert_file and key_file go together"));
        }
        if self.client_ca_file.is_some() && self.cert_file.is_none() {
            return Err(Error::config("web.client_ca_file", "needs cert_file and key_file"));
        }
        match http {
            Some(address) if !address.ip().is_loopback() && self.cert_file.is_none() && !self.insecure => {
                let problem = format!(
                    "{address} is reached by other machines: set web.cert_file and web.key_file, or allow it with \
                     web.insecure = true on a network that you trust"
                );
                Err(Error::config("http", problem))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_reach_needs_tls_or_a_word() {
        let check = |web: &Web, address: &str| {
            web.check(Some(address.parse().unwrap())).map_err(|error| error.to_string())
        };
        let some = || Some(PathBuf::from("x"));
        assert_eq!(check(&Web::default(), "127.0.0.1:1"), Ok(()));
        assert!(check(&Web::default(), "0.0.0.0:1").unwrap_err().contains("web.insecure"));
        assert_eq!(check(&Web { insecure: true, ..Web::default() }, "0.0.0.0:1"), Ok(()));
        let tls = Web { cert_file: some(), key_file: some(), ..Web::default() };
        assert_eq!(check(&tls, "[::]:1"), Ok(()));
        assert!(check(&Web { key_file: None, ..tls }, "127.0.0.1:1").unwrap_err().contains("go together"));
        let only_ca = Web { client_ca_file: some(), ..Web::default() };
        assert!(check(&only_ca, "127.0.0.1:1").unwrap_err().contains("client_ca_file"));
    }
}
