//! Reading rules and manifests again: on `SIGHUP` and on `POST /-/reload`.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use binnacle_tsdb::rules;

use super::Error;
use crate::cluster;
use crate::selfmetrics::Counters;

/// Has everything that is read from files read again; clones share it.
#[derive(Clone)]
pub(crate) struct Reloader {
    cluster: cluster::Handle,
    rules: rules::Handle,
    counters: Arc<Counters>,
}

impl Reloader {
    pub(super) fn new(cluster: cluster::Handle, rules: rules::Handle, counters: Arc<Counters>) -> Self {
        Self { cluster, rules, counters }
    }

    /// Reads all of it again. What was refused is the error, one a line; it runs on as before.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        self.counters.reloads.add(1);
        let (manifests, rules) = tokio::join!(self.cluster.reload(), self.rules.reload());
        let refused: Vec<String> = [manifests.err(), rules.err()].into_iter().flatten().collect();
        let result = if refused.is_empty() { Ok(()) } else { Err(refused.join("\n")) };
        match &result {
            Ok(()) => tracing::info!("reloaded"),
            Err(refused) => {
                self.counters.reloads_failed.add(1);
                tracing::error!(refused, "reloaded in part: what was refused runs on as before");
            }
        }
        result
    }
}

/// Catches `SIGHUP` from now on, which ends a process otherwise.
pub(super) fn hangups() -> Result<Signal, Error> {
    signal(SignalKind::hangup()).map_err(|error| Error::Task { name: "reload", reason: error.to_string() })
}

/// Reloads on each `SIGHUP`.
pub(super) async fn on_hangup(
    mut hangups: Signal,
    reloader: Reloader,
    shutdown: CancellationToken,
) -> Result<(), String> {
    loop {
        tokio::select! {
            _ = hangups.recv() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        // Logged and counted where it happens.
        let _ = reloader.reload().await;
    }
}
