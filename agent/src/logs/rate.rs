//! How fast one container is read: a flood waits in its file and leaves the others their turns.

/// Seconds of its rate that a container may use at once.
const BURST_SECONDS: f64 = 2.0;

/// An allowance of bytes that grows with time.
#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes a second; 0 is no bound.
    most: f64,
    allowance: f64,
    since_ns: i64,
}

impl Rate {
    pub(super) fn new(most: u64) -> Self {
        let most = most as f64;
        Self { most, allowance: most * BURST_SECONDS, since_ns: 0 }
    }

    /// Whether more may be read now.
    pub(super) fn allows(&mut self, now_ns: i64) -> bool {
        if self.most <= 0.0 {
            return true;
        }
        let seconds = (now_ns - self.since_ns).max(0) as f64 / 1e9;
        self.since_ns = now_ns;
        self.allowance = (self.allowance + seconds * self.most).min(self.most * BURST_SECONDS);
        self.allowance > 0.0
    }

    /// So much was read.
    pub(super) fn spend(&mut self, bytes: u64) {
        if self.most > 0.0 {
            self.allowance -= bytes as f64;
        }
    }

    /// Whether nothing may be read before some time has passed.
    pub(super) fn is_spent(&self) -> bool {
        self.most > 0.0 && self.allowance <= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_never_more() {
        const SECOND: i64 = 1_000_000_000;
        let mut rate = Rate::new(1000);
        assert!(rate.allows(10 * SECOND));
        rate.spend(2500);
        assert!(rate.is_spent() && !rate.allows(10 * SECOND));
        assert!(!rate.allows(10 * SECOND + SECOND / 2), "500 too much were read, and 500 came");
        assert!(rate.allows(11 * SECOND));
        assert!(rate.allows(1000 * SECOND));
        rate.spend(2001);
        assert!(!rate.allows(1000 * SECOND), "what is not used does not add up");
        let mut unbound = Rate::new(0);
        unbound.spend(u64::MAX);
        assert!(unbound.allows(0) && !unbound.is_spent());
    }
}
