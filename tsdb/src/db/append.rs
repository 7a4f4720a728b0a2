//! The way of a batch: checked, grouped by shard, made durable, applied.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::{Appended, Core, Inner, Sample};
use crate::Error;
use crate::day::{Day, MAX_ABS_MS};
use crate::head::{Outcome, SHARDS, shard_of};
use crate::wal::{Group, Pending, WalSample, encode_record};

/// Appends are refused while the head holds more than so many times its budget: flushes do not keep up.
const HEAD_OVERFLOW: u64 = 4;

/// Samples that may be stored, grouped by shard.
struct Grouped {
    samples: Vec<WalSample>,
    ends: Vec<u32>,
    refused: Appended,
}

pub(super) async fn append(db: &Arc<Inner>, samples: Vec<Sample>, now_ms: i64) -> Result<Appended, Error> {
    if samples.is_empty() {
        return Ok(Appended::default());
    }
    let core = &db.core;
    core.note_now(now_ms);
    core.check_open()?;
    let budget = core.config.head_bytes.saturating_mul(HEAD_OVERFLOW);
    if core.head.bytes() > budget {
        return Err(Error::Unavailable {
            reason: format!(
                "samples in memory take {} bytes, the limit is {HEAD_OVERFLOW} times tsdb.head_bytes ({budget})",
                core.head.bytes()
            ),
        });
    }
    let wanted = u32::try_from(samples.len()).unwrap_or(u32::MAX).min(core.config.append_queue_samples);
    let closed = || Error::Unavailable { reason: "the database is closed".into() };
    let permit = db.queue.clone().acquire_many_owned(wanted).await.map_err(|_| closed())?;
    let mut grouped = core.group(&samples, now_ms);
    drop(samples);
    let mut definitions = Vec::new();
    core.prepare(&mut grouped, &mut definitions)?;
    if grouped.samples.is_empty() {
        return Ok(grouped.refused);
    }
    let (reply, answer) = oneshot::channel();
    db.committer.submit(Pending {
        definitions,
        samples: grouped.samples,
        ends: grouped.ends,
        reply,
        _permit: permit,
    });
    let mut appended = answer.await.map_err(|_| closed())??;
    appended.out_of_bounds += grouped.refused.out_of_bounds;
    appended.unknown_series += grouped.refused.unknown_series;
    Ok(appended)
}

