//! Samples into chunks: chunks, index and the cut of the log in one batch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use binnacle_proto::Labels;
use hashbrown::HashMap;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::replay::{META_CUTS, META_NEXT_ID};
use super::{Core, Maintenance};
use crate::Error;
use crate::codec::encode_chunk;
use crate::day::{DAY_MS, Day};
use crate::head::{FlushSet, SHARDS, Taken};
use crate::merge::CHUNK_SAMPLES;
use crate::select::Points;
use crate::store::{Batch, SeriesId};

/// A flush for the budget's sake goes on until the head is at so many eighths of it.
const FLUSH_TO_EIGHTHS: u64 = 6;
/// Records of the log are accounted in groups of so many.
const ACCOUNT_RECORDS: u64 = 1024;

/// Number and bytes of the log's records, roughly by sequence number.
#[derive(Default)]
pub(super) struct WalAccount {
    groups: Mutex<BTreeMap<u64, (u64, u64)>>,
    /// Records up to and with this one are deleted.
    cut: AtomicU64,
}

impl WalAccount {
    pub(super) fn add(&self, seq: u64, bytes: u64) {
        let mut account = self.groups.lock();
        let group = account.entry(seq / ACCOUNT_RECORDS).or_default();
        *group = (group.0 + 1, group.1 + bytes);
    }

    fn cut(&self, seq: u64) {
        self.cut.fetch_max(seq, Ordering::Relaxed);
        let mut account = self.groups.lock();
        *account = account.split_off(&((seq + 1) / ACCOUNT_RECORDS));
        if let Some((group, held)) = account.first_key_value().map(|(group, held)| (*group, *held)) {
            // Of the group that is cut in its middle, roughly what is left.
            let left = ((group + 1) * ACCOUNT_RECORDS).saturating_sub(seq + 1).min(held.0);
            account.insert(group, (left, held.1 / held.0.max(1) * left));
        }
    }

    /// Whether the records up to and with `seq` are deleted.
    fn is_cut(&self, seq: u64) -> bool {
        self.cut.load(Ordering::Relaxed) >= seq
    }

    /// Records and bytes.
    pub(super) fn total(&self) -> (u64, u64) {
        self.groups.lock().values().fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1))
    }
}

/// The index entries that a batch adds.
#[derive(Default)]
struct NewEntries<'a> {
    postings: HashMap<(Day, &'a str, &'a str), RoaringBitmap>,
}

impl<'a> NewEntries<'a> {
    fn add(&mut self, batch: &mut Batch, day: Day, id: SeriesId, labels: &'a Labels) {
        batch.put_series(day, id, labels);
        self.postings.entry((day, "", "")).or_default().insert(id);
        for (name, value) in labels.iter() {
            self.postings.entry((day, name, value)).or_default().insert(id);
        }
    }
}

impl Core {
    /// Runs on the flush thread until the database is closed.
    pub(super) fn flush_when_wanted(&self) {
        loop {
            {
                let mut wanted = self.flush_wanted.lock();
                while !*wanted {
                    self.flush_signal.wait(&mut wanted);
                }
                *wanted = false;
            }
            if self.check_open().is_err() {
                return;
            }
            if let Err(error) = self.flush_to_budget() {
                tracing::error!(%error, "cannot flush samples into chunks, will try again");
            }
        }
    }

    /// Flushes the largest shards until the head is well within its budget.
    pub(super) fn flush_to_budget(&self) -> Result<(), Error> {
        let target = self.config.head_bytes / 8 * FLUSH_TO_EIGHTHS;
        for number in self.head.largest_shards() {
            if self.head.bytes() <= target {
                break;
            }
            self.flush_shard(&mut self.maintenance.lock(), number)?;
        }
        Ok(())
    }

    pub(super) fn flush_all(&self) -> Result<(), Error> {
        let mut maintenance = self.maintenance.lock();
        (0..SHARDS).try_for_each(|number| self.flush_shard(&mut maintenance, number))?;
        // Records whose samples were all refused are cut too: after a deletion they would not be refused.
        let cut = maintenance.cuts.iter().copied().min().unwrap_or(0);
        if self.wal.is_cut(cut) {
            return Ok(());
        }
        let mut batch = self.store.batch()?;
        batch.cut_wal(cut);
        batch.put_meta(META_CUTS, &maintenance.cuts.map(u64::to_be_bytes).concat());
        self.store.write(batch)?;
        self.wal.cut(cut);
        Ok(())
    }

