//! The way to the server for samples and log lines: queued, batched, acknowledged.
//!
//! ```text
//! collectors ─ rounds ─┐                       ┌─ resend after a reconnect
//!                      ├─► queue ─► stream ═══►│ server
//! tailer ─── lines ────┘     │                 └─ acks: move checkpoints, free the spool
//!                            └─► spool, when rounds pile up
//! ```

mod backoff;
mod decode;
mod encode;
mod queue;
mod stream;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binnacle_proto::Labels;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::credentials::Credentials;
use crate::sample::Round;
use crate::selfmetrics::SelfMetrics;
use crate::spool::Spool;
use crate::{Config, Error, clock};
pub(crate) use backoff::{Backoff, Complaint};
pub(crate) use decode::{Decoder, MAX_BODY};
pub(crate) use encode::Dictionary;
use queue::Queue;
use stream::{End, StreamMetrics};

/// Lines of one log stream, in the order they were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogLines {
    /// Labels of the stream.
    pub(crate) labels: Labels,
    /// What the lines were read from, stable over restarts of the agent; empty when there is no such
    /// thing.
    pub(crate) source: String,
    /// Where the block begins in the source, in bytes.
    pub(crate) begin: u64,
    /// Where it ends.
    pub(crate) end: u64,
    pub(crate) lines: Vec<Line>,
}

impl LogLines {
    /// Memory the block holds, in bytes, about.
    pub(crate) fn byte_len(&self) -> usize {
        let metadata = |line: &Line| line.metadata.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
        let lines = self.lines.iter().map(|line| size_of::<Line>() + line.line.len() + metadata(line));
        size_of::<Self>() + lines.sum::<usize>()
    }
}

/// One line of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    /// Nanoseconds since the epoch.
    pub(crate) time_ns: i64,
    /// The line without its end; any bytes.
    pub(crate) line: Vec<u8>,
    /// Where the line ends in the source, in bytes.
    pub(crate) end_offset: u64,
    /// Structured metadata.
    pub(crate) metadata: Vec<(String, String)>,
}

/// Called once when the server has made a block durable. Dropped without a call when the agent ends
/// before that.
pub(crate) type OnDurable = Box<dyn FnOnce() + Send>;

/// The uplink is gone: the agent is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the uplink has ended")]
pub(crate) struct Ended;

/// Where collectors and the tailer hand over what they have. Clones share the queues.
#[derive(Clone)]
pub(crate) struct Sender {
    samples: mpsc::Sender<Round>,
    logs: mpsc::Sender<(LogLines, OnDurable)>,
}

/// The other end of [`Sender`].
pub(crate) struct Receiver {
    samples: mpsc::Receiver<Round>,
    logs: mpsc::Receiver<(LogLines, OnDurable)>,
}

/// Rounds and blocks between the callers and the uplink's own queues.
const HANDOVER: usize = 4;

/// More samples than this in one round are handed over as several rounds of the same time, so that a
/// batch stays small.
const MAX_ROUND: usize = 20_000;

/// The two ends of the uplink's queues.
pub(crate) fn channel() -> (Sender, Receiver) {
    let (samples_in, samples) = mpsc::channel(HANDOVER);
    let (logs_in, logs) = mpsc::channel(HANDOVER);
    (Sender { samples: samples_in, logs: logs_in }, Receiver { samples, logs })
}

impl Sender {
    /// Hands over one round. Does not wait for the server: while it is away rounds go to the spool.
    pub(crate) async fn send_samples(&self, mut round: Round) -> Result<(), Ended> {
        while round.samples.len() > MAX_ROUND {
            let samples = round.samples.split_off(round.samples.len() - MAX_ROUND);
            self.samples.send(Round::new(round.t_ms, samples)).await.map_err(|_| Ended)?;
        }
        self.samples.send(round).await.map_err(|_| Ended)
    }

    /// Hands over one block of lines; waits while the server is away or slow, so that lines stay in
    /// their files. `on_durable` runs when the server has acknowledged the block: then, and not
    /// before, may a checkpoint move.
    pub(crate) async fn send_logs(&self, lines: LogLines, on_durable: OnDurable) -> Result<(), Ended> {
        self.logs.send((lines, on_durable)).await.map_err(|_| Ended)
    }
}

