//! Selectors: samples of each series, decoded once.

use binnacle_proto::{Labels, is_stale};
use rayon::prelude::*;

use super::Evaluation;
use super::windowed::strip_stale;
use crate::Error;
use crate::promql::RangeSeries;
use crate::promql::column::{Charge, Column, Grid, Series, Vector};
use crate::promql::plan::{Selector, When};
use crate::select::{Hints, Points, Select};

/// Fewer series than this are read on the calling thread.
const PARALLEL_FROM: usize = 8;

impl Evaluation<'_> {
    /// An instant selector at every step.
    pub(super) fn instant_vector(&self, selector: &Selector, grid: Grid) -> Result<Vector, Error> {
        self.latest(selector, grid, |_, value| value)
    }

    /// The time in seconds of the sample that an instant selector finds, at every step.
    pub(super) fn sample_times(&self, selector: &Selector, grid: Grid) -> Result<Vector, Error> {
        self.latest(selector, grid, |t_ms, _| t_ms as f64 / 1000.0)
    }

    /// The stored samples of a range at the first step.
    pub(in crate::promql) fn raw_points(
        &self,
        selector: &Selector,
        range_ms: i64,
        grid: Grid,
    ) -> Result<Vec<RangeSeries>, Error> {
        let end_ms = selector.when.reference(grid.at(0));
        let bounds = (end_ms.saturating_sub(range_ms).saturating_add(1), end_ms);
        let hints = Hints { step_ms: 0, range_ms, function: None };
        self.each_series(selector, bounds, hints, |labels, points| {
            strip_stale(points);
            // Part of the answer: charged for good.
            self.guard.charge_bytes(points.len() as u64 * 16)?;
            let found = RangeSeries { labels: labels.clone(), points: points.clone() };
            Ok((!found.points.is_empty()).then_some(found))
        })
    }

    fn latest(
        &self,
        selector: &Selector,
        grid: Grid,
        value: impl Fn(i64, f64) -> f64 + Sync,
    ) -> Result<Vector, Error> {
        let first_ms = selector.when.reference(grid.at(0)).saturating_sub(self.lookback_ms) + 1;
        let last_ms = selector.when.reference(grid.end_ms());
        let hints = Hints { step_ms: step_of(grid), range_ms: 0, function: None };
        let series = self.each_series(selector, (first_ms, last_ms), hints, |labels, points| {
            self.guard.charge_bytes(Series::cost(grid.steps))?;
            let Some(floats) = latest_column(points, selector.when, grid, self.lookback_ms, &value) else {
                self.guard.release_bytes(Series::cost(grid.steps));
                return Ok(None);
            };
            Ok(Some(Series { labels: labels.clone(), drop_name: false, floats }))
        })?;
        let charge = Charge::adopt(self.guard, series.len() as u64 * Series::cost(grid.steps));
        Ok(Vector { series, charge })
    }

    /// Reads every series of a selector between two instants (both inclusive) and applies `work` to its
    /// samples, in parallel. Series without samples and those for which `work` yields nothing are left
    /// out; the order is the store's.
    pub(super) fn each_series<T: Send>(
        &self,
        selector: &Selector,
        (start_ms, end_ms): (i64, i64),
        hints: Hints,
        work: impl Fn(&Labels, &mut Points) -> Result<Option<T>, Error> + Sync,
    ) -> Result<Vec<T>, Error> {
        let select = Select { matchers: selector.matchers.clone(), start_ms, end_ms, hints };
        let selected = self.source.select(&select, self.guard)?;
        for warning in &selected.warnings {
            self.notes.add_warning(warning.clone());
        }
        let labels_bytes: usize = selected.series.iter().map(|labels| labels.byte_len() + 32).sum();
        let _labels = self.scratch(labels_bytes)?;
        if let Some(costs) = self.costs {
            costs.selected(selected.series.len());
        }
        let read = |points: &mut Points, index: usize| {
            points.clear();
            selected.reader.read(index, self.guard, points)?;
            if points.is_empty() {
                return Ok(None);
            }
            let _decoded = self.scratch(points.len() * 16)?;
            work(&selected.series[index], points)
        };
        let count = selected.series.len();
        if count < PARALLEL_FROM {
            let mut points = Points::default();
            return (0..count).filter_map(|index| read(&mut points, index).transpose()).collect();
        }
        (0..count).into_par_iter().map_init(Points::default, read).filter_map(Result::transpose).collect()
    }
}

/// Step of a grid as storage wants it: 0 when there is only one instant.
pub(super) fn step_of(grid: Grid) -> i64 {
    if grid.steps > 1 { grid.step_ms } else { 0 }
}

/// The newest sample within the look-back before each step, unless it is a staleness marker.
fn latest_column(
    points: &Points,
    when: When,
    grid: Grid,
    lookback_ms: i64,
    value: impl Fn(i64, f64) -> f64,
) -> Option<Column> {
    let mut column = Column::absent(grid.steps);
    let (mut next, mut found) = (0, false);
    for step in 0..grid.steps {
        let reference_ms = when.reference(grid.at(step));
        while next < points.len() && points.timestamps[next] <= reference_ms {
            next += 1;
        }
        let Some(last) = next.checked_sub(1) else { continue };
        let (t_ms, sample) = (points.timestamps[last], points.values[last]);
        if t_ms > reference_ms - lookback_ms && !is_stale(sample) {
            column.set(step, Some(value(t_ms, sample)));
            found = true;
        }
    }
    found.then_some(column)
}
