//! Small chunks into larger ones, some at a time.
//!
//! A merge reads what is committed and replaces it in one atomic batch, so that a crash leaves the old
//! chunks or the new ones, and a reader's view holds the one or the other. It holds the lock of
//! maintenance, so that no deletion comes between, and no lock that an append or a query waits for.

use std::collections::BTreeMap;

use parking_lot::MutexGuard;

use super::Core;
use crate::Error;
use crate::codec::encode_chunk;
use crate::day::Day;
use crate::head::SHARDS;
use crate::merge::{self, Extent, FAN_IN, SMALL_SAMPLES};
use crate::select::Points;
use crate::store::{Batch, SeriesChunks, SeriesId};

/// Bytes of chunks read in one turn, during which flushes wait.
pub(super) const TURN_BYTES: usize = 2 << 20;
/// Turns of one call of maintenance.
pub(super) const TURNS: usize = 8;

/// Which days have chunks to merge.
#[derive(Default)]
pub(super) struct Merges {
    backlog: BTreeMap<Day, Backlog>,
    /// The day looked over at the moment, and the series to go on with.
    under_way: Option<(Day, SeriesId)>,
}

/// Chunks of a day written since it was looked over, by shard.
#[derive(Default)]
struct Backlog([Flushed; SHARDS]);

#[derive(Default, Clone, Copy)]
struct Flushed {
    flushes: u64,
    chunks: u64,
    samples: u64,
}

impl Flushed {
    /// Whether a look will find something: series have many chunks, or enough samples for a full one.
    fn is_due(self) -> bool {
        let of_series = self.samples * self.flushes / self.chunks.max(1);
        self.flushes >= FAN_IN as u64 || (self.flushes > 1 && of_series >= SMALL_SAMPLES as u64)
    }
}

impl Merges {
    /// Notes that a flush of a shard has written chunks.
    pub(super) fn flushed(&mut self, day: Day, shard: usize, chunks: u64, samples: u64) {
        let flushed = &mut self.backlog.entry(day).or_default().0[shard];
        flushed.flushes += 1;
        flushed.chunks += chunks;
        flushed.samples += samples;
    }

    /// Makes a day due, whatever is known of it.
    pub(super) fn look_at(&mut self, day: Day) {
        self.backlog.entry(day).or_default().0[0].flushes = FAN_IN as u64;
    }

    /// Forgets a day that is dropped.
    pub(super) fn dropped(&mut self, day: Day) {
        self.backlog.remove(&day);
        self.under_way = self.under_way.filter(|(under_way, _)| *under_way != day);
    }

    fn next(&mut self) -> Option<(Day, SeriesId)> {
        if self.under_way.is_none() {
            let due = self.backlog.iter().find(|(_, backlog)| backlog.0.iter().any(|of| of.is_due()));
            let day = *due?.0;
            self.backlog.remove(&day);
            self.under_way = Some((day, 0));
        }
        self.under_way
    }
}

/// What a rewriting did.
#[derive(Default)]
pub(super) struct Rewritten {
    chunks: u64,
    into: u64,
    bytes: u64,
    into_bytes: u64,
}

impl Core {
    /// Merges some of what is due.
    pub(super) fn merge_due(&self) -> Result<(), Error> {
        for _ in 0..TURNS {
            let mut maintenance = self.maintenance.lock();
            let Some((day, from)) = maintenance.merges.next() else { break };
            let next = self.merge_turn(day, from)?;
            maintenance.merges.under_way = next.map(|id| (day, id));
            if next.is_none() {
                self.counters.merge_passes.add(1);
            }
            // A flush that waits comes first.
            MutexGuard::unlock_fair(maintenance);
        }
        Ok(())
    }

    /// Merges chunks of series of a day from an id on; the id to go on with, if any. The caller holds the
    /// lock of maintenance.
    fn merge_turn(&self, day: Day, from: SeriesId) -> Result<Option<SeriesId>, Error> {
        let mut batch = self.store.batch()?;
        let mut done = Rewritten::default();
        let (mut bytes, mut next) = (0, None);
        let scanned = self.store.scan_chunks(day, from, &mut |series| {
            if bytes > TURN_BYTES {
                next = Some(series.id);
                return false;
            }
            bytes += series.chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
            self.rewrite(&mut batch, day, &series, &mut done, None);
            true
        });
        match scanned {
            // What is damaged stays as it is, and so does the rest of its day.
            Err(error) if error.is_corruption() => self.report_damaged(&error),
            scanned => scanned?,
        }
        self.write_rewritten(batch, &done)?;
        Ok(next)
    }

    pub(super) fn write_rewritten(&self, batch: Batch, done: &Rewritten) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        self.store.write(batch)?;
        self.counters.chunks_merged.add(done.chunks);
        self.counters.chunks_merged_into.add(done.into);
        self.counters.merge_bytes_before.add(done.bytes);
        self.counters.merge_bytes_after.add(done.into_bytes);
        Ok(())
    }

    /// Replaces chunks of a series by larger ones. `last_time`, when no more samples are expected, gets
    /// all of them in order, and no small chunk is left; false when something is damaged.
    pub(super) fn rewrite(
        &self,
        batch: &mut Batch,
        day: Day,
        series: &SeriesChunks,
        done: &mut Rewritten,
        mut last_time: Option<&mut dyn FnMut(&Points)>,
    ) -> bool {
        let extents: Result<Vec<Extent>, _> = series.chunks.iter().map(Extent::of).collect();
        let extents = match extents {
            Ok(extents) => extents,
            Err(error) => {
                let t0_ms = series.chunks.first().map_or(0, |chunk| chunk.t0_ms);
                self.report_corrupt(day, series.id, t0_ms, &error.to_string());
                return false;
            }
        };
        let mut whole = true;
        for run in merge::runs(&extents, last_time.is_some()) {
            let old = &series.chunks[run.chunks.clone()];
            if !run.merge && last_time.is_none() {
                continue;
            }
            let points = match merge::samples(old) {
                Ok(points) => points,
                Err((t0_ms, error)) => {
                    // It stays, so that it goes on being reported.
                    self.report_corrupt(day, series.id, t0_ms, &error.to_string());
                    whole = false;
                    continue;
                }
            };
            if let Some(each) = &mut last_time {
                each(&points);
            }
            if run.merge {
                replace(batch, day, series.id, old, &points, done);
            }
        }
        whole
    }
}

fn replace(
    batch: &mut Batch,
    day: Day,
    id: SeriesId,
    old: &[crate::store::StoredChunk],
    points: &Points,
    done: &mut Rewritten,
) {
    // Nothing else overlaps in time, and what a later flush brings is of a later generation than all.
    let generation = old.iter().map(|chunk| chunk.generation).max().unwrap_or(0);
    for chunk in old {
        batch.delete_chunk(day, id, chunk.t0_ms, chunk.generation);
        done.bytes += chunk.bytes.len() as u64;
    }
    // After the deletions: one of the new keys may be one of the old.
    for piece in merge::cut(points) {
        let bytes = encode_chunk(&piece);
        batch.put_chunk(day, id, piece.timestamps[0], generation, &bytes);
        done.into += 1;
        done.into_bytes += bytes.len() as u64;
    }
    done.chunks += old.len() as u64;
}