impl Core {
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Unavailable { reason: "the database is closed".into() });
        }
        Ok(())
    }

    /// Notes the time and what it makes of the retention.
    pub(super) fn note_now(&self, now_ms: i64) {
        self.head.set_now(now_ms);
        self.retention.note_now(now_ms);
    }

    /// Leaves out samples out of bounds and sorts the others by shard; the order within one stays.
    fn group(&self, samples: &[Sample], now_ms: i64) -> Grouped {
        let future_ms = i64::try_from(self.config.future_window.as_millis()).unwrap_or(i64::MAX);
        let newest_ms =
            if future_ms == 0 { MAX_ABS_MS } else { now_ms.saturating_add(future_ms).min(MAX_ABS_MS) };
        let oldest_ms = self.retention.oldest_kept_ms().max(-MAX_ABS_MS);
        let mut refused = Appended::default();
        let (mut too_old, mut too_new) = (0, 0);
        let mut shards: [Vec<WalSample>; SHARDS] = Default::default();
        for sample in samples {
            if sample.t_ms > newest_ms {
                too_new += 1;
            } else if sample.t_ms < oldest_ms {
                too_old += 1;
            } else if let Ok(id) = u32::try_from(sample.series.0) {
                shards[shard_of(id)].push(WalSample { id, t_ms: sample.t_ms, value: sample.value });
            } else {
                refused.unknown_series += 1;
            }
        }
        self.counters.samples_too_old.add(too_old);
        self.counters.samples_too_new.add(too_new);
        self.counters.samples_unknown_series.add(refused.unknown_series);
        refused.out_of_bounds = too_old + too_new;
        let mut grouped =
            Grouped { samples: Vec::with_capacity(samples.len()), ends: Vec::with_capacity(SHARDS), refused };
        for shard in shards {
            grouped.samples.extend_from_slice(&shard);
            grouped.ends.push(grouped.samples.len() as u32);
        }
        grouped
    }

    /// Brings series back into memory that have left it, and finds those whose labels must be logged.
    fn prepare(
        &self,
        grouped: &mut Grouped,
        definitions: &mut Vec<(u32, binnacle_proto::Labels)>,
    ) -> Result<(), Error> {
        let mut missing = Vec::new();
        let mut start = 0;
        for (shard, end) in grouped.ends.iter().enumerate() {
            let end = *end as usize;
            if start < end {
                self.head.prepare(shard, &grouped.samples[start..end], &mut missing, definitions);
            }
            start = end;
        }
        if missing.is_empty() {
            return Ok(());
        }
        // Rare: series that were silent for hours. Resolve them one by one and group anew.
        let mut renamed = hashbrown::HashMap::new();
        for sample in missing {
            if let hashbrown::hash_map::Entry::Vacant(entry) = renamed.entry(sample.id) {
                entry.insert(self.load(sample.id, Day::of(sample.t_ms))?);
            }
        }
        let mut shards: [Vec<WalSample>; SHARDS] = Default::default();
        for sample in &grouped.samples {
            match renamed.get(&sample.id) {
                None => shards[shard_of(sample.id)].push(*sample),
                Some(Some(id)) => shards[shard_of(*id)].push(WalSample { id: *id, ..*sample }),
                Some(None) => {
                    grouped.refused.unknown_series += 1;
                    self.counters.samples_unknown_series.add(1);
                }
            }
        }
        grouped.samples.clear();
        grouped.ends.clear();
        definitions.clear();
        let mut still_missing = Vec::new();
        for (number, shard) in shards.iter().enumerate() {
            grouped.samples.extend_from_slice(shard);
            grouped.ends.push(grouped.samples.len() as u32);
            self.head.prepare(number, shard, &mut still_missing, definitions);
        }
        Ok(())
    }

    /// Makes a group of batches durable; runs on the committer's thread.
    pub(super) fn commit(&self, batches: &[Pending]) -> Result<u64, Error> {
        let committed = self.try_commit(batches);
        match &committed {
            Ok(_) => {
                if self.unavailable.swap(false, Ordering::AcqRel) {
                    tracing::info!("samples are made durable again");
                }
            }
            Err(error) => {
                self.counters.wal_failures.add(1);
                if !self.unavailable.swap(true, Ordering::AcqRel) {
                    tracing::error!(%error, "samples cannot be made durable, appends are refused");
                }
            }
        }
        committed
    }

    fn try_commit(&self, batches: &[Pending]) -> Result<u64, Error> {
        self.check_disk()?;
        let definitions = batches.iter().flat_map(|batch| &batch.definitions);
        let samples = batches.iter().flat_map(|batch| &batch.samples);
        let record = encode_record(definitions, samples)
            .map_err(|error| Error::Unavailable { reason: format!("cannot compress a record: {error}") })?;
        // A number that failed is not used again: the record may be on disk all the same.
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        let mut batch = self.store.batch()?;
        batch.put_wal(seq, &record);
        self.store.write(batch).map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        self.counters.wal_syncs.add(1);
        self.wal.add(seq, record.len() as u64);
        Ok(seq)
    }

    /// Puts a durable group into the head and answers; runs on the applier's thread.
    pub(super) fn apply(&self, group: Group) {
        let window_ms = i64::try_from(self.config.out_of_order_window.as_millis()).unwrap_or(i64::MAX);
        let mut answers: Vec<Counts> = group.batches.iter().map(|_| Counts::default()).collect();
        // Shard by shard: a flush between two batches of the group would take the record as applied.
        for shard in 0..SHARDS {
            let parts = group.batches.iter().map(|batch| batch.of_shard(shard));
            if parts.clone().any(|samples| !samples.is_empty()) {
                self.head.apply(shard, group.seq, parts, window_ms, |batch, outcome| {
                    answers[batch].count(outcome);
                });
            }
        }
        self.head.set_applied(group.seq);
        for (batch, counts) in group.batches.into_iter().zip(answers) {
            let appended = self.count(&counts);
            // A sender that has gone away needs no answer.
            let _ = batch.reply.send(Ok(appended));
        }
        if self.head.bytes() > self.config.head_bytes {
            *self.flush_wanted.lock() = true;
            self.flush_signal.notify_one();
        }
    }

    fn count(&self, counts: &Counts) -> Appended {
        self.counters.samples_appended.add(counts.stored + counts.late);
        self.counters.samples_out_of_order.add(counts.late);
        self.counters.samples_repeated.add(counts.repeated);
        self.counters.samples_conflicting.add(counts.conflicting);
        self.counters.samples_too_old.add(counts.too_old);
        self.counters.samples_unknown_series.add(counts.unknown);
        Appended {
            stored: counts.stored + counts.late,
            repeated: counts.repeated,
            conflicting: counts.conflicting,
            out_of_bounds: counts.too_old,
            unknown_series: counts.unknown,
        }
    }
}

/// How many samples of a batch had which outcome.
#[derive(Default)]
pub(super) struct Counts {
    stored: u64,
    late: u64,
    repeated: u64,
    conflicting: u64,
    too_old: u64,
    unknown: u64,
}

impl Counts {
    #[inline]
    pub(super) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Stored => self.stored += 1,
            Outcome::StoredLate => self.late += 1,
            Outcome::Repeated => self.repeated += 1,
            Outcome::Conflicting => self.conflicting += 1,
            Outcome::TooOld => self.too_old += 1,
            Outcome::Unknown => self.unknown += 1,
        }
    }
}
