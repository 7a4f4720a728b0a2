//! From labels or ids to series in memory, with a look into the store when they are not there.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use binnacle_proto::Labels;
use hashbrown::HashMap;
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use super::{Core, SeriesRef};
use crate::Error;
use crate::codec::{decode_chunk, peek_chunk};
use crate::day::Day;
use crate::head::Known;
use crate::select::Points;
use crate::store::{SeriesId, StoreError};

/// A series that comes back is looked for in the index of so many newest days; later it gets another
/// id, and reading joins the two.
const KNOWN_DAYS: usize = 2;

impl Core {
    pub(super) fn resolve(&self, labels: &Labels) -> Result<SeriesRef, Error> {
        let hash = labels.stable_hash();
        if let Some(id) = self.head.find(labels, hash) {
            return Ok(SeriesRef(u64::from(id)));
        }
        self.check_open()?;
        self.check_labels(labels)?;
        let days: Vec<Day> = self.days.read().iter().rev().take(KNOWN_DAYS).copied().collect();
        let mut known = None;
        for day in days {
            if let Some(id) = self.store.series_by_labels(day, labels)? {
                known = Some(Known { id, newest: self.newest_on(day, id)? });
                break;
            }
        }
        self.check_budgets(labels, hash)?;
        match self.head.create(labels, hash, known, self.config.max_series) {
            Ok((id, created)) => {
                self.counters.series_created.add(u64::from(created));
                Ok(SeriesRef(u64::from(id)))
            }
            Err(limit) => {
                self.counters.series_refused_global.add(1);
                Err(self.refused(limit, "tsdb.max_series".into(), labels))
            }
        }
    }

    /// Whether the namespace and the job of a new series may have one more. One that another thread made
    /// meanwhile is no new one.
    pub(super) fn check_budgets(&self, labels: &Labels, hash: u64) -> Result<(), Error> {
        let (config, counters) = (&self.config, &self.counters);
        for (label, limit, counter) in [
            ("namespace", config.max_series_per_namespace, &counters.series_refused_namespace),
            ("job", config.max_series_per_job, &counters.series_refused_job),
        ] {
            let Some(value) = labels.get(label).filter(|_| limit > 0) else { continue };
            if self.head.index().read().count(label, value) >= limit {
                if self.head.find(labels, hash).is_some() {
                    return Ok(());
                }
                counter.add(1);
                let budget = format!("tsdb.max_series_per_{label}, {label}={value:?}");
                return Err(self.refused(limit, budget, labels));
            }
        }
        Ok(())
    }

    fn refused(&self, limit: u64, budget: String, labels: &Labels) -> Error {
        // One line for the first and then for every thousandth: a flood must not flood the log.
        if self.counters.series_refused.get().is_multiple_of(1000) {
            let label = self.widest_label().unwrap_or_default();
            tracing::warn!(limit, budget, %labels, label, "series limit reached, new series are refused; this label has the most values");
        }
        self.counters.series_refused.add(1);
        Error::SeriesLimit { limit, budget, series: labels.to_string() }
    }

    pub(super) fn max_labels_bytes(&self) -> usize {
        // Names are keys on disk with a length of two bytes.
        self.config.max_labels_bytes.min(usize::from(u16::MAX))
    }

    fn check_labels(&self, labels: &Labels) -> Result<(), Error> {
        let (number, bytes) = (labels.len(), labels.byte_len());
        if number > self.config.max_labels {
            return Err(Error::BadInput(format!(
                "series has {number} labels, the limit is {} (tsdb.max_labels)",
                self.config.max_labels
            )));
        }
        let limit = self.max_labels_bytes();
        if bytes > limit {
            return Err(Error::BadInput(format!(
                "labels of the series take {bytes} bytes, the limit is {limit} (tsdb.max_labels_bytes)"
            )));
        }
        if labels.is_empty() {
            return Err(Error::BadInput("series has no labels".into()));
        }
        Ok(())
    }

    /// Brings the series of an id back into memory, looking on `day` first. `None`: the store does not
    /// know it. The id may be another one when the labels have come back under another id meanwhile.
    pub(super) fn load(&self, id: SeriesId, day: Day) -> Result<Option<SeriesId>, Error> {
        let mut days: Vec<Day> = self.days.read().iter().rev().copied().collect();
        days.sort_by_key(|have| *have != day);
        for day in days {
            if let Some(labels) = self.store.series_labels(day, id)? {
                return self.adopt(id, &labels, Some(day)).map(Some);
            }
        }
        Ok(None)
    }

