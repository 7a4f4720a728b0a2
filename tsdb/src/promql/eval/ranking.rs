//! Aggregations that keep some of their series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::cmp::Ordering;

use super::Evaluation;
use crate::Error;
use crate::promql::column::{Column, Grid, Series, Vector};
use crate::promql::notes::Note;
use crate::promql::number::format_value;
use crate::promql::plan::{Aggregate, Aggregator};

impl Evaluation<'_> {
    /// Keeps some series of each group at each step.
    pub(super) fn ranking(
        &self,
        aggregate: &Aggregate,
        params: &[f64],
        inner: Vector,
        grid: Grid,
    ) -> Result<Vector, Error> {
        let ratio = aggregate.aggregator == Aggregator::LimitRatio;
        let nothing_asked =
            if ratio { params.iter().all(|ratio| *ratio == 0.0) } else { params.iter().all(|k| *k < 1.0) };
        if nothing_asked {
            return Ok(Vector::empty(self.guard));
        }
        if params.iter().any(|param| param.is_nan()) {
            let what = if ratio { "Ratio" } else { "Parameter" };
            return Err(Error::Execution(format!("{what} value is NaN")));
        }
        self.check_bounds(aggregate, params, ratio)?;
        let mut kept = Vector::empty(self.guard);
        let mut picked = Vec::new();
        for group in &aggregate.members(&inner.series) {
            self.guard.check()?;
            let _scratch = self.scratch(group.series.len() * 24)?;
            let mut columns: Vec<Option<Column>> = vec![None; group.series.len()];
            let mut order = Vec::new();
            for (step, param) in params.iter().enumerate() {
                picked.clear();
                let present = group.series.iter().enumerate();
                picked.extend(present.filter_map(|(place, series)| Some((place, series.floats.get(step)?))));
                pick(aggregate.aggregator, *param, &mut picked, |place| group.series[place]);
                for (place, value) in &picked {
                    let column = match &mut columns[*place] {
                        Some(column) => column,
                        empty => {
                            order.push(*place);
                            kept.charge.grow(Series::cost(grid.steps))?;
                            empty.insert(Column::absent(grid.steps))
                        }
                    };
                    column.set(step, Some(*value));
                }
            }
            // In the order in which they were picked, which an instant answer shows.
            for place in order {
                let series = group.series[place];
                if let Some(floats) = columns[place].take() {
                    kept.series.push(Series {
                        labels: series.labels.clone(),
                        drop_name: series.drop_name,
                        floats,
                    });
                }
            }
        }
        Ok(kept)
    }

    fn check_bounds(&self, aggregate: &Aggregate, params: &[f64], ratio: bool) -> Result<(), Error> {
        let most = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = params.iter().copied().fold(f64::INFINITY, f64::min);
        if !ratio {
            if least <= i64::MIN as f64 {
                return Err(Error::Execution(format!(
                    "Scalar value {} underflows int64",
                    format_value(least)
                )));
            }
            if most >= i64::MAX as f64 {
                return Err(Error::Execution(format!("Scalar value {} overflows int64", format_value(most))));
            }
            return Ok(());
        }
        let at = aggregate.param.as_ref().map_or(0, |param| param.at);
        if most > 1.0 {
            self.notes.add(&Note::InvalidRatio(most, 1.0), at);
        }
        if least < -1.0 {
            self.notes.add(&Note::InvalidRatio(least, -1.0), at);
        }
        Ok(())
    }
}

/// Reduces `picked` (place and value of each series present) to what is kept, in the answer's order.
fn pick<'a>(
    aggregator: Aggregator,
    param: f64,
    picked: &mut Vec<(usize, f64)>,
    series: impl Fn(usize) -> &'a Series,
) {
    match aggregator {
        Aggregator::LimitRatio => {
            let ratio = param.clamp(-1.0, 1.0);
            picked.retain(|(place, _)| falls_within(ratio, series(*place)));
        }
        Aggregator::Limitk => picked.truncate(count(param, picked.len())),
        _ => {
            let top = aggregator == Aggregator::Topk;
            let k = count(param, picked.len());
            let better = |a: &(usize, f64), b: &(usize, f64)| best_first(a.1, b.1, top).then(a.0.cmp(&b.0));
            if k < picked.len() && k > 0 {
                picked.select_nth_unstable_by(k - 1, better);
            }
            picked.truncate(k);
            picked.sort_unstable_by(better);
        }
    }
}

fn count(param: f64, len: usize) -> usize {
    if param < 1.0 { 0 } else { (param as usize).min(len) }
}

/// Best value first, NaN last.
fn best_first(a: f64, b: f64, top: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let ascending = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if top { ascending.reverse() } else { ascending }
        }
        (a, b) => a.cmp(&b),
    }
}

/// Whether a series is in the sample of a ratio. Each series has a fixed place between 0 and 1, from
/// its labels; a ratio of -r takes exactly those that 1-r leaves.
fn falls_within(ratio: f64, series: &Series) -> bool {
    let place = series.labels.stable_hash() as f64 / u64::MAX as f64;
    if ratio >= 0.0 { place < ratio || ratio == 1.0 } else { place >= 1.0 + ratio }
}
