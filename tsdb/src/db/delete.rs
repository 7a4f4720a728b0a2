//! Deletion: samples out of chunks, series without samples out of the index.

use binnacle_proto::Labels;
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::{Core, Maintenance, TimeRange};
use crate::Error;
use crate::codec::{decode_chunk, encode_chunk, peek_chunk};
use crate::day::Day;
use crate::index::{DayIndex, Plan, Postings};
use crate::select::{Guard, GuardLimits, Matcher, Points};
use crate::store::{Batch, SeriesId};

/// A batch of changes is written when it has so many bytes.
const BATCH_BYTES: usize = 4 << 20;

impl Core {
    pub(super) fn delete_series(&self, matcher_sets: &[Vec<Matcher>], range: TimeRange) -> Result<(), Error> {
        self.check_open()?;
        // What was appended before this call goes to chunks and is deleted there.
        self.flush_all()?;
        let mut maintenance = self.maintenance.lock();
        for day in self.days_within(range.start_ms, range.end_ms) {
            self.delete_on(&mut maintenance, day, matcher_sets, range)?;
        }
        Ok(())
    }

    pub(super) fn delete_on(
        &self,
        maintenance: &mut Maintenance,
        day: Day,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<(), Error> {
        let index = DayIndex { store: &self.store, day };
        let mut ids = RoaringBitmap::new();
        for matchers in matcher_sets {
            ids |= Plan::new(matchers).run(&index, &unbounded())?;
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.unseal(maintenance, day)?;
        let mut batch = self.store.batch()?;
        let mut gone = HashMap::new();
        for id in ids {
            if self.delete_samples(&mut batch, day, id, range)?
                && let Some(labels) = self.store.series_labels(day, id)?
            {
                batch.delete_series(day, id, &labels);
                gone.insert(id, labels);
            }
            if batch.size() > BATCH_BYTES {
                self.store.write(std::mem::replace(&mut batch, self.store.batch()?))?;
            }
        }
        self.forget(&mut batch, &index, &gone)?;
        self.store.write(batch)?;
        for id in gone.keys() {
            self.head.unindexed(*id, day);
        }
        if self.store.posting(day, "", "")?.is_empty() {
            self.forget_day(maintenance, day);
        }
        Ok(())
    }

    /// Removes the samples of a series on a day within the range; true when none are left.
    fn delete_samples(
        &self,
        batch: &mut Batch,
        day: Day,
        id: SeriesId,
        range: TimeRange,
    ) -> Result<bool, Error> {
        let mut empty = true;
        for chunk in self.store.chunks(day, id)? {
            let (start_ms, span) = (chunk.t0_ms, peek_chunk(&chunk.bytes).map_or(0, |(_, span)| span));
            if start_ms > range.end_ms || start_ms.saturating_add(span) < range.start_ms {
                empty = false;
                continue;
            }
            if range.start_ms <= start_ms && start_ms.saturating_add(span) <= range.end_ms {
                batch.delete_rollups(day, id);
                batch.delete_chunk(day, id, chunk.t0_ms, chunk.generation);
                continue;
            }
            let mut points = Points::default();
            if let Err(error) = decode_chunk(&chunk.bytes, chunk.t0_ms, i64::MIN, i64::MAX, &mut points) {
                self.report_corrupt(day, id, chunk.t0_ms, &error.to_string());
                empty = false;
                continue;
            }
            let mut kept = Points::default();
            for (t_ms, value) in points.timestamps.iter().zip(&points.values) {
                if !(range.start_ms..=range.end_ms).contains(t_ms) {
                    kept.push(*t_ms, *value);
                }
            }
            batch.delete_rollups(day, id);
            batch.delete_chunk(day, id, chunk.t0_ms, chunk.generation);
            if let Some(first) = kept.timestamps.first() {
                batch.put_chunk(day, id, *first, chunk.generation, &encode_chunk(&kept));
                empty = false;
            }
        }
        Ok(empty)
    }

    /// Takes series out of a day's postings.
    fn forget(
        &self,
        batch: &mut Batch,
        index: &DayIndex,
        gone: &HashMap<SeriesId, Labels>,
    ) -> Result<(), Error> {
        let mut postings: HashMap<(&str, &str), RoaringBitmap> = HashMap::new();
        for (id, labels) in gone {
            postings.entry(("", "")).or_default().insert(*id);
            for (name, value) in labels.iter() {
                postings.entry((name, value)).or_default().insert(*id);
            }
        }
        for ((name, value), ids) in postings {
            batch.put_posting(index.day, name, value, &(index.equal(name, value)? - ids));
        }
        Ok(())
    }
}

/// Deletion has no client that waits for a limit.
#[expect(clippy::disallowed_methods, reason = "the account is unlimited, so the instant decides nothing")]
fn unbounded() -> Guard {
    let limits =
        GuardLimits { max_bytes: u64::MAX, max_samples: u64::MAX, timeout: std::time::Duration::MAX };
    Guard::new(limits, std::time::Instant::now())
}
