//! `and`, `or`, `unless`.

use super::{Evaluation, merge_equal};
use crate::Error;
use crate::promql::column::{Grid, Series, Vector};
use crate::promql::plan::{Binary, Operator};

impl Evaluation<'_> {
    /// A set operation: keeps or drops samples by whether the other side has one in the same group.
    pub(super) fn set_operation(
        &self,
        binary: &Binary,
        mut left: Vector,
        mut right: Vector,
        grid: Grid,
    ) -> Result<Vector, Error> {
        let groups = binary.matching.groups(&left.series, &right.series);
        let _present = self.scratch(groups.count * (grid.steps / 8 + 64))?;
        match binary.operator {
            Operator::Or => {
                let present = Presence::of(&left.series, &groups.left, groups.count, grid);
                keep(&mut right.series, &groups.right, |group, step| !present.has(group, step));
                left.charge.grow(right.charge.bytes())?;
                left.series.append(&mut right.series);
                merge_equal(left)
            }
            operator => {
                let present = Presence::of(&right.series, &groups.right, groups.count, grid);
                let wanted = operator == Operator::And;
                keep(&mut left.series, &groups.left, |group, step| present.has(group, step) == wanted);
                Ok(left)
            }
        }
    }
}

fn keep(series: &mut Vec<Series>, groups: &[usize], wanted: impl Fn(usize, usize) -> bool) {
    for (series, group) in series.iter_mut().zip(groups) {
        series.floats.map(|step, value| wanted(*group, step).then_some(value));
    }
    series.retain(Series::has_any);
}

/// One bit for each group and step.
struct Presence {
    bits: Vec<u64>,
    words: usize,
}

impl Presence {
    fn of(series: &[Series], groups: &[usize], count: usize, grid: Grid) -> Self {
        let words = grid.steps.div_ceil(64);
        let mut bits = vec![0u64; count * words];
        for (series, group) in series.iter().zip(groups) {
            for step in (0..grid.steps).filter(|step| series.has(*step)) {
                bits[group * words + step / 64] |= 1 << (step % 64);
            }
        }
        Self { bits, words }
    }

    fn has(&self, group: usize, step: usize) -> bool {
        self.bits[group * self.words + step / 64] >> (step % 64) & 1 == 1
    }
}
