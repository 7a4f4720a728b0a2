//! Recovery: what was acknowledged and is not in chunks comes back from the log.

mod progress;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, sync_channel};

use binnacle_proto::Labels;
use hashbrown::{HashMap, HashSet};
use roaring::RoaringBitmap;

use super::Core;
use crate::Error;
use crate::codec::Corrupt;
use crate::day::Day;
use crate::head::{Outcome, SHARDS, shard_of};
use crate::store::SeriesId;
use crate::wal::{Decoder, Record, WalSample};
pub use progress::{ReplayProgress, ReplayState};

/// How far each shard's samples are in chunks: 16 sequence numbers.
pub(super) const META_CUTS: &str = "wal_cuts";
/// The next free series id.
pub(super) const META_NEXT_ID: &str = "next_series_id";
/// Records between two lines in the log.
const PROGRESS: u64 = 100_000;

/// Records decoded before they are applied: the memory of a replay stays bounded.
const DECODED_AHEAD: usize = 2;

/// What a replay needs besides the head.
struct Replay {
    cuts: [u64; SHARDS],
    /// Labels of series that have had no sample to apply yet.
    defined: HashMap<SeriesId, Labels>,
    /// Ids under which labels were stored before they came back under another id.
    renamed: HashMap<SeriesId, SeriesId>,
    /// Series in the store, by day.
    stored: HashMap<Day, RoaringBitmap>,
    /// The samples of a record by shard; kept for its memory.
    shards: [Vec<WalSample>; SHARDS],
    records: u64,
    samples: u64,
    corrupt: u64,
}

impl Core {
    /// Replays the log under the budget of the head. Runs before any thread is started.
    pub(super) fn replay(&self) -> Result<(), Error> {
        self.replay_log()?;
        self.replayed.end();
        Ok(())
    }

    fn replay_log(&self) -> Result<(), Error> {
        let mut replay = Replay {
            cuts: self.read_cuts()?,
            defined: HashMap::new(),
            renamed: HashMap::new(),
            stored: HashMap::new(),
            shards: Default::default(),
            records: 0,
            samples: 0,
            corrupt: 0,
        };
        self.maintenance.lock().cuts = replay.cuts;
        if let Some(bytes) = self.store.meta(META_NEXT_ID)? {
            self.head.reserve_ids(u32::from_be_bytes(bytes.try_into().unwrap_or_default()));
        }
        let mut last_seq = replay.cuts.iter().copied().max().unwrap_or(0);
        let first = replay.cuts.iter().copied().min().unwrap_or(0);
        self.replayed.begin(first + 1, self.store.wal_end()?.unwrap_or(first));
        self.each_record(first, |seq, bytes, record| {
            last_seq = last_seq.max(seq);
            self.wal.add(seq, bytes);
            self.replay_record(&mut replay, seq, record)
        })?;
        self.next_seq.store(last_seq + 1, Ordering::Relaxed);
        self.head.set_applied(last_seq);
        self.counters.wal_corrupt.add(replay.corrupt);
        if !replay.renamed.is_empty() {
            // Their samples are in another shard than the log says: only in chunks is that settled.
            self.flush_all()?;
        }
        if replay.records > 0 {
            let (records, samples) = (replay.records, replay.samples);
            tracing::info!(records, samples, series = self.head.series_count(), "log replayed");
        }
        Ok(())
    }

