//! How fast one container is read: a flood waits in its file and leaves the others their turns.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Seconds of its rate that a container may use at once.
const BURST_SECONDS: f64 = 2.0;

/// An allowance of bytes that grows with time. Clones share it: all files of a container have one.
#[derive(Debug, Clone)]
pub(super) struct Rate(Arc<Mutex<Allowance>>);

#[derive(Debug)]
struct Allowance {
    /// Bytes a second; 0 is no bound.
    most: f64,
    left: f64,
    since_ns: i64,
}

impl Rate {
    pub(super) fn new(most: u64) -> Self {
        let most = most as f64;
        Self(Arc::new(Mutex::new(Allowance { most, left: most * BURST_SECONDS, since_ns: 0 })))
    }

    /// Whether more may be read now.
    pub(super) fn allows(&self, now_ns: i64) -> bool {
        let mut allowance = self.0.lock();
        if allowance.most <= 0.0 {
            return true;
        }
        let seconds = (now_ns - allowance.since_ns).max(0) as f64 / 1e9;
        allowance.since_ns = now_ns;
        let burst = allowance.most * BURST_SECONDS;
        allowance.left = (allowance.left + seconds * allowance.most).min(burst);
        allowance.left > 0.0
    }

    /// So much was read.
    pub(super) fn spend(&self, bytes: u64) {
        self.0.lock().left -= bytes as f64;
    }

    /// Whether nothing may be read before some time has passed.
    pub(super) fn is_spent(&self) -> bool {
        let allowance = self.0.lock();
        allowance.most > 0.0 && allowance.left <= 0.0
    }
}

/// The allowances of all containers that have files.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<String, Weak<Mutex<Allowance>>>);

impl Rates {
    /// The one of the container with this name; `most` bytes a second when it is new.
    pub(super) fn of(&mut self, container: &str, most: u64) -> Rate {
        if let Some(known) = self.0.get(container).and_then(Weak::upgrade) {
            return Rate(known);
        }
        self.0.retain(|_, rate| rate.strong_count() > 0);
        let rate = Rate::new(most);
        self.0.insert(container.to_owned(), Arc::downgrade(&rate.0));
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_never_more() {
        const SECOND: i64 = 1_000_000_000;
        let rate = Rate::new(1000);
        assert!(rate.allows(10 * SECOND));
        rate.spend(2500);
        assert!(rate.is_spent() && !rate.allows(10 * SECOND));
        assert!(!rate.allows(10 * SECOND + SECOND / 2), "500 too much were read, and 500 came");
        assert!(rate.allows(11 * SECOND));
        assert!(rate.allows(1000 * SECOND));
        rate.spend(2001);
        assert!(!rate.allows(1000 * SECOND), "what is not used does not add up");
        let unbound = Rate::new(0);
        unbound.spend(u64::MAX);
        assert!(unbound.allows(0) && !unbound.is_spent());
    }

    #[test]
    fn the_files_of_a_container_share_one_allowance() {
        let mut rates = Rates::default();
        let (one, two, other) = (rates.of("a", 10), rates.of("a", 10), rates.of("b", 10));
        one.spend(100);
        assert!(two.is_spent() && !other.is_spent());
        drop((one, two));
        assert!(!rates.of("a", 10).is_spent(), "the container is gone, another of its name begins anew");
    }
}
