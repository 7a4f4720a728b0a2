//! gRPC ingest: batches of samples and log lines from agents, acknowledged when both stores have
//! them.
//!
//! ```text
//! stream ─► body (bounds, zstd, decode) ─► tables (dictionary) ─► append to both stores ─► ack
//! ```
//! Several batches of a stream are on their way at one time, so that the stores can commit them in
//! groups; acknowledgements go out in order.

mod body;
mod push;
mod sessions;
mod stores;
mod tables;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use binnacle_proto::node::node_server::{Node, NodeServer};
use binnacle_proto::node::{Ack, Batch, Command, Report};
use futures::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::Clock;
use crate::authority::Gate;
use crate::config::Ingest as Settings;
use crate::nodes::{Control, Registry};
use crate::selfmetrics::Counters;
use sessions::Sessions;
use stores::{Both, Stores};

/// Unit of the budget for buffered bodies, in bytes: a semaphore counts at most 2³² of them.
const BUDGET_UNIT: u32 = 1024;

/// What ingest needs.
pub(crate) struct Deps {
    pub gate: Gate,
    pub settings: Settings,
    pub registry: Registry,
    pub counters: Arc<Counters>,
    pub clock: Clock,
    pub shutdown: CancellationToken,
}

/// The gRPC service of agents.
pub(crate) struct Service {
    shared: Arc<Shared>,
}

/// What all streams share.
struct Shared {
    deps: Deps,
    stores: Arc<dyn Stores>,
    sessions: Sessions,
    budget: Arc<Semaphore>,
    next_stream: AtomicU64,
    open_streams: AtomicUsize,
}

/// Counts an open stream for as long as it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// A service that feeds the real stores.
    pub(crate) fn new(
        db: binnacle_tsdb::Db,
        api: binnacle_tsdb::http::Api,
        logs: binnacle_logs::Db,
        deps: Deps,
    ) -> Self {
        let counters = deps.counters.clone();
        Self::with_stores(Arc::new(Both { db, api, logs, counters }), deps)
    }

    fn with_stores(stores: Arc<dyn Stores>, deps: Deps) -> Self {
        let units = deps.settings.max_buffered_bytes / u64::from(BUDGET_UNIT);
        let shared = Shared {
            sessions: Sessions::new(deps.settings.max_nodes),
            budget: Arc::new(Semaphore::new(units as usize)),
            next_stream: AtomicU64::new(1),
            open_streams: AtomicUsize::new(0),
            stores,
            deps,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The service with its bound on message sizes.
    pub(crate) fn into_server(self) -> NodeServer<Self> {
        let most = self.shared.deps.settings.max_message_bytes;
        NodeServer::new(self).max_decoding_message_size(most)
    }

    fn open(&self) -> Result<Open, Status> {
        let most = self.shared.deps.settings.max_streams;
        if self.shared.open_streams.fetch_add(1, Ordering::Relaxed) >= most {
            self.shared.open_streams.fetch_sub(1, Ordering::Relaxed);
            return Err(Status::resource_exhausted(format!(
                "{most} streams are open already (ingest.max_streams)"
            )));
        }
        Ok(Open(self.shared.clone()))
    }
}

#[tonic::async_trait]
impl Node for Service {
    type PushStream = Answers<Ack>;
    type ControlStream = Answers<Command>;

    async fn push(&self, request: Request<Streaming<Batch>>) -> Result<Response<Answers<Ack>>, Status> {
        let peer = Gate::peer(request.extensions());
        self.shared.deps.gate.enter(&peer)?;
        let open = self.open()?;
        let (out, answers) = mpsc::channel(self.shared.deps.settings.max_in_flight);
        tokio::spawn(async move {
            push::Push::new(open.0.clone(), peer, out).serve(request.into_inner()).await;
            drop(open);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn control(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Answers<Command>>, Status> {
        let peer = Gate::peer(request.extensions());
        self.shared.deps.gate.enter(&peer)?;
        let open = self.open()?;
        let (out, answers) = mpsc::channel(16);
        let control = Control {
            gate: self.shared.deps.gate.clone(),
            peer,
            registry: self.shared.deps.registry.clone(),
            stream: self.shared.next_stream.fetch_add(1, Ordering::Relaxed),
            out,
            shutdown: self.shared.deps.shutdown.clone(),
        };
        tokio::spawn(async move {
            control.serve(request.into_inner()).await;
            drop(open);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

#[cfg(test)]
mod tests;
