//! Sections `[tls]` and `[web]`: who may connect, and how it is known.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Violation, within};

/// Section `[tls]`: the port for agents, and the authority behind the certificates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// TLS on loopback addresses, too; everywhere else it is on in any case.
    pub on_loopback: bool,
    /// Host names and addresses by which the server is reached, for its certificate.
    pub names: Vec<String>,
    /// Authority (PEM) of the nodes' certificates, when that is not the server's own. With it go
    /// `cert_file` and `key_file`, and no node joins by token.
    pub ca_file: Option<PathBuf>,
    /// The server's certificate (PEM), read anew when it changes.
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
    /// How long a node's certificate lives, in milliseconds; agents renew it in time.
    pub node_lifetime_ms: i64,
    /// How long the server's own certificate lives, in milliseconds.
    pub server_lifetime_ms: i64,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            on_loopback: false,
            names: Vec::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            node_lifetime_ms: 30 * 86_400_000,
            server_lifetime_ms: 90 * 86_400_000,
        }
    }
}

impl Tls {
    pub(super) fn check(&self) -> Result<(), Violation> {
        let given = [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten().count();
        if !matches!(given, 0 | 3) {
            return Err(("tls", "ca_file", "ca_file, cert_file and key_file go together".into()));
        }
        if let Some(name) = self.names.iter().find(|name| name.is_empty() || !name.is_ascii()) {
            return Err(("tls", "names", format!("{name:?} cannot be in a certificate: use its ASCII form")));
        }
        let (least, most) = (2_000, 3650 * 86_400_000);
        within("tls", "node_lifetime_ms", self.node_lifetime_ms, least, most)?;
        within("tls", "server_lifetime_ms", self.server_lifetime_ms, least, most)
    }
}

/// Section `[web]`: TLS and authentication of the HTTP port.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// TLS on a loopback address, too.
    pub tls_on_loopback: bool,
    /// Certificate (PEM) of the HTTP port, read anew when it changes; without it one of the server's own
    /// authority.
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
    /// Users and the bcrypt hashes of their passwords, as in Prometheus' `basic_auth_users`.
    pub users: BTreeMap<String, String>,
    /// File of bearer tokens, one a line, read anew when it changes.
    pub bearer_token_file: Option<PathBuf>,
}

/// Does not show the hashes: settings can be read over HTTP.
impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web")
            .field("tls_on_loopback", &self.tls_on_loopback)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .field("users", &self.users.keys().collect::<Vec<_>>())
            .field("bearer_token_file", &self.bearer_token_file)
            .finish()
    }
}

impl Web {
    /// Whether a request must say who it is from.
    pub fn authenticates(&self) -> bool {
        !self.users.is_empty() || self.bearer_token_file.is_some()
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(("web", "cert_file", "cert_file and key_file go together".into()));
        }
        for (user, hash) in &self.users {
            let refused = |reason: &str| Err(("web", "users", format!("{user:?}: {reason}")));
            if user.is_empty() || user.contains(':') {
                return refused("a user's name has no colon and is not empty");
            }
            match hash.parse::<bcrypt::HashParts>() {
                // 2^14 rounds take about a second: more would be an attack on the server itself.
                Ok(parts) if parts.get_cost() > 14 => return refused("a cost of at most 14"),
                Ok(_) => {}
                Err(_) => return refused("not a bcrypt hash: make one with `htpasswd -nBC 10 \"\"`"),
            }
        }
        Ok(())
    }
}
