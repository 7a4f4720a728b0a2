//! Pauses between attempts to connect, and how often failure is worth a line in the log.

use std::time::{Duration, Instant};

/// How often the log says that the server cannot be reached.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Doubling pauses with jitter, so that a thousand agents do not come back at once.
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max, next: min, random: seed }
    }

    /// The next pause: between half and all of the current step, which then doubles.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        // splitmix64: the weakest generator that spreads well enough.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((mixed >> 40) as f64) / f64::from(1u32 << 24);
        step.mul_f64(0.5 + share / 2.0)
    }

    /// The connection was good: begin with short pauses again.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

/// Says at once that the server was lost, and then once a minute.
#[derive(Default)]
pub(crate) struct Complaint {
    said: Option<Instant>,
    attempts: u64,
}

impl Complaint {
    pub(crate) fn failed(&mut self, server: &str, reason: &str, now: Instant) {
        self.attempts += 1;
        if self.said.is_none_or(|said| now.duration_since(said) >= COMPLAIN_EVERY) {
            tracing::warn!(
                server,
                reason,
                attempts = self.attempts,
                "no connection to the server; still trying"
            );
            self.said = Some(now);
        }
    }

    pub(crate) fn connected(&mut self, server: &str) {
        if self.said.take().is_some() {
            tracing::info!(server, attempts = self.attempts, "connected to the server again");
        }
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_longest_with_jitter_and_start_over() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(min, max, 7);
        let mut step = min;
        for _ in 0..10 {
            let pause = backoff.pause();
            assert!(pause >= step / 2 && pause <= step, "{pause:?} of {step:?}");
            step = (step * 2).min(max);
        }
        backoff.reset();
        assert!(backoff.pause() <= min);
    }

    #[test]
    fn different_seeds_give_different_pauses() {
        let pause = |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(1), seed).pause();
        assert_ne!(pause(1), pause(2));
    }
}
