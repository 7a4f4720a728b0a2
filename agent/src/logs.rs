//! Container logs: found, followed through rotation, joined, sent; each line once.
//!
//! ```text
//! CRI files ────┐            ┌─ partial lines and traces joined
//! Docker's ─────┤            │
//! hostPath files┤            │
//! files inside ─┴─► groups ──┴─ units ─► uplink ══► server
//!                     ▲                               │ durable
//!                     └──── checkpoint ◄──────────────┘
//! ```
//! A file has a source that is unique for good and is saved before its first line is sent; lines carry the position
//! where they end. So a server that remembers the largest end of each source stores each line once, whatever is read
//! again after a restart.

mod checkpoint;
mod content;
mod cri;
mod docker;
mod engine;
mod folder;
mod group;
mod hostpath;
mod inside;
mod join;
mod ledger;
mod marks;
mod pattern;
mod rate;
mod root;
mod tailer;
mod trace;

use std::time::Duration;

use tokio::sync::mpsc;

use crate::agent::Context;
use crate::identity::Registry;
use crate::pods::Handle;
use crate::uplink::{LogLines, OnDurable};
use crate::watch::{Changes, Watch};
use crate::{Error, clock, config};
use inside::Wanted;
pub(crate) use inside::declared;
pub(crate) use pattern::is_path;
use tailer::{Setup, Tailer};

/// Time between two looks for new files.
const SCAN_MS: i64 = 1000;

/// Time between two writes of the checkpoint.
const SAVE_MS: i64 = 1000;

/// How long files are looked at every now and then after the last change: rotation takes its time.
const ACTIVE_MS: i64 = 5_000;

/// Longest pause when nothing changes.
const IDLE: Duration = Duration::from_secs(10);

/// Pause when nothing was read.
const PAUSE: Duration = Duration::from_millis(200);

/// Pause when there is work that has to wait: the uplink is busy, or a file is looked for.
const SHORT_PAUSE: Duration = Duration::from_millis(50);

/// Blocks on their way to the uplink.
const HANDOVER: usize = 16;

/// Runs until shutdown. What is read and not stored then is read again by the next agent.
///
/// # Errors
/// When the checkpoint cannot be read or written.
pub(crate) async fn run(context: Context, pods: Handle) -> Result<(), Error> {
    let config = &context.config;
    let path = config.state_dir.join("logs.json");
    let (watch, changes) = match Watch::new("logs", &context.metrics) {
        Ok((watch, changes)) => (Some(watch), Some(changes)),
        Err(error) => {
            tracing::warn!(%error, "log files are not watched: they are looked at in turn");
            (None, None)
        }
    };
    let tailer = Tailer::open(Setup {
        node: config.node.clone(),
        job: config.container_labels.get("job").cloned().unwrap_or_default(),
        pod_log_dir: config.pod_log_dir.clone(),
        proc_root: config.proc_root.clone(),
        checkpoint: path.clone(),
        metrics: context.metrics.clone(),
        reading: config.logs.clone(),
        watch: watch.clone(),
    })
    .map_err(|e| Error::io(&path, e))?;
    let (out, mut to_send) = mpsc::channel::<(LogLines, OnDurable)>(HANDOVER);
    let uplink = context.uplink.clone();
    let forward = async move {
        while let Some((lines, on_durable)) = to_send.recv().await {
            if uplink.send_logs(lines, on_durable).await.is_err() {
                return;
            }
        }
    };
    let shutdown = context.shutdown.clone();
    let sources = Sources { pods, registry: context.registry.clone(), reading: config.logs.clone() };
    tokio::select! {
        result = follow(tailer, &sources, out, Watched { watch, changes }, &shutdown) => result.map_err(|e| Error::io(&path, e)),
        () = forward => {
            // The uplink has ended: so will the agent.
            shutdown.cancelled().await;
            Ok(())
        }
    }
}

/// Who says where log files are.
struct Sources {
    pods: Handle,
    registry: Registry,
    reading: config::Logs,
}

/// Where changes are told, if they are.
struct Watched {
    watch: Option<Watch>,
    changes: Option<Changes>,
}

impl Watched {
    /// Whether files have to be looked at.
    fn take_changed(&self) -> bool {
        self.changes.is_none() || self.watch.as_ref().is_none_or(Watch::take_changed)
    }

    /// Waits for a change.
    async fn wait(&mut self) {
        let Some(changes) = &mut self.changes else { return std::future::pending().await };
        if let Err(error) = changes.wait().await {
            tracing::error!(%error, "log files are watched no longer");
            self.changes = None;
        }
    }
}

async fn follow(
    mut tailer: Tailer,
    sources: &Sources,
    out: mpsc::Sender<(LogLines, OnDurable)>,
    mut watched: Watched,
    shutdown: &tokio_util::sync::CancellationToken,
) -> std::io::Result<()> {
    let (mut next_scan_ms, mut next_save_ms) = (0, 0);
    let mut waiting = std::collections::VecDeque::new();
    let mut active_until_ms = 0;
    let mut wanted = Wanted::default();
    loop {
        let now_ms = clock::now_ms();
        let mounts = sources.pods.log_mounts();
        wanted.refresh(&sources.registry, &sources.reading);
        // Volumes and what is inside containers are deep and foreign: they are not watched.
        let unwatched = !mounts.is_empty() || !wanted.containers.is_empty() || tailer.reads_inside();
        if watched.take_changed() || tailer.is_waiting() || unwatched {
            active_until_ms = now_ms + ACTIVE_MS;
        }
        let is_active = now_ms < active_until_ms;
        if now_ms >= next_scan_ms {
            next_scan_ms = now_ms + SCAN_MS;
            tailer.scan(&mounts, &wanted, now_ms);
        } else {
            tailer.scan_urgent(now_ms);
        }
        if now_ms >= next_save_ms {
            next_save_ms = now_ms + SAVE_MS;
            if let Err(e) = tailer.save_if_moved() {
                tracing::error!(error = %e, "positions in log files could not be saved");
            }
        }
        if waiting.is_empty() {
            match tailer.read(clock::now_ns()) {
                Ok(blocks) => waiting.extend(blocks),
                // Nothing of a new file is sent before it is saved: a full disk stops new files.
                Err(e) => tracing::error!(error = %e, "positions in log files could not be saved"),
            }
        }
        let idle = waiting.is_empty();
        while let Ok(permit) = out.try_reserve() {
            let Some(block) = waiting.pop_front() else { break };
            permit.send(block);
        }
        let pause = match (idle, waiting.is_empty()) {
            (true, _) if is_active => PAUSE,
            (true, _) => IDLE,
            (false, false) => SHORT_PAUSE,
            (false, true) => Duration::ZERO,
        };
        if pause.is_zero() {
            tokio::task::yield_now().await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return tailer.save_if_moved(),
            () = tokio::time::sleep(pause) => {}
            () = watched.wait(), if pause == IDLE => {}
        }
    }
}

#[cfg(test)]
mod tests;
