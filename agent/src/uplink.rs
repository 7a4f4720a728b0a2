//! The way to the server for samples and log lines: queued, batched, acknowledged.

use binnacle_proto::Labels;
use tokio::sync::mpsc;

use crate::Error;
use crate::agent::Context;
use crate::sample::Round;

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

/// The two ends of the uplink's queues.
pub(crate) fn channel() -> (Sender, Receiver) {
    let (samples_in, samples) = mpsc::channel(HANDOVER);
    let (logs_in, logs) = mpsc::channel(HANDOVER);
    (Sender { samples: samples_in, logs: logs_in }, Receiver { samples, logs })
}

impl Sender {
    /// Hands over one round. Does not wait for the server: while it is away rounds go to the spool.
    pub(crate) async fn send_samples(&self, round: Round) -> Result<(), Ended> {
        self.samples.send(round).await.map_err(|_| Ended)
    }

    /// Hands over one block of lines; waits while the server is away or slow, so that lines stay in
    /// their files. `on_durable` runs when the server has acknowledged the block: then, and not
    /// before, may a checkpoint move.
    pub(crate) async fn send_logs(&self, lines: LogLines, on_durable: OnDurable) -> Result<(), Ended> {
        self.logs.send((lines, on_durable)).await.map_err(|_| Ended)
    }
}

/// Runs the uplink until shutdown.
pub(crate) async fn run(context: Context, mut receiver: Receiver) -> Result<(), Error> {
    loop {
        tokio::select! {
            _ = receiver.samples.recv() => {}
            Some((_, on_durable)) = receiver.logs.recv() => on_durable(),
            () = context.shutdown.cancelled() => return Ok(()),
        }
    }
}
