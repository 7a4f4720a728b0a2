//! Which series have which labels: sets of series ids by label name and value.

mod memory;
mod plan;
mod regexes;

use std::borrow::Cow;

use roaring::RoaringBitmap;

pub(crate) use memory::MemoryIndex;
pub(crate) use plan::Plan;

use crate::day::Day;
use crate::store::{Store, StoreError, posting_from_bytes};

/// What [`Postings::scan`] calls for each value; it goes on while this returns true.
pub(crate) type EachValue<'a> = dyn FnMut(&str, Cow<RoaringBitmap>) -> bool + 'a;

/// Something that knows the series of label values: the memory index, and each day on disk.
pub(crate) trait Postings {
    /// All series.
    fn all(&self) -> Result<RoaringBitmap, StoreError>;
    /// Series with this label.
    fn equal(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError>;
    /// Every value of `name` that starts with `prefix`, with its series.
    fn scan(&self, name: &str, prefix: &str, each: &mut EachValue) -> Result<(), StoreError>;
    /// Names of all labels.
    fn names(&self) -> Result<Vec<String>, StoreError>;
}

/// The index of one day in the store.
pub(crate) struct DayIndex<'a> {
    pub(crate) store: &'a Store,
    pub(crate) day: Day,
}

impl Postings for DayIndex<'_> {
    fn all(&self) -> Result<RoaringBitmap, StoreError> {
        self.store.posting(self.day, "", "")
    }

    fn equal(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        self.store.posting(self.day, name, value)
    }

    fn scan(&self, name: &str, prefix: &str, each: &mut EachValue) -> Result<(), StoreError> {
        let mut damaged = 0;
        self.store.postings_of(
            self.day,
            name,
            prefix,
            &mut |value, bytes| match posting_from_bytes(bytes) {
                Some(set) => each(value, Cow::Owned(set)),
                None => {
                    damaged += 1;
                    true
                }
            },
        )?;
        if damaged > 0 {
            return Err(StoreError::Failed {
                context: "cannot read postings",
                reason: format!("{damaged} values of {name:?} on day {} are damaged", self.day.0),
                corrupt: true,
            });
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        self.store.label_names(self.day)
    }
}
