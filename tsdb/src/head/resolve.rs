//! From labels to a series in memory.

use std::sync::atomic::Ordering;

use binnacle_proto::Labels;

use super::{Head, NAME_SHARDS, Series, shard_of};
use crate::store::SeriesId;

/// A series as the store knows it, to be put into memory.
pub(crate) struct Known {
    pub(crate) id: SeriesId,
    /// Newest sample in the store: time and bits of the value.
    pub(crate) newest: Option<(i64, u64)>,
}

impl Head {
    /// The series with these labels, when it is in memory.
    pub(crate) fn find(&self, labels: &Labels, hash: u64) -> Option<SeriesId> {
        let names = self.names[hash as usize % NAME_SHARDS].lock();
        names.find(hash, |(have, _)| have == labels).map(|(_, id)| *id)
    }

    /// Puts a series into memory: a known one under its id, another under a new id, which is returned.
    /// When somebody was faster, theirs. `Err` gives the limit when no further series may come in.
    pub(crate) fn create(
        &self,
        labels: &Labels,
        hash: u64,
        known: Option<Known>,
        limit: u64,
    ) -> Result<(SeriesId, bool), u64> {
        let mut names = self.names[hash as usize % NAME_SHARDS].lock();
        if let Some((_, id)) = names.find(hash, |(have, _)| have == labels) {
            return Ok((*id, false));
        }
        if limit > 0 && self.series_count() >= limit {
            return Err(limit);
        }
        let mut series = Series::new(labels.clone(), self.now_s());
        let id = match known {
            Some(known) => {
                series.newest = known.newest;
                self.reserve_ids(known.id.saturating_add(1));
                known.id
            }
            None => self.next_id.fetch_add(1, Ordering::Relaxed),
        };
        self.shards[shard_of(id)].lock().insert(id, series);
        self.index.write().insert(id, labels);
        names.insert_unique(hash, (labels.clone(), id), |(labels, _)| labels.stable_hash());
        self.series.fetch_add(1, Ordering::Relaxed);
        Ok((id, true))
    }

    /// Notes that a series is in use; false when it is not in memory.
    pub(crate) fn touch(&self, id: SeriesId) -> bool {
        let now_s = self.now_s();
        match self.shards[shard_of(id)].lock().get_mut(id) {
            Some(series) => {
                series.touched_s = now_s;
                true
            }
            None => false,
        }
    }
}
