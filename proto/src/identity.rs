//! What certificates and join tokens say, read the same way by agent and server.
//!
//! A node's certificate carries the URI `binnacle://node/NAME` as subject alternative name, the server's
//! `binnacle://server`. A join token is `FINGERPRINT.ID.SECRET`, all lower-case hexadecimal: the
//! SHA-256 of the authority's certificate, by which the agent knows the server on first contact, the
//! token's public id, and the secret.

mod der;
mod facts;
mod request;
mod token;

use std::fmt;

pub use facts::{Facts, NotACertificate};
pub use request::{RequestError, requested_key};
pub use token::{Token, TokenError};

/// Longest name of a node in a certificate, in bytes: with an ending it is still a file's name.
pub const MAX_NODE_NAME: usize = 250;

/// The URI in the server's certificate.
pub const SERVER_URI: &str = "binnacle://server";

/// What comes before the name in a node's certificate.
const NODE_URI: &str = "binnacle://node/";

/// The URI in the certificate of `node`; `None` when a name has characters that a certificate cannot
/// carry: letters, digits, `.`, `-` and `_` may be used.
pub fn node_uri(node: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    // A name of dots alone would be a way out of a folder.
    let named = node.chars().any(|c| c.is_ascii_alphanumeric());
    (named && node.len() <= MAX_NODE_NAME && node.chars().all(allowed)).then(|| format!("{NODE_URI}{node}"))
}

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate (DER).
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&token::hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_survive_a_certificate_or_a_folder_are_refused() {
        assert_eq!(node_uri("worker-1.example_a").as_deref(), Some("binnacle://node/worker-1.example_a"));
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\n", &"x".repeat(251)] {
            assert_eq!(node_uri(bad), None, "{bad:?}");
        }
    }
}