/// What a caller handed over.
enum Event {
    Round(Round),
    Logs(LogLines, OnDurable),
    /// All senders are gone.
    Closed,
}

impl Receiver {
    fn is_closed(&self) -> bool {
        self.samples.is_closed() && self.samples.is_empty() && self.logs.is_closed() && self.logs.is_empty()
    }

    /// The next event; never completes again once everything is closed.
    async fn next(&mut self, wants_logs: bool) -> Event {
        if self.is_closed() {
            return std::future::pending().await;
        }
        tokio::select! {
            Some(round) = self.samples.recv() => Event::Round(round),
            Some((lines, on_durable)) = self.logs.recv(), if wants_logs => Event::Logs(lines, on_durable),
            else => {
                if self.is_closed() { Event::Closed } else { std::future::pending().await }
            }
        }
    }
}

impl Queue {
    fn take(&mut self, event: Event) {
        match event {
            Event::Round(round) => self.put_round(round),
            Event::Logs(lines, on_durable) => self.put_logs(lines, on_durable, clock::instant()),
            Event::Closed => {}
        }
    }
}

/// What the uplink needs to know.
pub(crate) struct Setup {
    pub(crate) config: Arc<Config>,
    pub(crate) node: String,
    pub(crate) session: u64,
    pub(crate) metrics: SelfMetrics,
    pub(crate) credentials: Credentials,
    pub(crate) shutdown: CancellationToken,
}

/// Runs the uplink: until shutdown, and then until everything is acknowledged, the senders are gone
/// or the time to drain is over. What could not be sent is in the spool afterwards.
///
/// # Errors
/// When the spool cannot be opened or the server's address is not one.
pub(crate) async fn run(setup: Setup, mut receiver: Receiver) -> Result<(), Error> {
    let limits = setup.config.uplink;
    let spool = Spool::open(&setup.config.state_dir.join("spool"), limits.spool_bytes, &setup.metrics)?;
    let mut queue = Queue::new(limits, spool, &setup.metrics);
    let mut backoff = Backoff::new(limits.backoff_min, limits.backoff_max, setup.session);
    let mut complaint = Complaint::default();
    let metrics = StreamMetrics::new(&setup);
    let failures = setup.metrics.counter("binnacle_agent_connection_failures_total", &[]);
    let shutdown = setup.shutdown.clone();
    let mut deadline: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        shutdown.cancelled().await;
        tokio::time::sleep(limits.drain).await;
    });
    let server = setup.config.server.as_str();
    loop {
        // A channel of its own for each stream: what broke is not used again.
        let channel = setup.credentials.channel()?;
        let connected = || complaint.connected(server);
        let end =
            stream::run(channel, &setup, &mut queue, &mut receiver, &metrics, &mut deadline, connected).await;
        let pause = match end {
            End::Finished => break,
            End::Wait(pause) => pause,
            End::Lost { reason, was_good } => {
                failures.add(1);
                if was_good {
                    backoff.reset();
                }
                complaint.failed(server, &reason, clock::instant());
                backoff.pause()
            }
        };
        if absorb(&setup, &mut queue, &mut receiver, pause, &mut deadline).await {
            break;
        }
    }
    queue.close();
    Ok(())
}

/// Takes what comes while there is no connection. True when the agent must end.
async fn absorb(
    setup: &Setup,
    queue: &mut Queue,
    receiver: &mut Receiver,
    pause: Duration,
    deadline: &mut Pin<Box<dyn Future<Output = ()> + Send>>,
) -> bool {
    let end = tokio::time::Instant::now() + pause;
    loop {
        if setup.shutdown.is_cancelled() && receiver.is_closed() && queue.is_empty() {
            return true;
        }
        tokio::select! {
            () = &mut *deadline => return true,
            () = tokio::time::sleep_until(end) => return false,
            event = receiver.next(queue.wants_logs()) => queue.take(event),
        }
    }
}

/// Completes at `when`; never without.
async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
