//! Section `[tls]`: how server and agent know each other.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use tonic::transport::Uri;

use crate::Error;

/// How server and agent know each other, when the server's address is `https://…`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// File with a token from `binnacle token create`, needed until the agent has joined. Its certificate
    /// is then kept in `state_dir` and renewed in time.
    pub join_token_file: Option<PathBuf>,
    /// Authority of the server's certificate (PEM), where certificates are given and not joined for.
    pub ca_file: Option<PathBuf>,
    /// The node's certificate (PEM), read anew when it changes. It names the node as
    /// `binnacle://node/NAME` or as host.
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
    /// Allows `http://` to other machines: everything can be read and changed on the way.
    pub insecure: bool,
}

impl Tls {
    pub(super) fn check(&self, server: &str) -> Result<(), Error> {
        let given = [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten().count();
        if !matches!(given, 0 | 3) {
            return Err(Error::config("tls", "ca_file, cert_file and key_file go together"));
        }
        if given == 3 && self.join_token_file.is_some() {
            return Err(Error::config("tls", "either join_token_file or given certificates"));
        }
        let uri: Uri = server.parse().unwrap_or_default();
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.insecure || is_loopback(uri.host().unwrap_or_default()) => Ok(()),
            Some("http") => Err(Error::config(
                "server",
                format!(
                    "{server} is on another machine and not encrypted: use https:// (and join with a token), \
                     or allow it with --insecure on a network that you trust"
                ),
            )),
            _ => Err(Error::config("server", format!("{server:?} is neither http:// nor https://"))),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(tls: &Tls, server: &str) -> Result<(), String> {
        tls.check(server).map_err(|error| error.to_string())
    }

    #[test]
    fn other_machines_are_spoken_to_over_tls_only() {
        let tls = Tls::default();
        for good in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://far:1"] {
            assert_eq!(checked(&tls, good), Ok(()), "{good}");
        }
        let error = checked(&tls, "http://10.0.0.1:9091").unwrap_err();
        assert!(error.contains("https://") && error.contains("--insecure"), "{error}");
        assert!(checked(&tls, "ftp://far").is_err());
        assert_eq!(checked(&Tls { insecure: true, ..tls }, "http://10.0.0.1:9091"), Ok(()));
    }

    #[test]
    fn given_files_go_together_and_without_a_token() {
        let some = || Some(PathBuf::from("x"));
        let two = Tls { ca_file: some(), cert_file: some(), ..Tls::default() };
        assert!(checked(&two, "https://far:1").unwrap_err().contains("go together"));
        let both = Tls { key_file: some(), join_token_file: some(), ..two };
        assert!(checked(&both, "https://far:1").unwrap_err().contains("either"));
    }
}
