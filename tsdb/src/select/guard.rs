//! Limits of one query: bytes, samples, deadline, cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What one query may use.
#[derive(Debug, Clone, Copy)]
pub struct GuardLimits {
    /// Memory for selected, decoded and evaluated data, in bytes.
    pub max_bytes: u64,
    /// Samples read from storage.
    pub max_samples: u64,
    /// Wall time.
    pub timeout: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self { max_bytes: 512 << 20, max_samples: 50_000_000, timeout: Duration::from_secs(120) }
    }
}

/// Which limit a query reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// `max_bytes`.
    #[error(
        "query needs more than {limit} bytes of memory (limit http.query_max_bytes); it had {used} and asked for {asked} more"
    )]
    Bytes {
        /// The limit.
        limit: u64,
        /// Charged before the request that failed.
        used: u64,
        /// The request that failed.
        asked: u64,
    },
    /// `max_samples`.
    #[error("query reads more than {limit} samples (limit http.query_max_samples)")]
    Samples {
        /// The limit.
        limit: u64,
    },
    /// `timeout`.
    #[error("query took longer than {0:?} (limit http.query_timeout_seconds)")]
    Timeout(Duration),
    /// The client went away.
    #[error("query was canceled")]
    Canceled,
}

/// The account of one query. Clones share it; it is charged from all threads of the query.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: GuardLimits,
    deadline: Option<Instant>,
    bytes: AtomicU64,
    peak_bytes: AtomicU64,
    samples: AtomicU64,
    canceled: AtomicBool,
}

impl Guard {
    /// Opens an account whose deadline counts from `now`.
    pub fn new(limits: GuardLimits, now: Instant) -> Self {
        Self(Arc::new(Inner {
            limits,
            deadline: now.checked_add(limits.timeout),
            bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            canceled: AtomicBool::new(false),
        }))
    }

    /// Takes `bytes` from the account.
    ///
    /// # Errors
    /// When the account does not hold so much: nothing is taken then.
    pub fn charge_bytes(&self, bytes: u64) -> Result<(), LimitError> {
        let used = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let limit = self.0.limits.max_bytes;
        if used.saturating_add(bytes) > limit {
            self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(LimitError::Bytes { limit, used, asked: bytes });
        }
        self.0.peak_bytes.fetch_max(used + bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives `bytes` back that were charged before.
    pub fn release_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts samples read and checks the deadline.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn charge_samples(&self, samples: u64) -> Result<(), LimitError> {
        let limit = self.0.limits.max_samples;
        if self.0.samples.fetch_add(samples, Ordering::Relaxed) + samples > limit {
            return Err(LimitError::Samples { limit });
        }
        self.check()
    }

    /// Whether the query may go on. Call it in every loop over series or steps.
    ///
    /// # Errors
    /// When the deadline has passed or the client went away.
    #[expect(clippy::disallowed_methods, reason = "a deadline is an edge: it stops work, it decides nothing")]
    pub fn check(&self) -> Result<(), LimitError> {
        if self.0.canceled.load(Ordering::Relaxed) {
            return Err(LimitError::Canceled);
        }
        match self.0.deadline {
            Some(deadline) if Instant::now() > deadline => Err(LimitError::Timeout(self.0.limits.timeout)),
            _ => Ok(()),
        }
    }

    /// Makes every later check fail: the client went away.
    pub fn cancel(&self) {
        self.0.canceled.store(true, Ordering::Relaxed);
    }

    /// Samples read so far.
    pub fn samples(&self) -> u64 {
        self.0.samples.load(Ordering::Relaxed)
    }

    /// Most bytes held at one time so far.
    pub fn peak_bytes(&self) -> u64 {
        self.0.peak_bytes.load(Ordering::Relaxed)
    }
}
