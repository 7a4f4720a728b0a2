//! What becomes due: flushes by age, retention, idle series, a full disk.

use std::sync::atomic::Ordering;

use super::Core;
use crate::Error;

/// The log is cut by a flush of everything when it is larger than so many times the head's budget.
const WAL_PER_HEAD: u64 = 8;

impl Core {
    pub(super) fn maintain(&self, now_ms: i64) -> Result<(), Error> {
        self.check_open()?;
        self.note_now(now_ms);
        if self.store.needs_reopening() {
            self.check_disk()?;
        }
        let age_ms = i64::try_from(self.config.flush_after.as_millis()).unwrap_or(i64::MAX);
        for number in self.head.due_shards(now_ms, age_ms) {
            self.flush_shard(&mut self.maintenance.lock(), number)?;
        }
        if self.wal.total().1 > self.config.head_bytes.saturating_mul(WAL_PER_HEAD) {
            self.flush_all()?;
        }
        self.apply_retention(now_ms)?;
        self.merge_due()?;
        self.seal_due(now_ms)?;
        let idle_s = u32::try_from(self.config.series_idle.as_secs()).unwrap_or(u32::MAX);
        self.counters.series_evicted.add(self.head.evict_idle(idle_s));
        Ok(())
    }

    /// Whether the disk may be written; opens the store again after a failed write.
    pub(super) fn check_disk(&self) -> Result<(), Error> {
        let free = self.free_bytes();
        if free < self.config.min_free_bytes {
            return Err(Error::Unavailable {
                reason: format!(
                    "{free} bytes are free on the disk, the limit is {} (tsdb.min_free_bytes)",
                    self.config.min_free_bytes
                ),
            });
        }
        if !self.store.needs_reopening() {
            return Ok(());
        }
        let _maintenance = self.maintenance.lock();
        match self.store.reopen() {
            Ok(true) => {
                tracing::info!("the store is open again after a failed write");
                Ok(())
            }
            Ok(false) => Err(Error::Unavailable { reason: "the store waits for queries to end".into() }),
            Err(error) => Err(Error::Unavailable { reason: error.to_string() }),
        }
    }

    /// Bytes free on the disk of the data folder; all of them when it cannot be asked.
    pub(super) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(self.store.dir())
            .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    pub(super) fn is_unavailable(&self) -> bool {
        self.unavailable.load(Ordering::Relaxed)
    }
}
