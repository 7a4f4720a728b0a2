//! What waits to be sent and what waits to be acknowledged. No I/O but the spool's, no clock.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Dictionary, LogLines, OnDurable};
use crate::config;
use crate::sample::Round;
use crate::selfmetrics::{Counter, Gauge, SelfMetrics};
use crate::spool::{Position, Spool};

/// One batch: kept until it is acknowledged, for it may have to be encoded anew.
struct Outgoing {
    sequence: u64,
    rounds: Vec<Round>,
    /// Where the rounds are in the spool, if they came from there.
    spooled: Option<Position>,
    logs: Vec<(LogLines, OnDurable)>,
    /// Memory held, in bytes.
    bytes: usize,
}

/// A batch encoded for the current stream.
pub(super) struct Ready {
    pub(super) sequence: u64,
    /// Compressed.
    pub(super) body: Vec<u8>,
    /// Size before compression.
    pub(super) body_size: u32,
}

/// An acknowledgement that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server acknowledges batch {acked}, the last one sent is {sent}")]
pub(super) struct WrongAck {
    acked: u64,
    sent: u64,
}

/// Owner of everything that has not reached the server.
pub(super) struct Queue {
    limits: config::Uplink,
    /// Older than `rounds`, newer than `unacked`.
    spool: Spool,
    rounds: VecDeque<Round>,
    /// Memory that `rounds` hold.
    round_bytes: usize,
    logs: Vec<(LogLines, OnDurable)>,
    log_bytes: usize,
    /// When the first of `logs` came.
    logs_since: Option<Instant>,
    unacked: VecDeque<Outgoing>,
    unacked_bytes: usize,
    /// How many of `unacked` have been encoded for the current stream.
    encoded: usize,
    last_sequence: u64,
    dictionary: Dictionary,
    gauges: Gauges,
}

struct Gauges {
    rounds: Gauge,
    unacked_bytes: Gauge,
    log_bytes: Gauge,
    samples: Counter,
    lines: Counter,
    raw_bytes: Counter,
}

impl Queue {
    pub(super) fn new(limits: config::Uplink, spool: Spool, metrics: &SelfMetrics) -> Self {
        Self {
            limits,
            spool,
            rounds: VecDeque::new(),
            round_bytes: 0,
            logs: Vec::new(),
            log_bytes: 0,
            logs_since: None,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            encoded: 0,
            last_sequence: 0,
            dictionary: Dictionary::default(),
            gauges: Gauges {
                rounds: metrics.gauge("binnacle_agent_queue_rounds", &[]),
                unacked_bytes: metrics.gauge("binnacle_agent_unacked_bytes", &[]),
                log_bytes: metrics.gauge("binnacle_agent_queue_log_bytes", &[]),
                samples: metrics.counter("binnacle_agent_samples_acked_total", &[]),
                lines: metrics.counter("binnacle_agent_lines_acked_total", &[]),
                raw_bytes: metrics.counter("binnacle_agent_body_bytes_total", &[]),
            },
        }
    }

    /// Takes a round. The oldest rounds in memory go to the spool when there are too many, and they are too large:
    /// each scrape of a target is a round of its own, and most are small.
    pub(super) fn put_round(&mut self, round: Round) {
        self.round_bytes += round.byte_len();
        self.rounds.push_back(round);
        while self.rounds.len() > self.limits.queue_rounds && self.round_bytes > self.limits.unacked_bytes {
            let Some(oldest) = self.pop_round() else { break };
            self.spool.push(&oldest);
        }
        self.show();
    }

    /// Whether there is room for lines: while there is none, they stay in their files.
    pub(super) fn wants_logs(&self) -> bool {
        self.log_bytes < self.limits.batch_bytes
    }

    /// Takes a block of lines.
    pub(super) fn put_logs(&mut self, lines: LogLines, on_durable: OnDurable, now: Instant) {
        self.log_bytes += lines.byte_len();
        self.logs.push((lines, on_durable));
        self.logs_since.get_or_insert(now);
        self.show();
    }

    /// A stream begins: its dictionary is empty, and what was not acknowledged is sent again.
    pub(super) fn new_stream(&mut self) {
        self.dictionary = Dictionary::default();
        self.encoded = 0;
    }

    /// When lines that wait for company must be sent without it.
    pub(super) fn linger_until(&self) -> Option<Instant> {
        self.logs_since.map(|since| since + self.limits.linger).filter(|_| self.has_room())
    }

