//! The cluster: manifests in, pods on nodes out.
//!
//! ```text
//! manifest ─► objects ─┐                          ┌─► act ─► nodes
//! nodes ─► world ──────┼─► control ─► decide ─────┤
//! store ◄──────────────┘    (every tick)          └─► journal, series, status
//! ```
//!
//! What must survive a restart is made durable by [`store`] before a node is told about it.

mod control;
pub mod manifest;
pub mod objects;
pub mod quantity;
mod series;
pub mod store;
pub mod world;

use std::sync::Arc;

use binnacle_logs as logs;
use binnacle_tsdb as tsdb;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::config::Config;
use crate::nodes::Registry;

/// What the controllers work with.
pub struct Deps {
    /// Where signals come from and series of decisions go.
    pub db: tsdb::Db,
    /// Evaluates the signals' queries.
    pub engine: tsdb::Engine,
    /// Where the journal goes.
    pub logs: logs::Db,
    /// The nodes and the way to tell them what to do.
    pub registry: Registry,
    /// All settings.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Clock,
    /// The other end of the [`Handle`].
    pub desk: Desk,
}

/// What can go wrong for good; the process ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state of the cluster cannot be read.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The manifests folder cannot be read at the start.
    #[error("cannot read the manifests folder {path}: {reason}")]
    Manifests {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
}

/// What the controllers show of themselves, as JSON lists for `/api/v1/binnacle/…`.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Every pod: namespace, name, uid, node, phase, reason, containers.
    pub pods: Vec<Value>,
    /// Every Deployment: namespace, name, replicas wanted, there, ready.
    pub deployments: Vec<Value>,
    /// Every HorizontalPodAutoscaler: namespace, name, target, metrics, conditions.
    pub hpas: Vec<Value>,
    /// The latest decisions, newest first.
    pub decisions: Vec<Value>,
    /// Files of the manifests folder that were refused: file, line, field, what is wrong.
    pub refused: Vec<String>,
}

/// Asks the controllers; clones share it.
#[derive(Clone)]
pub struct Handle {
    status: watch::Receiver<Arc<Status>>,
    reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

/// The controllers' end of a [`Handle`].
pub struct Desk {
    /// Where they publish their status.
    pub status: watch::Sender<Arc<Status>>,
    /// Requests to read the manifests again; each is answered when that is done, with what was
    /// refused as the error.
    pub reload: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
}

/// Makes both ends.
pub fn channel() -> (Handle, Desk) {
    let (status_in, status) = watch::channel(Arc::default());
    let (reload, requests) = mpsc::channel(8);
    (Handle { status, reload }, Desk { status: status_in, reload: requests })
}

impl Handle {
    /// The latest status.
    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Reads the manifests again.
    ///
    /// # Errors
    /// What was refused, one a line; what ran before goes on.
    pub async fn reload(&self) -> Result<(), String> {
        let gone = |_| "the controllers do not run".to_owned();
        let (answer, answered) = oneshot::channel();
        self.reload.send(answer).await.map_err(|_| "the controllers do not run".to_owned())?;
        answered.await.map_err(gone)?
    }
}

/// Runs the controllers until `shutdown`. Without a manifests folder there is nothing to control:
/// then only events of nodes are journaled.
///
/// # Errors
/// When they cannot go on; see [`Error`].
pub async fn run(deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    control::Controller::new(deps)?.run(shutdown).await
}
