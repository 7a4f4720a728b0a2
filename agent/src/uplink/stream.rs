//! One connection: batches out, acknowledgements in, until it breaks or the agent ends.

use std::pin::Pin;
use std::time::{Duration, Instant};

use binnacle_proto::node::{self, node_client::NodeClient};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::{Receiver, Setup, queue::Queue, queue::Ready};
use crate::clock;
use crate::credentials::reason;
use crate::selfmetrics::{Counter, Gauge};

/// Bytes of bodies that may be unacknowledged before the server has said how many.
const FIRST_CREDIT: u64 = 1 << 20;

/// A server that acknowledges nothing for so long is taken for dead.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// A stream that has named so many series is ended and begun anew, so that neither side remembers
/// series that ended long ago.
const MAX_STREAM_SERIES: usize = 300_000;

/// Batches between here and the transport.
const IN_TRANSIT: usize = 4;

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum End {
    /// Everything is sent, or the time to drain is over.
    Finished,
    /// It broke, or was never made.
    Lost {
        reason: String,
        /// Whether the server had acknowledged anything on it.
        was_good: bool,
    },
    /// The server wants to be left alone for a while; then everything unacknowledged is sent again.
    Wait(Duration),
}

/// Numbers of all streams of the process.
pub(super) struct StreamMetrics {
    batches: Counter,
    bytes: Counter,
    acks: Counter,
    credit: Gauge,
    offset: Gauge,
    connected: Gauge,
}

impl StreamMetrics {
    pub(super) fn new(setup: &Setup) -> Self {
        let metrics = &setup.metrics;
        Self {
            batches: metrics.counter("binnacle_agent_batches_total", &[]),
            bytes: metrics.counter("binnacle_agent_sent_bytes_total", &[]),
            acks: metrics.counter("binnacle_agent_acks_total", &[]),
            credit: metrics.gauge("binnacle_agent_credit_bytes", &[]),
            offset: metrics.gauge("binnacle_agent_clock_offset_seconds", &[]),
            connected: metrics.gauge("binnacle_agent_connected", &[]),
        }
    }
}

/// Sent and not acknowledged on this stream.
struct Flight {
    sequence: u64,
    bytes: u64,
    sent: Instant,
}

struct Stream<'a> {
    setup: &'a Setup,
    queue: &'a mut Queue,
    metrics: &'a StreamMetrics,
    out: mpsc::Sender<node::Batch>,
    /// Encoded, but the server's credit does not allow it yet.
    held: Option<Ready>,
    flights: std::collections::VecDeque<Flight>,
    credit: u64,
    was_good: bool,
}

/// Speaks with the server until the connection ends. `deadline` completes when the agent must end.
pub(super) async fn run(
    channel: Channel,
    setup: &Setup,
    queue: &mut Queue,
    receiver: &mut Receiver,
    metrics: &StreamMetrics,
    deadline: &mut Pin<Box<dyn Future<Output = ()> + Send>>,
    mut on_connected: impl FnMut(),
) -> End {
    let (out, batches) = mpsc::channel(IN_TRANSIT);
    let mut client = NodeClient::new(channel);
    let push = async move { Ok::<_, Status>(client.push(ReceiverStream::new(batches)).await?.into_inner()) };
    let mut acks = Box::pin(futures::stream::once(push).try_flatten());
    queue.new_stream();
    let mut stream = Stream {
        setup,
        queue,
        metrics,
        out,
        held: None,
        flights: std::collections::VecDeque::new(),
        credit: FIRST_CREDIT,
        was_good: false,
    };
    loop {
        if let Err(reason) = stream.fill() {
            return stream.lost(reason);
        }
        if setup.shutdown.is_cancelled() && receiver.is_closed() && stream.queue.is_empty() {
            return End::Finished;
        }
        let linger = stream.queue.linger_until();
        let oldest = stream.flights.front().map(|flight| flight.sent + ACK_TIMEOUT);
        let blocked = stream.out.capacity() == 0;
        let out = stream.out.clone();
        let lingering = !blocked && stream.held.is_none() && !stream.is_full();
        tokio::select! {
            biased;
            () = &mut *deadline => return End::Finished,
            ack = acks.next() => match ack {
                Some(Ok(ack)) => {
                    if !stream.was_good {
                        on_connected();
                        metrics.connected.set(1.0);
                    }
                    if let Some(end) = stream.acked(&ack) {
                        metrics.connected.set(0.0);
                        return end;
                    }
                }
                Some(Err(status)) => return stream.lost(reason(&status)),
                None => return stream.lost("the server closed the stream".into()),
            },
            () = super::until(oldest) => return stream.lost("no acknowledgement for a minute".into()),
            room = out.reserve(), if blocked => if room.is_err() {
                return stream.lost("the connection is closed".into());
            },
            event = receiver.next(stream.queue.wants_logs()) => stream.queue.take(event),
            () = super::until(linger), if lingering => {}
        }
    }
}

