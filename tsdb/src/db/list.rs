//! What the label APIs ask: names, values and series, without reading samples.

use binnacle_proto::Labels;

use super::Db;
use crate::Error;
use crate::select::{Guard, Hints, Matcher, Select, Source};

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
    /// none) and may have samples in `range`. At most `limit`; 0 is no limit.
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
        let found = self.series(matcher_sets, range, 0, guard)?;
        let names = found.items.iter().flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned()));
        Ok(cut(names.collect(), limit, found.warnings))
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
        let found = self.series(matcher_sets, range, 0, guard)?;
        let values = found.items.iter().filter_map(|labels| labels.get(name).map(str::to_owned));
        Ok(cut(values.collect(), limit, found.warnings))
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
            let select = Select {
                matchers: matchers.clone(),
                start_ms: range.start_ms,
                end_ms: range.end_ms,
                hints: Hints::default(),
            };
            let found = self.select(&select, guard)?;
            items.extend(found.series);
            warnings.extend(found.warnings);
        }
        Ok(cut(items, limit, warnings))
    }
}

fn cut<T: Ord>(mut items: Vec<T>, limit: usize, warnings: Vec<String>) -> Listed<T> {
    items.sort_unstable();
    items.dedup();
    let truncated = limit > 0 && items.len() > limit;
    if truncated {
        items.truncate(limit);
    }
    Listed { items, truncated, warnings }
}
