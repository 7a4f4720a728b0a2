//! How far a recovery is, for those who wait for it.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far the replay of the log is; written by [`crate::Db::open_watched`], read by anybody.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    first: AtomicU64,
    last: AtomicU64,
    current: AtomicU64,
    state: AtomicU64,
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayState {
    /// Not begun.
    Waiting,
    /// Under way.
    InProgress,
    /// Over.
    Done,
}

impl ReplayProgress {
    pub(super) fn begin(&self, first: u64, last: u64) {
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.current.store(first, Ordering::Relaxed);
        self.state.store(1, Ordering::Release);
    }

    pub(super) fn reach(&self, record: u64) {
        self.current.store(record, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.current.store(self.last(), Ordering::Relaxed);
        self.state.store(2, Ordering::Release);
    }

    /// Whether it is under way.
    pub fn state(&self) -> ReplayState {
        match self.state.load(Ordering::Acquire) {
            0 => ReplayState::Waiting,
            1 => ReplayState::InProgress,
            _ => ReplayState::Done,
        }
    }

    /// Number of the first record of the log that is replayed; with nothing to replay that of the next.
    pub fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// Number of the last record of the log.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Number of the record that is being replayed.
    pub fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }

    /// The state as the API's `status/walreplay` calls it.
    pub fn state_name(&self) -> &'static str {
        match self.state() {
            ReplayState::Waiting => "waiting",
            ReplayState::InProgress => "in progress",
            ReplayState::Done => "done",
        }
    }
}
