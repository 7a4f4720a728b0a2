//! Which series of two vectors belong together.

use std::borrow::Cow;

use binnacle_proto::{Labels, is_classic_name};
use hashbrown::HashMap;

use super::is_metadata;
use crate::promql::column::Series;
use crate::promql::plan::{Many, Matching, Operator};

/// The match group of every series of both sides; groups count from 0.
pub(super) struct Groups {
    /// Group of each series on the left.
    pub(super) left: Vec<usize>,
    /// Group of each series on the right.
    pub(super) right: Vec<usize>,
    /// How many groups there are.
    pub(super) count: usize,
}

impl Matching {
    /// The labels that decide which series match.
    pub(super) fn group_labels(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| self.decides(name))
    }

    fn decides(&self, name: &str) -> bool {
        let listed = self.labels.binary_search_by(|label| label.as_str().cmp(name)).is_ok();
        if self.on { listed } else { !listed && name != "__name__" }
    }

    /// Assigns every series to its group.
    pub(super) fn groups(&self, left: &[Series], right: &[Series]) -> Groups {
        let mut ids: HashMap<Labels, usize> = HashMap::with_capacity(left.len());
        let mut group = |series: &Series| {
            let next = ids.len();
            *ids.entry(self.group_labels(&series.labels)).or_insert(next)
        };
        let left = left.iter().map(&mut group).collect();
        let right = right.iter().map(&mut group).collect();
        Groups { left, right, count: ids.len() }
    }

    /// Labels of a result: of the many side, changed by operator, matching and `group_x` labels.
    pub(super) fn result_labels(&self, operator: Operator, many: &Labels, one: &Labels) -> Labels {
        let arithmetic = !operator.compares() && !operator.is_set();
        let mut labels = Cow::Borrowed(many);
        if arithmetic && many.iter().any(|(name, _)| is_metadata(name)) {
            labels = Cow::Owned(labels.filtered(|name| !is_metadata(name)));
        }
        if self.many == Many::Neither {
            let listed = |name: &str| self.labels.binary_search_by(|label| label.as_str().cmp(name)).is_ok();
            if self.on || !self.labels.is_empty() {
                labels = Cow::Owned(labels.filtered(|name| listed(name) == self.on));
            }
        }
        if self.include.is_empty() {
            return labels.into_owned();
        }
        let mut builder = labels.to_builder();
        for name in &self.include {
            match one.get(name) {
                Some(value) => builder.set(name, value),
                None => builder.remove(name),
            };
        }
        builder.build()
    }
}

/// Labels as error messages print them: the name among the others.
pub(super) fn show(labels: &Labels) -> String {
    let show = |(name, value): (&str, &str)| match is_classic_name(name, false) {
        true => format!("{name}={value:?}"),
        false => format!("{name:?}={value:?}"),
    };
    format!("{{{}}}", labels.iter().map(show).collect::<Vec<_>>().join(", "))
}
