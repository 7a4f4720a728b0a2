//! One Push stream: takes batches, has them stored, acknowledges them in order.

use std::sync::Arc;

use binnacle_proto::Labels;
use binnacle_proto::node::{Ack, Batch};
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::Status;

use super::body::Bodies;
use super::stores::Turn;
use super::tables::{Content, Refusal, Tables};
use super::{BUDGET_UNIT, Shared};
use crate::authority::{Gate, Peer};
use crate::nodes::MAX_NODE_NAME;

/// One stream.
pub(super) struct Push {
    shared: Arc<Shared>,
    peer: Peer,
    out: mpsc::Sender<Result<Ack, Status>>,
    tables: Tables,
    /// Node and session; pinned by the first batch.
    identity: Option<(String, u64)>,
    /// Batches on their way to the stores, in order.
    in_flight: FuturesOrdered<BoxFuture<'static, Stored>>,
    in_flight_bytes: u64,
    /// Ready when the lines of the newest batch are settled.
    last_lines: Option<oneshot::Receiver<()>>,
    /// Last batch up to which all are durable.
    durable: u64,
    /// Counts how often the agent was told to send again: outcomes of batches that were sent before
    /// must not be acknowledged.
    round: u64,
    /// The batch that could not be stored, until the agent sends it again.
    failed: Option<u64>,
    refused_series_logged: u64,
}

/// What became of a batch.
struct Stored {
    sequence: u64,
    round: u64,
    body_bytes: u64,
    /// Why it is not durable.
    failure: Option<String>,
    /// Samples whose series the database has forgotten.
    unknown_series: u64,
}

/// How a stream ends that the agent did not end.
type End = Status;

impl Push {
    pub(super) fn new(shared: Arc<Shared>, peer: Peer, out: mpsc::Sender<Result<Ack, Status>>) -> Self {
        Self {
            shared,
            peer,
            out,
            tables: Tables::default(),
            identity: None,
            in_flight: FuturesOrdered::new(),
            in_flight_bytes: 0,
            last_lines: None,
            durable: 0,
            round: 0,
            failed: None,
            refused_series_logged: 0,
        }
    }

    /// Serves the stream to its end.
    pub(super) async fn serve(mut self, batches: impl Stream<Item = Result<Batch, Status>> + Unpin) {
        let result = self.exchange(batches).await;
        let node = self.identity.as_ref().map_or("?", |(node, _)| node.as_str());
        match result {
            Ok(()) => tracing::debug!(node, "push stream closed"),
            Err(status) => {
                self.shared.deps.counters.streams_refused.add(1);
                tracing::warn!(node, reason = status.message(), "push stream ended by the server");
                // The agent may be gone already.
                let _ = self.out.send(Err(status)).await;
            }
        }
    }

