//! Samples into open chunks.

use std::sync::atomic::Ordering;

use binnacle_proto::Labels;

use super::series::Late;
use super::{FlushSet, Head, Series};
use crate::codec::Stream;
use crate::day::Day;
use crate::select::Points;
use crate::store::SeriesId;
use crate::wal::WalSample;

/// What became of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Newest of its series.
    Stored,
    /// Older than the newest, within the window.
    StoredLate,
    /// Was there with the same value.
    Repeated,
    /// Was there with another value.
    Conflicting,
    /// Older than the window allows.
    TooOld,
    /// Its series is not in memory.
    Unknown,
}

impl Head {
    /// Which of these series, all of one shard, are not in memory, and which need their labels in the
    /// log because nothing durable holds them for the day of the sample.
    pub(crate) fn prepare(
        &self,
        shard: usize,
        samples: &[WalSample],
        missing: &mut Vec<WalSample>,
        definitions: &mut Vec<(SeriesId, Labels)>,
    ) {
        let now_s = self.now_s();
        let mut shard = self.shards[shard].lock();
        let mut last = None;
        for sample in samples {
            let day = Day::of(sample.t_ms);
            if last == Some((sample.id, day)) {
                continue;
            }
            last = Some((sample.id, day));
            match shard.get_mut(sample.id) {
                Some(series) => {
                    series.touched_s = now_s;
                    if series.defined != Some(day) {
                        definitions.push((sample.id, series.labels.clone()));
                    }
                }
                None => missing.push(*sample),
            }
        }
    }

    /// Applies what the record `seq` holds for one shard, batch after batch, and calls `each` with the
    /// batch's number and the outcome of each sample. All of it under one lock: who takes the shard's
    /// samples takes all of the record's or none, and the log is cut by that.
    pub(crate) fn apply<'a>(
        &self,
        shard: usize,
        seq: u64,
        batches: impl Iterator<Item = &'a [WalSample]>,
        window_ms: i64,
        mut each: impl FnMut(usize, Outcome),
    ) {
        let mut shard = self.shards[shard].lock();
        let flushing = shard.flushing.clone();
        let (mut bytes, mut stored, mut max_ms) = (0i64, 0u64, i64::MIN);
        for (batch, sample) in batches.enumerate().flat_map(|(at, batch)| batch.iter().map(move |s| (at, s)))
        {
            let outcome = match shard.get_mut(sample.id) {
                Some(series) => {
                    let before = series.bytes();
                    let outcome = push(series, sample, window_ms, flushing.as_deref());
                    bytes += series.bytes() - before;
                    if matches!(outcome, Outcome::Stored | Outcome::StoredLate) {
                        series.defined = Some(Day::of(sample.t_ms));
                        stored += 1;
                        max_ms = max_ms.max(sample.t_ms);
                    }
                    outcome
                }
                None => Outcome::Unknown,
            };
            each(batch, outcome);
        }
        shard.samples += stored;
        shard.applied = seq;
        self.samples.fetch_add(stored, Ordering::Relaxed);
        self.max_ms.fetch_max(max_ms, Ordering::Relaxed);
        self.account(&mut shard, bytes);
    }
}

#[inline]
fn push(series: &mut Series, sample: &WalSample, window_ms: i64, flushing: Option<&FlushSet>) -> Outcome {
    let bits = sample.value.to_bits();
    match series.newest {
        Some((newest_ms, newest_bits)) if sample.t_ms <= newest_ms => {
            if sample.t_ms == newest_ms {
                return if bits == newest_bits { Outcome::Repeated } else { Outcome::Conflicting };
            }
            if sample.t_ms < newest_ms.saturating_sub(window_ms) {
                return Outcome::TooOld;
            }
            push_late(series, sample, flushing)
        }
        _ => {
            series.stream.push(sample.t_ms, sample.value);
            series.newest = Some((sample.t_ms, bits));
            Outcome::Stored
        }
    }
}

/// Kept out of line: rare.
#[cold]
fn push_late(series: &mut Series, sample: &WalSample, flushing: Option<&FlushSet>) -> Outcome {
    let have = in_memory(series, sample, flushing);
    if let Some(have) = have {
        return if have.to_bits() == sample.value.to_bits() {
            Outcome::Repeated
        } else {
            Outcome::Conflicting
        };
    }
    let late = series.late.get_or_insert_default();
    let at = late.partition_point(|(t_ms, _)| *t_ms < sample.t_ms);
    late.insert(at, (sample.t_ms, sample.value));
    Outcome::StoredLate
}

/// The value at this very time. What is in the store's chunks is not looked at: there the first value
/// wins when samples are read.
fn in_memory(series: &Series, sample: &WalSample, flushing: Option<&FlushSet>) -> Option<f64> {
    let at_ms = sample.t_ms;
    let of = |stream: &Stream, late: &[Late]| {
        if let Ok(at) = late.binary_search_by_key(&at_ms, |(t_ms, _)| *t_ms) {
            return Some(late[at].1);
        }
        let mut found = Points::default();
        stream.read(at_ms, at_ms, &mut found).ok()?;
        found.values.first().copied()
    };
    let late = series.late.as_ref().map_or(&[][..], |late| late.as_slice());
    of(&series.stream, late).or_else(|| {
        let taken = flushing?.get(sample.id)?;
        of(&taken.stream, &taken.late)
    })
}
