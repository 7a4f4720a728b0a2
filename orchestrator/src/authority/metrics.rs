//! What is counted and shown about certificates and refusals.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::selfmetrics::{Counter, family};

/// Handshakes of strangers are logged at most this often; all are counted.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Declares the reasons, each with its value of the label `reason` and a sentence for who is refused.
macro_rules! reasons {
    ($($variant:ident $label:literal $text:literal,)*) => {
        /// Why somebody was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason {
            $(#[doc = $text] $variant,)*
        }

        impl Reason {
            const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Value of the label `reason`.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }

            /// What is said to who is refused.
            pub(crate) fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reasons! {
    Expired "certificate_expired" "the certificate has expired",
    WrongAuthority "wrong_authority" "the certificate is signed by another authority",
    Handshake "handshake" "the TLS handshake failed",
    NoCertificate "no_certificate" "a certificate is needed: join with a token from `binnacle token create`",
    OtherNode "other_node" "the certificate is for another node",
    NotJoined "not_joined" "the node is not known any more: join with a new token",
    Revoked "revoked" "the node's certificates were revoked: join with a new token for its name",
    TokenUnknown "token_unknown" "the join token is not known: it was revoked, or is of another server",
    TokenExpired "token_expired" "the join token has expired",
    TokenUsed "token_used" "the join token is used up",
    TokenNode "token_node" "the join token is for another node",
    NameTaken "name_taken" "another agent holds this node's name, or held it when it was revoked: use a token for it (binnacle token create --node NAME)",
    Request "request" "the request is not acceptable",
    NoAuthority "no_authority" "this server's certificates come from elsewhere (tls.ca_file): it gives none",
}

/// Numbers about certificates.
#[derive(Debug, Default)]
pub(crate) struct Security {
    refused: [Counter; Reason::ALL.len()],
    pub(crate) joins: Counter,
    pub(crate) renewals: Counter,
    pub(crate) reloads_failed: Counter,
    /// End of the validity, milliseconds since the epoch; 0 where there is no such certificate.
    pub(crate) authority_expires_ms: AtomicI64,
    pub(crate) grpc_expires_ms: AtomicI64,
    pub(crate) http_expires_ms: AtomicI64,
    pub(crate) http_refused: Counter,
    logged: Mutex<Option<tokio::time::Instant>>,
}

impl Security {
    /// Counts a refusal.
    pub(crate) fn refused(&self, reason: Reason) {
        self.refused[reason as usize].add(1);
    }

    /// How often somebody was refused for a reason.
    #[cfg(test)]
    pub(crate) fn refusals(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].get()
    }

    /// Whether a stranger's failed handshake may be logged now.
    pub(crate) fn may_log(&self) -> bool {
        let now = tokio::time::Instant::now();
        let mut logged = self.logged.lock();
        let may = logged.is_none_or(|last| now.duration_since(last) >= LOG_EVERY);
        if may {
            *logged = Some(now);
        }
        may
    }

    /// Writes all of them in the text format.
    pub(crate) fn render(&self, out: &mut String) {
        let name = "binnacle_tls_refused_total";
        // Writing to a String cannot fail.
        let _ =
            writeln!(out, "# HELP {name} Connections and streams of agents refused.\n# TYPE {name} counter");
        for (reason, count) in Reason::ALL.iter().zip(&self.refused) {
            let _ = writeln!(out, "{name}{{reason=\"{}\"}} {}", reason.label(), count.get());
        }
        let name = "binnacle_tls_certificate_expiry_timestamp_seconds";
        let _ = writeln!(out, "# HELP {name} When a certificate of the server ends.\n# TYPE {name} gauge");
        for (certificate, expires_ms) in [
            ("authority", &self.authority_expires_ms),
            ("grpc", &self.grpc_expires_ms),
            ("http", &self.http_expires_ms),
        ] {
            let ms = expires_ms.load(Ordering::Relaxed);
            if ms != 0 {
                let _ = writeln!(out, "{name}{{certificate=\"{certificate}\"}} {}", ms as f64 / 1000.0);
            }
        }
        for (name, help, counter) in [
            ("binnacle_node_joins_total", "Nodes that joined with a token.", &self.joins),
            ("binnacle_node_renewals_total", "Certificates of nodes renewed.", &self.renewals),
            (
                "binnacle_tls_reloads_failed_total",
                "Certificate and token files that changed and could not be used.",
                &self.reloads_failed,
            ),
            (
                "binnacle_http_unauthorized_total",
                "HTTP requests without a valid password or token.",
                &self.http_refused,
            ),
        ] {
            family(out, name, "counter", help, counter.get() as f64);
        }
    }
}