    /// The next batch to send on this stream, if one is due.
    pub(super) fn next(&mut self, now: Instant) -> std::io::Result<Option<Ready>> {
        if self.encoded == self.unacked.len() && !self.close_batch(now) {
            return Ok(None);
        }
        let Some(batch) = self.unacked.get(self.encoded) else { return Ok(None) };
        let encoded = self.dictionary.encode(&batch.rounds, batch.logs.iter().map(|(lines, _)| lines))?;
        self.encoded += 1;
        self.gauges.raw_bytes.add(encoded.size as u64);
        Ok(Some(Ready { sequence: batch.sequence, body: encoded.body, body_size: encoded.size as u32 }))
    }

    /// How many series the stream has named: a stream that has seen too many is begun anew.
    pub(super) fn stream_series(&self) -> usize {
        self.dictionary.series_len()
    }

    /// The server has made everything up to `sequence` durable. Returns how many batches that freed.
    pub(super) fn acked(&mut self, sequence: u64) -> Result<usize, WrongAck> {
        let sent = match self.encoded.checked_sub(1).and_then(|at| self.unacked.get(at)) {
            Some(batch) => batch.sequence,
            None => self.unacked.front().map_or(self.last_sequence, |batch| batch.sequence - 1),
        };
        if sequence > sent {
            return Err(WrongAck { acked: sequence, sent });
        }
        let mut freed = 0;
        while self.unacked.front().is_some_and(|batch| batch.sequence <= sequence) {
            let Some(batch) = self.unacked.pop_front() else { break };
            freed += 1;
            self.encoded -= 1;
            self.unacked_bytes -= batch.bytes;
            if let Some(position) = batch.spooled {
                self.spool.release(position);
            }
            self.gauges.samples.add(batch.rounds.iter().map(|round| round.samples.len() as u64).sum());
            for (lines, on_durable) in batch.logs {
                self.gauges.lines.add(lines.lines.len() as u64);
                on_durable();
            }
        }
        self.show();
        Ok(freed)
    }

    /// Whether nothing waits, neither to be sent nor to be acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.rounds.is_empty() && self.logs.is_empty() && self.unacked.is_empty() && !self.spool.is_unread()
    }

    /// The agent ends: rounds go to the spool, lines stay in their files.
    pub(super) fn close(mut self) {
        let on_their_way = self.unacked.into_iter().filter(|batch| batch.spooled.is_none());
        let on_their_way: Vec<Round> = on_their_way.flat_map(|batch| batch.rounds).collect();
        self.spool.put_first(&on_their_way);
        self.rounds.iter().for_each(|round| self.spool.push(round));
    }

    fn has_room(&self) -> bool {
        self.unacked_bytes < self.limits.unacked_bytes
    }

    /// Makes a batch of what waits; false when nothing is due or too much is unacknowledged.
    fn close_batch(&mut self, now: Instant) -> bool {
        if !self.has_room() {
            return false;
        }
        let (rounds, spooled) = match self.spool.next() {
            Some((rounds, position)) => (rounds, Some(position)),
            None => (self.take_rounds(), None),
        };
        let lingered = self.logs_since.is_some_and(|since| now >= since + self.limits.linger);
        let logs_due = !rounds.is_empty() || lingered || self.log_bytes >= self.limits.batch_bytes;
        if rounds.is_empty() && (self.logs.is_empty() || !logs_due) {
            return false;
        }
        let mut bytes: usize = rounds.iter().map(Round::byte_len).sum();
        bytes += self.log_bytes;
        self.last_sequence += 1;
        let logs = std::mem::take(&mut self.logs);
        (self.log_bytes, self.logs_since) = (0, None);
        self.unacked.push_back(Outgoing { sequence: self.last_sequence, rounds, spooled, logs, bytes });
        self.unacked_bytes += bytes;
        self.show();
        true
    }

    fn take_rounds(&mut self) -> Vec<Round> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < self.limits.batch_bytes {
            let Some(round) = self.pop_round() else { break };
            bytes += round.byte_len();
            taken.push(round);
        }
        taken
    }

    fn pop_round(&mut self) -> Option<Round> {
        let round = self.rounds.pop_front()?;
        self.round_bytes -= round.byte_len();
        Some(round)
    }

    fn show(&self) {
        self.gauges.rounds.set(self.rounds.len() as f64);
        self.gauges.unacked_bytes.set(self.unacked_bytes as f64);
        self.gauges.log_bytes.set(self.log_bytes as f64);
    }
}

#[cfg(test)]
mod tests;