impl Stream<'_> {
    /// Sends what is due as far as credit and transport allow.
    fn fill(&mut self) -> Result<(), String> {
        while self.out.capacity() > 0 && !self.is_full() {
            if self.queue.stream_series() > MAX_STREAM_SERIES {
                return Err("the stream has named too many series; beginning a new one".into());
            }
            let ready = match self.held.take() {
                Some(ready) => Some(ready),
                None => self.queue.next(clock::instant()).map_err(|e| format!("encoding: {e}"))?,
            };
            let Some(ready) = ready else { return Ok(()) };
            let bytes = ready.body.len() as u64;
            // One batch may always be on its way: a batch larger than the credit could never go else.
            if !self.flights.is_empty() && self.in_flight() + bytes > self.credit {
                self.held = Some(ready);
                return Ok(());
            }
            self.send(ready)?;
        }
        Ok(())
    }

    fn send(&mut self, ready: Ready) -> Result<(), String> {
        let bytes = ready.body.len() as u64;
        let batch = node::Batch {
            node: self.setup.node.clone(),
            session: self.setup.session,
            sequence: ready.sequence,
            body_size: ready.body_size,
            body: ready.body,
            sent_ms: clock::now_ms(),
        };
        self.out.try_send(batch).map_err(|_| "the connection is closed".to_owned())?;
        self.flights.push_back(Flight { sequence: ready.sequence, bytes, sent: clock::instant() });
        self.metrics.batches.add(1);
        self.metrics.bytes.add(bytes);
        Ok(())
    }

    fn is_full(&self) -> bool {
        !self.flights.is_empty() && self.in_flight() >= self.credit
    }

    fn in_flight(&self) -> u64 {
        self.flights.iter().map(|flight| flight.bytes).sum()
    }

    /// Carries out an acknowledgement; an end when the stream has to end because of it.
    fn acked(&mut self, ack: &node::Ack) -> Option<End> {
        // Session 0 is a server that tells its credit before the first batch.
        if ack.session != self.setup.session && ack.session != 0 {
            return Some(self.lost(format!("the server acknowledges session {:x}, not ours", ack.session)));
        }
        self.metrics.acks.add(1);
        self.metrics.credit.set(ack.credit_bytes as f64);
        self.credit = ack.credit_bytes;
        self.was_good = true;
        let mut round_trip = Duration::ZERO;
        while self.flights.front().is_some_and(|flight| flight.sequence <= ack.sequence) {
            if let Some(flight) = self.flights.pop_front() {
                round_trip = clock::instant().duration_since(flight.sent);
            }
        }
        if ack.server_ms != 0 {
            let behind = (ack.server_ms - clock::now_ms()) as f64 / 1000.0;
            self.metrics.offset.set(behind + round_trip.as_secs_f64() / 2.0);
        }
        if let Err(wrong) = self.queue.acked(ack.sequence) {
            return Some(self.lost(wrong.to_string()));
        }
        if ack.wait_ms > 0 {
            let pause = Duration::from_millis(u64::from(ack.wait_ms));
            tracing::warn!(reason = ack.wait_reason, ?pause, "the server asks to wait");
            return Some(End::Wait(pause));
        }
        None
    }

    fn lost(&self, reason: String) -> End {
        self.metrics.connected.set(0.0);
        End::Lost { reason, was_good: self.was_good }
    }
}
