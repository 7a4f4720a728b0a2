//! The account and deadline of one query.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use super::QueryStats;
use crate::{Error, Limits};

/// Counts what a query uses and ends it at its limits; shared by all threads that work for it.
pub(crate) struct Guard {
    limits: Limits,
    started: Instant,
    canceled: Arc<AtomicBool>,
    bytes: AtomicU64,
    lines: AtomicU64,
    blocks: AtomicU64,
    ruled_out: AtomicU64,
    streams: AtomicU64,
    memory: AtomicU64,
}

impl Guard {
    /// Starts the clock.
    pub fn new(limits: &Limits) -> Self {
        Self::until(limits, Arc::default())
    }

    /// Starts the clock; the query ends early when `canceled` is set.
    #[expect(
        clippy::disallowed_methods,
        reason = "the deadline of a query is measured here and nowhere else"
    )]
    pub fn until(limits: &Limits, canceled: Arc<AtomicBool>) -> Self {
        Self {
            limits: limits.clone(),
            started: Instant::now(),
            canceled,
            bytes: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            ruled_out: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            memory: AtomicU64::new(0),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Fails when the time is up, or nobody waits for the answer any more.
    pub fn check(&self) -> Result<(), Error> {
        if self.canceled.load(Relaxed) {
            return Err(Error::Execution("the query was canceled".into()));
        }
        if self.started.elapsed() > Duration::from_millis(self.limits.timeout_ms) {
            return Err(Error::Timeout { limit_ms: self.limits.timeout_ms });
        }
        Ok(())
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_canceled(&self) -> bool {
        self.canceled.load(Relaxed)
    }

    /// Counts lines looked at; fails at the limits.
    pub fn scanned(&self, lines: u64, bytes: u64) -> Result<(), Error> {
        self.lines.fetch_add(lines, Relaxed);
        let total = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        if total > self.limits.max_scan_bytes {
            let max = self.limits.max_scan_bytes;
            return Err(Error::Limit(format!(
                "the query looks at more than {max} bytes (logs.query.max_scan_bytes)"
            )));
        }
        self.check()
    }

    /// Counts memory that the query keeps until it ends; fails at the limit.
    pub fn keep(&self, bytes: u64) -> Result<(), Error> {
        let total = self.memory.fetch_add(bytes, Relaxed) + bytes;
        if total > self.limits.max_memory_bytes {
            let max = self.limits.max_memory_bytes;
            return Err(Error::Limit(format!(
                "the query needs more than {max} bytes of memory (logs.query.max_memory_bytes)"
            )));
        }
        Ok(())
    }

    /// Counts an opened block.
    pub fn opened_block(&self) {
        self.blocks.fetch_add(1, Relaxed);
    }

    /// Counts a block that its filter ruled out.
    pub fn ruled_out_block(&self) {
        self.ruled_out.fetch_add(1, Relaxed);
    }

    /// Counts selected streams.
    pub fn selected(&self, streams: usize) {
        self.streams.fetch_add(streams as u64, Relaxed);
    }

    /// The account so far.
    pub fn stats(&self) -> QueryStats {
        QueryStats {
            bytes: self.bytes.load(Relaxed),
            lines: self.lines.load(Relaxed),
            blocks: self.blocks.load(Relaxed),
            ruled_out: self.ruled_out.load(Relaxed),
            streams: self.streams.load(Relaxed),
            entries: 0,
            micros: self.started.elapsed().as_micros() as u64,
        }
    }
}
