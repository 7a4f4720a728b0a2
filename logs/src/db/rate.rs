//! How fast one stream may come: a bucket of bytes that fills with time.

use crate::Config;

/// What a stream may still take in.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Bytes; meaningless before the first use.
    left: u64,
    /// When it was last filled; `None` before the first use, when it is full.
    filled_ms: Option<i64>,
}

impl Bucket {
    /// Fills the bucket for the time since the last call.
    pub fn fill(&mut self, config: &Config, now_ms: i64) {
        let burst = config.stream_burst_bytes.max(config.stream_bytes_per_second);
        self.left = match self.filled_ms {
            None => burst,
            Some(before) => {
                // A clock that was set back fills nothing.
                let passed_ms = now_ms.saturating_sub(before).max(0) as u64;
                let more = u128::from(passed_ms) * u128::from(config.stream_bytes_per_second) / 1000;
                u128::from(self.left).saturating_add(more).min(u128::from(burst)) as u64
            }
        };
        self.filled_ms = Some(now_ms);
    }

    /// Takes bytes out; `false`, and nothing is taken, when there are fewer.
    pub fn take(&mut self, bytes: u64) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_full_at_first_and_fills_with_time() {
        let config = Config { stream_bytes_per_second: 100, stream_burst_bytes: 250, ..Config::default() };
        let mut bucket = Bucket::default();
        bucket.fill(&config, 5_000);
        assert!(bucket.take(250) && !bucket.take(1) && bucket.take(0));
        bucket.fill(&config, 5_500);
        assert!(!bucket.take(51) && bucket.take(50));
        bucket.fill(&config, 1_000);
        assert!(!bucket.take(1), "a clock that was set back fills nothing");
        bucket.fill(&config, 1_000_000);
        assert!(!bucket.take(251) && bucket.take(250));
    }
}
