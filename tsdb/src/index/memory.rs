//! The index of the series in memory.

use std::borrow::Cow;

use binnacle_proto::Labels;
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use super::{EachValue, Postings};
use crate::store::{SeriesId, StoreError};

/// Sets of the series in memory. Days do not matter here: it holds what is active.
#[derive(Default)]
pub(crate) struct MemoryIndex {
    all: RoaringBitmap,
    names: HashMap<String, HashMap<String, RoaringBitmap>>,
}

impl MemoryIndex {
    pub(crate) fn insert(&mut self, id: SeriesId, labels: &Labels) {
        self.all.insert(id);
        for (name, value) in labels.iter() {
            self.names.entry_ref(name).or_default().entry_ref(value).or_default().insert(id);
        }
    }

    pub(crate) fn remove(&mut self, id: SeriesId, labels: &Labels) {
        self.all.remove(id);
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else { continue };
            let Some(set) = values.get_mut(value) else { continue };
            set.remove(id);
            if set.is_empty() {
                values.remove(value);
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// How many series have this label.
    pub(crate) fn count(&self, name: &str, value: &str) -> u64 {
        self.names.get(name).and_then(|values| values.get(value)).map_or(0, RoaringBitmap::len)
    }

    /// Label names with their values and the number of series of each.
    pub(crate) fn cardinality(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&str, u64)>)> {
        self.names.iter().map(|(name, values)| {
            (name.as_str(), values.iter().map(|(value, set)| (value.as_str(), set.len())))
        })
    }
}

impl Postings for MemoryIndex {
    fn all(&self) -> Result<RoaringBitmap, StoreError> {
        Ok(self.all.clone())
    }

    fn equal(&self, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        Ok(self.names.get(name).and_then(|values| values.get(value)).cloned().unwrap_or_default())
    }

    fn scan(&self, name: &str, prefix: &str, each: &mut EachValue) -> Result<(), StoreError> {
        let Some(values) = self.names.get(name) else { return Ok(()) };
        for (value, set) in values.iter().filter(|(value, _)| value.starts_with(prefix)) {
            if !each(value, Cow::Borrowed(set)) {
                break;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.names.keys().cloned().collect())
    }
}