    /// Puts a series into memory under an id that it has in the store or in the log.
    pub(super) fn adopt(&self, id: SeriesId, labels: &Labels, day: Option<Day>) -> Result<SeriesId, Error> {
        let newest = match day {
            Some(day) => self.newest_on(day, id)?,
            None => None,
        };
        let known = Some(Known { id, newest });
        // No limit: what is durable must be readable.
        match self.head.create(labels, labels.stable_hash(), known, 0) {
            Ok((id, _)) => Ok(id),
            Err(limit) => {
                Err(Error::SeriesLimit { limit, budget: "none".into(), series: labels.to_string() })
            }
        }
    }

    /// Time and value bits of the newest sample in the store from `day` on.
    pub(super) fn newest_on(&self, day: Day, id: SeriesId) -> Result<Option<(i64, u64)>, Error> {
        let later: Vec<Day> = self.days.read().range(day..).rev().copied().collect();
        for day in later {
            let chunks = match self.store.chunks(day, id) {
                Ok(chunks) => chunks,
                Err(error) if error.is_corruption() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let end = |bytes: &[u8], t0_ms: i64| {
                t0_ms.saturating_add(peek_chunk(bytes).map_or(0, |(_, span)| span))
            };
            let Some(chunk) = chunks.iter().max_by_key(|chunk| end(&chunk.bytes, chunk.t0_ms)) else {
                continue;
            };
            let mut points = Points::default();
            if let Err(error) = decode_chunk(&chunk.bytes, chunk.t0_ms, i64::MIN, i64::MAX, &mut points) {
                self.report_corrupt(day, id, chunk.t0_ms, &error.to_string());
                continue;
            }
            let last = points.timestamps.last().copied().zip(points.values.last().map(|v| v.to_bits()));
            return Ok(last);
        }
        Ok(None)
    }

    /// Counts and logs a chunk that cannot be decoded.
    pub(crate) fn report_corrupt(&self, day: Day, id: SeriesId, t0_ms: i64, reason: &str) {
        self.counters.chunks_corrupt.add(1);
        let path = self.store.dir().display();
        tracing::error!(%path, day = day.0, series = id, t0_ms, reason, "a chunk is corrupt and skipped");
    }

    /// As [`Core::report_corrupt`] for what the store itself found damaged.
    pub(crate) fn report_damaged(&self, error: &StoreError) {
        self.counters.chunks_corrupt.add(1);
        tracing::error!(path = %self.store.dir().display(), %error, "a block on disk is damaged and skipped");
    }
}

/// Ids by the hash of a label block. 128 bits under two secret seeds: blocks are not kept, so two that
/// a sender makes up must not meet.
pub(super) struct LabelCache {
    seeds: [u64; 2],
    limit: usize,
    shards: [Mutex<Generations>; CACHE_SHARDS],
}

const CACHE_SHARDS: usize = 8;
type Key = (u64, u64);

/// Two halves: when the young one is full it becomes the old one, whose entries were not used since.
#[derive(Default)]
struct Generations {
    young: HashMap<Key, SeriesId>,
    old: HashMap<Key, SeriesId>,
}

impl LabelCache {
    pub(super) fn new(limit: usize) -> Self {
        let random = RandomState::new();
        let seeds = [random.hash_one(1), random.hash_one(2)];
        Self { seeds, limit: limit / CACHE_SHARDS / 2, shards: Default::default() }
    }

    pub(super) fn key(&self, raw: &[u8]) -> Key {
        (XxHash3_64::oneshot_with_seed(self.seeds[0], raw), XxHash3_64::oneshot_with_seed(self.seeds[1], raw))
    }

    pub(super) fn get(&self, key: Key) -> Option<SeriesId> {
        let mut shard = self.shards[key.0 as usize % CACHE_SHARDS].lock();
        if let Some(id) = shard.young.get(&key) {
            return Some(*id);
        }
        let id = shard.old.remove(&key)?;
        self.insert(&mut shard, key, id);
        Some(id)
    }

    pub(super) fn put(&self, key: Key, series: SeriesRef) {
        let Ok(id) = SeriesId::try_from(series.0) else { return };
        self.insert(&mut self.shards[key.0 as usize % CACHE_SHARDS].lock(), key, id);
    }

    fn insert(&self, shard: &mut Generations, key: Key, id: SeriesId) {
        if shard.young.len() >= self.limit {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, id);
    }
}
