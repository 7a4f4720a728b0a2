//! Series that nobody appends to leave memory.

use std::sync::atomic::Ordering;

use binnacle_proto::Labels;

use super::{Head, NAME_SHARDS, Shard};
use crate::store::SeriesId;

impl Head {
    /// Removes series without samples in memory that were not used for `idle_s` seconds; returns how
    /// many.
    pub(crate) fn evict_idle(&self, idle_s: u32) -> u64 {
        let oldest_s = self.now_s().saturating_sub(idle_s);
        let idle = |shard: &Shard, id| {
            shard.get(id).is_some_and(|series| series.touched_s < oldest_s && series.is_clean())
                && shard.flushing.is_none()
        };
        let mut evicted = 0;
        for (number, shard) in self.shards.iter().enumerate() {
            let candidates: Vec<(SeriesId, Labels)> = {
                let mut shard = shard.lock();
                if shard.flushing.is_some() {
                    continue;
                }
                let old = shard.iter_mut(number).filter(|(_, s)| s.touched_s < oldest_s && s.is_clean());
                old.map(|(id, series)| (id, series.labels.clone())).collect()
            };
            for (id, labels) in candidates {
                let hash = labels.stable_hash();
                let mut names = self.names[hash as usize % NAME_SHARDS].lock();
                let mut shard = shard.lock();
                // It may have been used since it was found.
                if !idle(&shard, id) {
                    continue;
                }
                shard.remove(id);
                self.index.write().remove(id, &labels);
                if let Ok(entry) = names.find_entry(hash, |(_, have)| *have == id) {
                    entry.remove();
                }
                evicted += 1;
            }
        }
        self.series.fetch_sub(evicted, Ordering::Relaxed);
        evicted
    }
}