    async fn exchange(
        &mut self,
        mut batches: impl Stream<Item = Result<Batch, Status>> + Unpin,
    ) -> Result<(), End> {
        let settings = &self.shared.deps.settings;
        let (max_in_flight, credit) = (settings.max_in_flight, settings.credit_bytes);
        let shutdown = self.shared.deps.shutdown.clone();
        let budget = self.shared.budget.clone();
        let mut bodies = Bodies::new(settings.max_body_bytes)
            .map_err(|error| Status::internal(format!("zstd: {error}")))?;
        // A batch that was read and waits for room in the budget; kept here so that nothing is lost
        // when the select below turns to something else.
        let mut waiting: Option<Batch> = None;
        let mut ended = false;
        let gate = self.shared.deps.gate.clone();
        let peer = self.peer.clone();
        let mut guarded: Option<String> = None;
        let mut right = Box::pin(end_of_right(&gate, &peer, None));
        loop {
            if guarded.is_none()
                && let Some((node, _)) = &self.identity
            {
                guarded = Some(node.clone());
                right = Box::pin(end_of_right(&gate, &peer, guarded.clone()));
            }
            let room = self.in_flight.len() < max_in_flight && self.in_flight_bytes < credit;
            let admit = async {
                if waiting.is_none() {
                    match batches.next().await {
                        Some(Ok(batch)) => waiting = Some(batch),
                        Some(Err(_)) | None => return Ok::<_, Refusal>(None),
                    }
                }
                let Some(batch) = &waiting else { return Ok(None) };
                bodies.check(batch)?;
                let units = batch.body_size.div_ceil(BUDGET_UNIT);
                let permit = budget.clone().acquire_many_owned(units).await;
                // The semaphore is never closed.
                Ok(permit.ok().and_then(|permit| waiting.take().map(|batch| (batch, permit))))
            };
            tokio::select! {
                Some(stored) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.acknowledge(stored).await?;
                }
                admitted = admit, if room && !ended => match admitted {
                    Ok(Some((batch, permit))) => self.take(batch, permit, &mut bodies)?,
                    Ok(None) => ended = true,
                    Err(refusal) => return Err(refusal.into()),
                },
                () = shutdown.cancelled(), if !ended => ended = true,
                refusal = &mut right => return Err(refusal),
                else => return Ok(()),
            }
            if ended && self.in_flight.is_empty() {
                return Ok(());
            }
        }
    }

    /// Decodes a batch and sends its content on its way to the stores.
    fn take(&mut self, batch: Batch, permit: OwnedSemaphorePermit, bodies: &mut Bodies) -> Result<(), End> {
        let shared = self.shared.clone();
        let counters = &shared.deps.counters;
        self.check_identity(&batch)?;
        let (node, session) = self.identity.clone().unwrap_or_default();
        counters.batches.add(1);
        counters.body_bytes.add(batch.body.len() as u64);
        // The tables take up what is new in any case: the agent does not send it twice on a stream.
        let body = bodies.decode(&batch)?;
        let resolve = |labels: &Labels| shared.stores.resolve(labels);
        let content = self.tables.apply(&node, body, &shared.deps.settings, &resolve)?;
        self.count_refused(&node, &content);

        let sequence = batch.sequence;
        if let Some(failed) = self.failed {
            if sequence > failed {
                // Sent before the agent was told to wait; it comes again.
                counters.batches_dropped.add(1);
                return Ok(());
            }
            self.failed = None;
            self.last_lines = None;
            self.round += 1;
        }
        let body_bytes = batch.body.len() as u64;
        let outcome = Stored { sequence, round: self.round, body_bytes, failure: None, unknown_series: 0 };
        self.in_flight_bytes += body_bytes;
        if sequence <= shared.sessions.durable(&node, session) {
            counters.batches_repeated.add(1);
            self.in_flight.push_back(async move { outcome }.boxed());
            return Ok(());
        }
        let turn = Turn::after(&mut self.last_lines);
        self.in_flight.push_back(store(shared, content, turn, permit, outcome).boxed());
        Ok(())
    }

    fn check_identity(&mut self, batch: &Batch) -> Result<(), End> {
        if batch.node.is_empty() || batch.node.len() > MAX_NODE_NAME {
            return Err(Status::invalid_argument(format!("a node name has 1 to {MAX_NODE_NAME} bytes")));
        }
        if batch.session == 0 || batch.sequence == 0 {
            return Err(Status::invalid_argument("session and sequence must not be 0"));
        }
        match &self.identity {
            None => {
                self.shared.deps.gate.admit(&self.peer, &batch.node)?;
                self.durable = self.shared.sessions.durable(&batch.node, batch.session);
                self.identity = Some((batch.node.clone(), batch.session));
                Ok(())
            }
            Some((node, session)) if *node == batch.node && *session == batch.session => Ok(()),
            Some((node, session)) => Err(Status::permission_denied(format!(
                "this stream speaks for session {session} of node {node}, not for session {} of {}",
                batch.session, batch.node
            ))),
        }
    }

    fn count_refused(&mut self, node: &str, content: &Content) {
        let counters = &self.shared.deps.counters;
        counters.samples_refused.add(content.refused_samples);
        counters.lines_refused.add(content.refused_lines);
        counters.exemplars_refused.add(content.refused_exemplars);
        let refused = self.tables.refused_series();
        if refused > self.refused_series_logged {
            let new = refused - self.refused_series_logged;
            counters.series_refused.add(new);
            tracing::warn!(node, series = new, "series refused by the database");
            self.refused_series_logged = refused;
        }
    }

    /// Answers the outcome of the oldest batch on its way.
    async fn acknowledge(&mut self, stored: Stored) -> Result<(), End> {
        self.in_flight_bytes -= stored.body_bytes;
        let Some((node, session)) = &self.identity else { return Ok(()) };
        if stored.round != self.round || self.failed.is_some() {
            // A batch after one that failed: durable or not, it comes again.
            return Ok(());
        }
        if stored.unknown_series > 0 {
            // On a new stream the agent defines its series anew and sends this batch again.
            let count = stored.unknown_series;
            let message = format!("the series of {count} samples are not known any more: open a new stream");
            return Err(Status::aborted(message));
        }
        let deps = &self.shared.deps;
        let now_ms = deps.clock.now_ms();
        let mut ack = Ack {
            session: *session,
            credit_bytes: deps.settings.credit_bytes,
            server_ms: now_ms,
            ..Ack::default()
        };
        match stored.failure {
            None => {
                self.durable = self.durable.max(stored.sequence);
                self.shared.sessions.advance(node, *session, self.durable, now_ms);
                deps.registry.seen(node);
            }
            Some(reason) => {
                deps.counters.waits.add(1);
                tracing::warn!(
                    node,
                    sequence = stored.sequence,
                    reason,
                    "a batch is not durable: agent waits"
                );
                self.failed = Some(stored.sequence);
                ack.wait_ms = deps.settings.full_wait_ms;
                ack.wait_reason = reason;
            }
        }
        ack.sequence = self.durable;
        // When the agent is gone, reading from it ends the stream.
        let _ = self.out.send(Ok(ack)).await;
        Ok(())
    }
}

/// Completes when the other end may no longer speak as `node`.
async fn end_of_right(gate: &Gate, peer: &Peer, node: Option<String>) -> Status {
    gate.ended(peer, node.as_deref()).await
}

/// Has a batch stored; says what became of it.
async fn store(
    shared: Arc<Shared>,
    content: Content,
    turn: Turn,
    permit: OwnedSemaphorePermit,
    mut outcome: Stored,
) -> Stored {
    let Content { samples, blocks, exemplars, open_samples, .. } = content;
    let now_ms = shared.deps.clock.now_ms();
    let appended = shared.stores.clone().append(samples, blocks, turn, now_ms).await;
    match appended {
        Err(reason) => outcome.failure = Some(reason),
        Ok(unknown_series) => outcome.unknown_series = unknown_series,
    }
    if open_samples > 0 {
        outcome.failure = Some(format!("{open_samples} samples belong to series that cannot be created now"));
    }
    if outcome.failure.is_none() && !exemplars.is_empty() {
        shared.stores.exemplars(exemplars);
    }
    drop(permit);
    outcome
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(message) => Self::invalid_argument(message),
            Refusal::Full(message) => Self::resource_exhausted(message),
        }
    }
}