    /// Calls `each` with the log's records after `first` and their bytes on disk, in order. A thread of its
    /// own reads and decodes while the records before are applied.
    fn each_record(
        &self,
        first: u64,
        mut each: impl FnMut(u64, u64, Result<&mut Record, Corrupt>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let failed = |reason: String| Error::Storage { context: "cannot replay the log".into(), reason };
        std::thread::scope(|scope| {
            let (decoded, records) = sync_channel(DECODED_AHEAD);
            // Records that were applied come back, for their memory.
            let (applied, spent) = channel::<Record>();
            let read = move || {
                let mut decoder = Decoder::default();
                self.store.wal_after(first, &mut |seq, bytes| {
                    let mut record = spent.try_recv().unwrap_or_default();
                    let result = decoder.decode(bytes, &mut record);
                    // The other end goes when a record cannot be applied.
                    decoded.send((seq, bytes.len() as u64, result, record)).is_ok()
                })
            };
            let reader = std::thread::Builder::new().name("tsdb-replay".into()).spawn_scoped(scope, read);
            let reader = reader.map_err(|error| failed(error.to_string()))?;
            let done: Result<(), Error> =
                records.into_iter().try_for_each(|(seq, bytes, result, mut record)| {
                    each(seq, bytes, result.map(|()| &mut record))?;
                    // The thread may have ended.
                    let _ = applied.send(record);
                    Ok(())
                });
            let read = reader.join().map_err(|_| failed("its thread has panicked".into()))?;
            done?;
            Ok(read?)
        })
    }

    fn read_cuts(&self) -> Result<[u64; SHARDS], Error> {
        let mut cuts = [0; SHARDS];
        if let Some(bytes) = self.store.meta(META_CUTS)? {
            for (cut, bytes) in cuts.iter_mut().zip(bytes.chunks_exact(8)) {
                *cut = u64::from_be_bytes(bytes.try_into().unwrap_or_default());
            }
        }
        Ok(cuts)
    }

    fn replay_record(
        &self,
        replay: &mut Replay,
        seq: u64,
        record: Result<&mut Record, Corrupt>,
    ) -> Result<(), Error> {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                replay.corrupt += 1;
                tracing::error!(path = %self.store.dir().display(), seq, %error, "a record of the log is corrupt and skipped");
                return Ok(());
            }
        };
        self.replay_samples(replay, seq, record)?;
        self.head.set_applied(seq);
        self.replayed.reach(seq);
        replay.records += 1;
        if replay.records.is_multiple_of(PROGRESS) {
            let (samples, last) = (replay.samples, self.replayed.last());
            tracing::info!(record = seq, last, samples, "replaying the log");
        }
        if self.head.bytes() > self.config.head_bytes {
            self.flush_to_budget()?;
        }
        Ok(())
    }

    fn replay_samples(&self, replay: &mut Replay, seq: u64, record: &mut Record) -> Result<(), Error> {
        for (id, labels) in record.definitions.drain(..) {
            self.head.reserve_ids(id.saturating_add(1));
            if !self.head.touch(id) && !replay.renamed.contains_key(&id) {
                replay.defined.insert(id, labels);
            }
        }
        replay.shards.iter_mut().for_each(Vec::clear);
        for sample in &record.samples {
            // By the shard of the id in the log, under which it was flushed if it was.
            let shard = shard_of(sample.id);
            if seq > replay.cuts[shard] {
                replay.shards[shard].push(*sample);
            }
        }
        let window_ms = i64::try_from(self.config.out_of_order_window.as_millis()).unwrap_or(i64::MAX);
        // Samples of series that are not in memory yet, or under another id.
        let mut unknown = Vec::new();
        for (number, samples) in replay.shards.iter().enumerate().filter(|(_, samples)| !samples.is_empty()) {
            replay.samples += samples.len() as u64;
            let mut at = 0;
            self.head.apply(number, seq, std::iter::once(samples.as_slice()), window_ms, |_, outcome| {
                if outcome == Outcome::Unknown {
                    unknown.push(samples[at]);
                }
                at += 1;
            });
        }
        let mut dropped = HashSet::new();
        for sample in unknown {
            if dropped.contains(&sample.id) {
                continue;
            }
            let Some(id) = self.replayed_series(replay, &sample)? else {
                dropped.insert(sample.id);
                continue;
            };
            let sample = [WalSample { id, ..sample }];
            self.head.apply(shard_of(id), seq, std::iter::once(&sample[..]), window_ms, |_, _| {});
        }
        Ok(())
    }

    /// The id in memory for a sample of the log; `None` when its series was dropped by retention.
    fn replayed_series(&self, replay: &mut Replay, sample: &WalSample) -> Result<Option<SeriesId>, Error> {
        if let Some(id) = replay.renamed.get(&sample.id) {
            return Ok(Some(*id));
        }
        if self.head.touch(sample.id) {
            return Ok(Some(sample.id));
        }
        let id = match replay.defined.remove(&sample.id) {
            Some(labels) => {
                let day = self.newest_stored_day(replay, sample.id)?;
                Some(self.adopt(sample.id, &labels, day)?)
            }
            None => self.load(sample.id, Day::of(sample.t_ms))?,
        };
        if let Some(id) = id
            && id != sample.id
        {
            replay.renamed.insert(sample.id, id);
        }
        Ok(id)
    }

    fn newest_stored_day(&self, replay: &mut Replay, id: SeriesId) -> Result<Option<Day>, Error> {
        let days: Vec<Day> = self.days.read().iter().rev().take(3).copied().collect();
        for day in days {
            let series = match replay.stored.entry(day) {
                hashbrown::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                hashbrown::hash_map::Entry::Vacant(entry) => entry.insert(self.store.posting(day, "", "")?),
            };
            if series.contains(id) {
                return Ok(Some(day));
            }
        }
        Ok(None)
    }
}
