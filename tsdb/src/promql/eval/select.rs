//! Selectors: samples of each series, decoded once.

use std::sync::atomic::{AtomicUsize, Ordering};

use binnacle_proto::{Labels, is_stale};
use rayon::prelude::*;

use super::Evaluation;
use super::windowed::strip_stale;
use crate::Error;
use crate::promql::RangeSeries;
use crate::promql::column::{Charge, Column, Grid, Series, Vector};
use crate::promql::plan::{Selector, When};
use crate::select::{Hints, Points, Segments, Select, Selected};

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
        let hints = Hints { range_ms, ..Hints::default() };
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
        let hints = Hints { step_ms: step_of(grid), ..Hints::default() };
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

    /// As [`Evaluation::each_series`], with `from_segments` for series that storage has summed up; where
    /// that yields nothing, because the answer would not be exact, the samples are read after all.
    pub(super) fn each_rolled_up<T: Send>(
        &self,
        selector: &Selector,
        bounds: (i64, i64),
        hints: Hints,
        from_segments: impl Fn(&Labels, &Segments) -> Result<Option<Option<T>>, Error> + Sync,
        work: impl Fn(&Labels, &mut Points) -> Result<Option<T>, Error> + Sync,
    ) -> Result<Vec<T>, Error> {
        let bucket_ms = hints.bucket_ms;
        let chosen = self.choose(selector, bounds, hints)?;
        if !chosen.selected.reader.has_segments() {
            return self.read_all(&chosen, work);
        }
        let answered = AtomicUsize::new(0);
        let count = chosen.selected.series.len();
        let found = self.in_parallel(count, <(Segments, Points)>::default, |(segments, points), index| {
            segments.clear();
            if chosen.selected.reader.read_segments(index, self.guard, segments)? {
                let _summed_up = self.scratch(segments.bytes() as usize)?;
                if let Some(found) = from_segments(&chosen.selected.series[index], segments)? {
                    answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(found);
                }
            }
            self.read_one(&chosen, index, points, &work)
        });
        self.note_damage(&chosen);
        if let (Some(costs), Some(name)) = (self.costs, super::rollup::name_of(bucket_ms)) {
            costs.rolled_up(name, answered.into_inner());
        }
        found
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
        self.read_all(&self.choose(selector, (start_ms, end_ms), hints)?, work)
    }

    /// Finds the series of a selector.
    fn choose(
        &self,
        selector: &Selector,
        (start_ms, end_ms): (i64, i64),
        hints: Hints,
    ) -> Result<Chosen, Error> {
        let select = Select { matchers: selector.matchers.clone(), start_ms, end_ms, hints };
        let selected = self.source.select(&select, self.guard)?;
        for warning in &selected.warnings {
            self.notes.add_warning(warning.clone());
        }
        let labels_bytes: usize = selected.series.iter().map(|labels| labels.byte_len() + 32).sum();
        let labels = self.scratch(labels_bytes)?;
        if let Some(costs) = self.costs {
            costs.selected(selected.series.len());
        }
        Ok(Chosen { selected, _labels: labels })
    }

    fn read_all<T: Send>(
        &self,
        chosen: &Chosen,
        work: impl Fn(&Labels, &mut Points) -> Result<Option<T>, Error> + Sync,
    ) -> Result<Vec<T>, Error> {
        let found = self.in_parallel(chosen.selected.series.len(), Points::default, |points, index| {
            self.read_one(chosen, index, points, &work)
        });
        self.note_damage(chosen);
        found
    }

    /// What `each` makes of the numbers below `count`, without those of which it makes nothing.
    fn in_parallel<S, T: Send>(
        &self,
        count: usize,
        scratch: impl Fn() -> S + Sync + Send,
        each: impl Fn(&mut S, usize) -> Result<Option<T>, Error> + Sync + Send,
    ) -> Result<Vec<T>, Error> {
        if count < PARALLEL_FROM {
            let mut scratch = scratch();
            return (0..count).filter_map(|index| each(&mut scratch, index).transpose()).collect();
        }
        let work =
            || (0..count).into_par_iter().map_init(scratch, each).filter_map(Result::transpose).collect();
        self.spread(work)
    }

    /// Passes on what was found damaged while reading.
    fn note_damage(&self, chosen: &Chosen) {
        for warning in chosen.selected.reader.warnings() {
            self.notes.add_warning(warning);
        }
    }

    fn read_one<T>(
        &self,
        chosen: &Chosen,
        index: usize,
        points: &mut Points,
        work: impl Fn(&Labels, &mut Points) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        points.clear();
        chosen.selected.reader.read(index, self.guard, points)?;
        if points.is_empty() {
            return Ok(None);
        }
        let _decoded = self.scratch(points.len() * 16)?;
        work(&chosen.selected.series[index], points)
    }
}

/// The series of a selector, with the account of their labels' memory.
struct Chosen {
    selected: Selected,
    _labels: Charge,
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
