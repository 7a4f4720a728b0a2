//! What the label APIs ask: names, values and series from the indexes, without reading samples.

use std::collections::BTreeSet;

use binnacle_proto::Labels;
use roaring::RoaringBitmap;

use super::{Core, Db};
use crate::Error;
use crate::index::{DayIndex, Plan, Postings};
use crate::select::{Guard, Matcher};

/// A span of time, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Last instant, in milliseconds since the epoch.
    pub end_ms: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start_ms: i64::MIN, end_ms: i64::MAX };
}

/// What a label API found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// Ascending, without repetition.
    pub items: Vec<T>,
    /// Whether the limit cut the list.
    pub truncated: bool,
    /// What makes the list doubtful.
    pub warnings: Vec<String>,
}

impl Db {
    /// Names of the labels of all series that match one of `matcher_sets` (all series when there is
    /// none) and may have samples in `range`: exact to the day for what is on disk. At most `limit`; 0
    /// is no limit.
    ///
    /// # Errors
    /// When storage fails or a limit of `guard` is reached.
    pub fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &Guard,
    ) -> Result<Listed<String>, Error> {
        let mut names = BTreeSet::new();
        self.core().for_each_index(range, &mut |postings| {
            if matcher_sets.is_empty() {
                names.extend(postings.names()?);
                return Ok(());
            }
            let ids = matching(postings, matcher_sets, guard)?;
            for name in postings.names()?.into_iter().filter(|_| !ids.is_empty()) {
                guard.check()?;
                if !names.contains(&name) && has_any(postings, &name, &ids)? {
                    names.insert(name);
                }
            }
            Ok(())
        })?;
        Ok(cut(names.into_iter().collect(), limit, Vec::new()))
    }

    /// Values of label `name` over all series that match; see [`Db::label_names`].
    ///
    /// # Errors
    /// When storage fails or a limit of `guard` is reached.
    pub fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &Guard,
    ) -> Result<Listed<String>, Error> {
        let mut values = BTreeSet::new();
        self.core().for_each_index(range, &mut |postings| {
            let ids = match matcher_sets {
                [] => None,
                sets => Some(matching(postings, sets, guard)?),
            };
            let mut charged = Ok(());
            postings.scan(name, "", &mut |value, set| {
                let wanted = ids.as_ref().is_none_or(|ids| !ids.is_disjoint(&set));
                if wanted && !values.contains(value) {
                    charged = guard.charge_bytes(value.len() as u64);
                    values.insert(value.to_owned());
                }
                charged.is_ok()
            })?;
            Ok(charged?)
        })?;
        Ok(cut(values.into_iter().collect(), limit, Vec::new()))
    }

    /// Label sets of all series that match; see [`Db::label_names`].
    ///
    /// # Errors
    /// When storage fails or a limit of `guard` is reached.
    pub fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        guard: &Guard,
    ) -> Result<Listed<Labels>, Error> {
        let everything = [Vec::new()];
        let sets = if matcher_sets.is_empty() { everything.as_slice() } else { matcher_sets };
        let (mut items, mut warnings) = (Vec::new(), Vec::new());
        for matchers in sets {
            let found = self.core().find(matchers, range.start_ms, range.end_ms, guard)?;
            items.extend(found.series);
            warnings.extend(found.warnings);
        }
        items.sort_unstable();
        items.dedup();
        Ok(cut(items, limit, warnings))
    }
}

impl Core {
    /// Calls `each` with the index of memory, when it may hold samples of the range, and of each day.
    fn for_each_index(
        &self,
        range: TimeRange,
        each: &mut dyn FnMut(&dyn Postings) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.check_open()?;
        let in_memory = self.head.min_ms().is_some_and(|min_ms| min_ms <= range.end_ms)
            && self.head.max_ms().is_some_and(|max_ms| max_ms >= range.start_ms);
        if in_memory {
            each(&*self.head.index().read())?;
        }
        for day in self.days_within(range.start_ms, range.end_ms) {
            each(&DayIndex { store: &self.store, day })?;
        }
        Ok(())
    }
}

fn matching(
    postings: &dyn Postings,
    matcher_sets: &[Vec<Matcher>],
    guard: &Guard,
) -> Result<RoaringBitmap, Error> {
    let mut ids = RoaringBitmap::new();
    for matchers in matcher_sets {
        ids |= Plan::new(matchers).run(postings, guard)?;
    }
    Ok(ids)
}

/// Whether one of the series has a label of that name.
fn has_any(postings: &dyn Postings, name: &str, ids: &RoaringBitmap) -> Result<bool, Error> {
    let mut found = false;
    postings.scan(name, "", &mut |_, set| {
        found = !ids.is_disjoint(&set);
        !found
    })?;
    Ok(found)
}

/// Cuts what is sorted already to `limit`.
fn cut<T>(mut items: Vec<T>, limit: usize, warnings: Vec<String>) -> Listed<T> {
    let truncated = limit > 0 && items.len() > limit;
    if truncated {
        items.truncate(limit);
    }
    Listed { items, truncated, warnings }
}
