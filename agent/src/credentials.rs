//! The agent's certificate, and the connections made with it.
//!
//! ```text
//! join token (a file) ─► join ─► state-dir/tls ─► settings ─► channel to the server
//!                                 ▲                  ▲
//!                      renew ─────┘      given files ┘ (read anew when they change)
//! ```
//! With `http://` there is nothing to do, and only loopback is spoken to.

mod connect;
mod enroll;
mod given;
mod store;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::selfmetrics::{Counter, Gauge, SelfMetrics};
use crate::{Config, Error};
pub(crate) use connect::reason;
use enroll::Enroller;
use given::Given;

/// How often files are looked at, and for how long at most nothing is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The way to the server, with what proves who we are. Clones share it.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Inner>);

struct Inner {
    server: String,
    node: String,
    source: Source,
    /// What connections are made with; none before the agent has joined.
    settings: ArcSwapOption<ClientConfig>,
    /// Why there are none.
    problem: Mutex<String>,
    numbers: Numbers,
}

/// Where the certificate comes from.
enum Source {
    /// None is needed.
    Plain,
    /// Files of the operator's.
    Given(Given),
    /// The server's, in `dir`; joined for with the token in the file.
    Joined { dir: PathBuf, token_file: Option<PathBuf> },
}

struct Numbers {
    expiry: Gauge,
    joins: Counter,
    renewals: Counter,
    failures: Counter,
}

impl Credentials {
    /// Reads what is there: nothing is asked of the server yet.
    ///
    /// # Errors
    /// When given files cannot be used. Those of an earlier join that are damaged are not an error: the node joins
    /// anew.
    pub(crate) fn load(config: &Config, metrics: &SelfMetrics) -> Result<Self, Error> {
        let tls = &config.tls;
        let files = tls.ca_file.clone().zip(tls.cert_file.clone()).zip(tls.key_file.clone());
        let source = match files {
            _ if !config.server.starts_with("https://") => Source::Plain,
            Some(((ca, cert), key)) => Source::Given(Given { ca, cert, key }),
            None => {
                Source::Joined { dir: config.state_dir.join("tls"), token_file: tls.join_token_file.clone() }
            }
        };
        let credentials = Self(Arc::new(Inner {
            server: config.server.clone(),
            node: config.node.clone(),
            settings: ArcSwapOption::empty(),
            problem: Mutex::new("the agent has not joined yet".to_owned()),
            numbers: Numbers {
                expiry: metrics.gauge("binnacle_agent_certificate_expiry_timestamp_seconds", &[]),
                joins: metrics.counter("binnacle_agent_joins_total", &[]),
                renewals: metrics.counter("binnacle_agent_certificate_renewals_total", &[]),
                failures: metrics.counter("binnacle_agent_certificate_failures_total", &[]),
            },
            source,
        }));
        match &credentials.0.source {
            Source::Plain => {}
            Source::Given(given) => credentials.adopt(given.load()?),
            Source::Joined { dir, .. } => match store::load(dir, &config.node) {
                Ok(Some(identity)) => credentials.adopt(identity.usable),
                Ok(None) => {}
                Err(error) => {
                    credentials.0.numbers.failures.add(1);
                    tracing::error!(%error, "the certificate cannot be used: joining anew");
                }
            },
        }
        Ok(credentials)
    }

    /// The channel to the server: connects when first used, and again when it broke, each time with the
    /// newest certificate.
    ///
    /// # Errors
    /// When the server's address is not a URL.
    pub(crate) fn channel(&self) -> Result<Channel, Error> {
        connect::channel(&self.0)
    }

    /// Joins, renews, and reads anew what changes, until shutdown.
    pub(crate) async fn run(self, seed: u64, shutdown: CancellationToken) -> Result<(), Error> {
        let work = async {
            match &self.0.source {
                Source::Plain => std::future::pending().await,
                Source::Given(given) => self.follow(given).await,
                Source::Joined { dir, token_file } => {
                    Enroller::new(&self, dir, token_file.as_deref(), seed).run().await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
        Ok(())
    }

    /// Reads given files anew when they change.
    async fn follow(&self, given: &Given) {
        let mut seen = given.written();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let written = given.written();
            if written == seen {
                continue;
            }
            seen = written;
            match given.load() {
                Ok(loaded) => {
                    self.adopt(loaded);
                    tracing::info!(certificate = %given.cert.display(), "a new certificate is in use");
                }
                Err(error) => {
                    self.0.numbers.failures.add(1);
                    tracing::error!(%error, "the old certificate stays in use");
                }
            }
        }
    }

    /// From now on connections are made with these settings.
    fn adopt(&self, usable: Usable) {
        self.0.numbers.expiry.set(usable.expires_ms as f64 / 1000.0);
        self.0.settings.store(Some(Arc::new(usable.settings)));
    }
}

/// What connections can be made with.
struct Usable {
    settings: ClientConfig,
    expires_ms: i64,
}

#[cfg(test)]
mod tests;
