//! Keeps the write-ahead family small: what no open block needs is removed, and streams so quiet that they would hold
//! much of it for long are sealed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::{Shared, seal};
use crate::Error;
use crate::store::{Batch, Family};
use crate::streams::Stream;

/// Sizes are known about so exactly, in bytes.
const STEP_BYTES: u64 = 1 << 20;
/// What was removed leaves the disk when it is so much, in bytes.
const RECLAIM_BYTES: u64 = 64 << 20;

/// How large the write-ahead records are.
#[derive(Debug, Default)]
pub(crate) struct WalSize {
    /// Sequences, and how many bytes were written before them.
    marks: VecDeque<(u64, u64)>,
    /// Bytes written.
    written: u64,
    /// Of these, how many were removed; and how many of them left the disk.
    removed: u64,
    reclaimed: u64,
}

impl WalSize {
    /// A record was written.
    pub fn add(&mut self, seq: u64, bytes: u64) {
        if self.marks.back().is_none_or(|(_, before)| self.written - before >= STEP_BYTES) {
            self.marks.push_back((seq, self.written));
        }
        self.written += bytes;
    }

    /// Bytes kept.
    pub fn kept(&self) -> u64 {
        self.written - self.removed
    }

    /// The first of the newest records that are about so many bytes together; `None` when all are not more.
    fn newest(&self, bytes: u64) -> Option<u64> {
        let from = self.written.checked_sub(bytes).filter(|from| *from > self.removed)?;
        let at = self.marks.partition_point(|(_, before)| *before < from);
        self.marks.get(at).map(|(seq, _)| *seq)
    }

    /// Records before `seq` were removed.
    fn remove_before(&mut self, seq: u64) {
        while let Some((_, next)) = self.marks.get(1).filter(|(next, _)| *next <= seq) {
            self.removed = *next;
            self.marks.pop_front();
        }
    }

    /// Whether much was removed that is still on disk; asking takes note that it will not be.
    fn take_reclaimable(&mut self) -> bool {
        let is_much = self.removed - self.reclaimed >= RECLAIM_BYTES;
        if is_much {
            self.reclaimed = self.removed;
        }
        is_much
    }
}

/// Removes write-ahead records that no open block needs.
pub(super) fn trim(shared: &Shared, streams: &[Arc<Stream>]) -> Result<(), Error> {
    // Read before the heads: whatever is inserted later stays.
    let mut low = shared.inserted_seq.load(Acquire) + 1;
    for stream in shared.streams.read().iter().chain(streams) {
        if let Some(needed) = stream.head.lock().needs_wal_from() {
            low = low.min(needed);
        }
    }
    if shared.trimmed_seq.load(Relaxed) >= low {
        return Ok(());
    }
    let mut batch = Batch::default();
    shared.store.remove_range(&mut batch, Family::Wal, &0u64.to_be_bytes(), &low.to_be_bytes());
    shared.store.write(batch, false)?;
    shared.trimmed_seq.store(low, Relaxed);
    let is_much = {
        let mut size = shared.wal_size.lock();
        size.remove_before(low);
        size.take_reclaimable()
    };
    if is_much {
        shared.store.reclaim(Family::Wal, &0u64.to_be_bytes(), &low.to_be_bytes());
    }
    Ok(())
}

/// Seals the streams that hold the oldest write-ahead records when there are more of these than there may be.
pub(super) fn seal_holders(shared: &Shared, streams: &[Arc<Stream>]) {
    let limit = shared.config.wal_bytes;
    let until = {
        let size = shared.wal_size.lock();
        if size.kept() > limit { size.newest(limit / 2) } else { None }
    };
    let Some(until) = until else { return };
    for stream in streams {
        let holds = stream.head.lock().open_from().is_some_and(|first| first < until);
        if holds {
            seal::start(shared, stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_what_is_written_and_removed() {
        let mut size = WalSize::default();
        for seq in 1..=100 {
            size.add(seq, STEP_BYTES);
        }
        assert_eq!(size.kept(), 100 * STEP_BYTES);
        assert_eq!((size.newest(10 * STEP_BYTES), size.newest(100 * STEP_BYTES)), (Some(91), None));
        size.remove_before(51);
        assert_eq!(size.kept(), 50 * STEP_BYTES);
        assert_eq!((size.newest(10 * STEP_BYTES), size.newest(60 * STEP_BYTES)), (Some(91), None));
        assert!(!size.take_reclaimable());
        size.remove_before(81);
        assert!(size.take_reclaimable() && !size.take_reclaimable());
        size.remove_before(101);
        assert!(size.kept() <= STEP_BYTES, "about");
        size.add(101, 1);
        assert!(size.kept() <= STEP_BYTES + 1);
    }
}
