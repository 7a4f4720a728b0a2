//! Memory of requests in flight: taken before bytes are unpacked, given back when the request ends.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::WriteError;

/// Unit of the account, in bytes.
const UNIT: usize = 1024;

/// What all requests may hold together.
pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        let total = u32::try_from((limit / UNIT).max(1)).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(total as usize)), total, limit }
    }

    pub(super) fn room(&self) -> Room {
        let (units, total, limit) = (Arc::clone(&self.units), self.total, self.limit);
        Room { units, total, limit, bytes: 0, held_units: 0, held: None }
    }
}

/// What one request holds.
pub(crate) struct Room {
    units: Arc<Semaphore>,
    total: u32,
    limit: usize,
    bytes: usize,
    held_units: u32,
    held: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`WriteError::NeverFits`] when they would not be there were this the only request,
    /// [`WriteError::Busy`] when others have them.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), WriteError> {
        let (wanted, limit) = (self.bytes.saturating_add(bytes), self.limit);
        let units = u32::try_from(wanted.div_ceil(UNIT)).ok().filter(|units| *units <= self.total);
        let units = units.ok_or(WriteError::NeverFits { bytes: wanted, limit })?;
        let more = Arc::clone(&self.units).try_acquire_many_owned(units - self.held_units);
        let more = more.map_err(|_| WriteError::Busy { limit })?;
        match &mut self.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        (self.bytes, self.held_units) = (wanted, units);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_fits_is_told_from_what_others_have() {
        let budget = Budget::new(10 * UNIT);
        let mut first = budget.room();
        first.grow(UNIT).unwrap();
        first.grow(5 * UNIT).unwrap();
        assert!(matches!(budget.room().grow(5 * UNIT), Err(WriteError::Busy { .. })));
        assert!(matches!(budget.room().grow(10 * UNIT + 1), Err(WriteError::NeverFits { .. })));
        assert!(matches!(first.grow(5 * UNIT), Err(WriteError::NeverFits { .. })));
        drop(first);
        budget.room().grow(10 * UNIT).unwrap();
    }
}
