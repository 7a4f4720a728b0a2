//! Room that all targets share: for series, and for the bytes of answers that are being read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bounded amount of something. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    used: Arc<AtomicU64>,
    most: u64,
}

impl Room {
    pub(super) fn new(most: u64) -> Self {
        Self { used: Arc::default(), most }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// Takes so much, or nothing and says false.
    pub(super) fn take(&self, amount: u64) -> bool {
        let more = |used: u64| used.checked_add(amount).filter(|used| *used <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn free(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Nothing of it yet, for somebody who gives back what he took when he ends.
    pub(super) fn share(&self) -> Share {
        Share { room: self.clone(), taken: 0 }
    }
}

/// What one of those who share has taken.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    taken: u64,
}

impl Share {
    /// Takes so much more, or nothing and says false.
    pub(super) fn grow(&mut self, more: u64) -> bool {
        let taken = self.room.take(more);
        self.taken += if taken { more } else { 0 };
        taken
    }

    /// All that there is for everybody together.
    pub(super) fn most(&self) -> u64 {
        self.room.most
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.free(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_shares_are_given_back() {
        let room = Room::new(10);
        let mut share = room.share();
        assert!(share.grow(6) && !share.grow(5) && room.take(4) && !room.take(1) && !room.take(u64::MAX));
        drop(share);
        assert_eq!(room.used(), 4);
        room.free(4);
        assert!(room.take(10));
    }
}