    /// Writes all samples of a shard into chunks.
    pub(super) fn flush_shard(&self, maintenance: &mut Maintenance, number: usize) -> Result<(), Error> {
        let set = match self.head.take(number) {
            Taken::Samples(set) => set,
            Taken::Clean(cut) => {
                maintenance.cuts[number] = maintenance.cuts[number].max(cut);
                return Ok(());
            }
        };
        let written = self.write_set(maintenance, number, &set);
        if written.is_err() {
            self.counters.flush_failures.add(1);
        }
        written
    }

    fn write_set(&self, maintenance: &mut Maintenance, number: usize, set: &FlushSet) -> Result<(), Error> {
        let mut batch = self.store.batch()?;
        let mut entries = NewEntries::default();
        let mut indexed: Vec<(SeriesId, Day)> = Vec::new();
        let rolled_up = self.rolled_up.read().clone();
        let mut by_day: BTreeMap<Day, (u64, u64)> = BTreeMap::new();
        let (mut chunks, mut samples, mut bytes) = (0, 0, 0);
        for series in &set.series {
            let points = match series.points() {
                Ok(points) => points,
                Err(error) => {
                    let reason = format!("samples of {} in memory: {error}", series.labels);
                    return Err(Error::Storage { context: "cannot encode a chunk".into(), reason });
                }
            };
            for (day, points) in split(&points) {
                let chunk = encode_chunk(&points);
                batch.put_chunk(day, series.id, points.timestamps[0], set.cut, &chunk);
                if rolled_up.contains(&day) {
                    batch.delete_rollups(day, series.id);
                }
                (chunks, samples, bytes) = (chunks + 1, samples + points.len(), bytes + chunk.len());
                let on_day = by_day.entry(day).or_default();
                *on_day = (on_day.0 + 1, on_day.1 + points.len() as u64);
                let known = series.indexed == Some(day) || indexed.last() == Some(&(series.id, day));
                if !known {
                    entries.add(&mut batch, day, series.id, &series.labels);
                    indexed.push((series.id, day));
                }
            }
        }
        for ((day, name, value), ids) in &entries.postings {
            batch.add_posting(*day, name, value, ids);
        }
        let unsealed = maintenance.seals.without(by_day.keys());
        if let Some(seals) = &unsealed {
            seals.put(&mut batch);
        }
        let mut cuts = maintenance.cuts;
        cuts[number] = set.cut;
        for (other, cut) in cuts.iter_mut().enumerate().filter(|(other, _)| *other != number) {
            if let Some(clean) = self.head.clean_cut(other) {
                *cut = clean.max(*cut);
            }
        }
        let cut = cuts.iter().copied().min().unwrap_or(0);
        if cut > maintenance.cuts.iter().copied().min().unwrap_or(0) {
            batch.cut_wal(cut);
        }
        batch.put_meta(META_CUTS, &cuts.map(u64::to_be_bytes).concat());
        batch.put_meta(META_NEXT_ID, &self.head.next_id().to_be_bytes());
        self.store.write(batch)?;
        self.wal.cut(cut);
        maintenance.cuts = cuts;
        self.unsealed(maintenance, unsealed, by_day.keys());
        for (day, (chunks, samples)) in by_day {
            maintenance.merges.flushed(day, number, chunks, samples);
        }
        self.days.write().extend(entries.postings.keys().map(|(day, ..)| *day));
        self.head.flushed(number, set, &indexed);
        self.counters.flushes.add(1);
        self.counters.chunks_written.add(chunks);
        self.counters.chunk_samples_written.add(samples as u64);
        self.counters.chunk_bytes_written.add(bytes as u64);
        Ok(())
    }
}

/// Cuts samples at midnight and into chunks of bearable size.
pub(super) fn split(points: &Points) -> Vec<(Day, Points)> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(first) = points.timestamps.get(from) {
        let day = Day::of(*first);
        let midnight = day.start_ms() + DAY_MS;
        let within = points.timestamps[from..].partition_point(|t_ms| *t_ms < midnight);
        let to = from + within.min(CHUNK_SAMPLES);
        let piece = Points {
            timestamps: points.timestamps[from..to].to_vec(),
            values: points.values[from..to].to_vec(),
        };
        pieces.push((day, piece));
        from = to;
    }
    pieces
}
