//! Functions over ranges: one pass over each series, two indices that only move forward.

use binnacle_proto::{Labels, is_stale};
use rayon::prelude::*;

use super::over_time::{self, Extremes};
use super::rate::{self, Resets};
use super::select::step_of;
use super::{Evaluation, merge_equal, rollup};
use crate::Error;
use crate::promql::column::{Charge, Column, Grid, Series, Vector};
use crate::promql::notes::Note;
use crate::promql::plan::{Kind, Node, Range, RangeOf, When, Windowed};
use crate::select::{Hints, Points, Segments};

/// Samples visited between two looks at the deadline.
const CHECK_EVERY: usize = 1 << 20;

/// The samples of one series within one window, and when it is.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    /// Milliseconds, ascending; never empty.
    pub(super) t_ms: &'a [i64],
    /// One for each timestamp.
    pub(super) values: &'a [f64],
    /// The window's open left end.
    pub(super) start_ms: i64,
    /// The window's right end.
    pub(super) end_ms: i64,
    /// The evaluation time.
    pub(super) at_ms: i64,
    /// Index of the first sample within the series.
    pub(super) first: usize,
}

/// A function over windows with all that it needs.
struct Sweep<'a> {
    which: Windowed,
    when: When,
    range_ms: i64,
    grid: Grid,
    /// Values of the other arguments, by step.
    params: Vec<Vec<f64>>,
    /// Where the range and the first argument stand in the query.
    at: (usize, usize),
    evaluation: &'a Evaluation<'a>,
}

impl Evaluation<'_> {
    /// A function with one range among its arguments.
    pub(super) fn windowed(
        &self,
        name: &'static str,
        which: Windowed,
        args: &[Node],
        grid: Grid,
    ) -> Result<Vector, Error> {
        let mut params = Vec::new();
        let mut range = None;
        for arg in args {
            match &arg.kind {
                Kind::Range(found) => range = Some((found, arg)),
                _ => params.push(self.scalar(arg, grid)?),
            }
        }
        let Some((range, arg)) = range else {
            return Err(Error::Execution(format!("expected a range vector in call to {name}")));
        };
        Self::check_params(which, &params)?;
        let when = match &range.of {
            RangeOf::Selector(selector) => selector.when,
            RangeOf::Subquery { when, .. } => *when,
        };
        let sweep = Sweep {
            which,
            when,
            range_ms: range.range_ms,
            grid,
            params,
            at: (arg.at, args[0].at),
            evaluation: self,
        };
        let vector = match &range.of {
            RangeOf::Selector(selector) => {
                let hints = Hints {
                    step_ms: step_of(grid),
                    range_ms: range.range_ms,
                    function: Some(name.to_owned()),
                    bucket_ms: rollup::bucket_ms(which, range.range_ms, when, grid),
                };
                let from_segments = |labels: &Labels, segments: &Segments| sweep.rolled_up(labels, segments);
                let series = self.each_rolled_up(
                    selector,
                    sweep.bounds(),
                    hints,
                    from_segments,
                    |labels: &Labels, points: &mut Points| {
                        strip_stale(points);
                        sweep.series(labels, false, points)
                    },
                )?;
                let charge = Charge::adopt(self.guard, series.len() as u64 * Series::cost(grid.steps));
                Vector { series, charge }
            }
            RangeOf::Subquery { inner, step_ms, when } => {
                let (inner, inner_grid) = self.subquery(inner, range.range_ms, *step_ms, *when, grid)?;
                let work = |series: &Series| {
                    let points = column_points(&series.floats, inner_grid);
                    sweep.series(&series.labels, series.drop_name, &points)
                };
                let series: Result<Vec<Series>, Error> =
                    self.spread(|| inner.series.par_iter().map(work).filter_map(Result::transpose).collect());
                let series = series?;
                let charge = Charge::adopt(self.guard, series.len() as u64 * Series::cost(grid.steps));
                Vector { series, charge }
            }
        };
        if which == Windowed::Absent {
            return self.absent_over_time(&vector, range, grid);
        }
        merge_equal(vector)
    }

    /// Evaluates a subquery's expression at all of its instants that any step of `grid` can see.
    pub(in crate::promql) fn subquery(
        &self,
        inner: &Node,
        range_ms: i64,
        step_ms: Option<i64>,
        when: When,
        grid: Grid,
    ) -> Result<(Vector, Grid), Error> {
        let step_ms = step_ms.unwrap_or(self.subquery_step_ms);
        let open_ms = when.reference(grid.at(0)).saturating_sub(range_ms);
        let last_ms = when.reference(grid.end_ms());
        // Instants are multiples of the step, whatever the query's bounds are.
        let start_ms = (open_ms.div_euclid(step_ms) + 1).saturating_mul(step_ms);
        if start_ms > last_ms {
            let nothing = Grid { start_ms, step_ms, steps: 1 };
            return Ok((Vector::empty(self.guard), nothing));
        }
        let steps = usize::try_from((last_ms - start_ms) / step_ms + 1)
            .map_err(|_| Error::Execution("the subquery has too many steps".into()))?;
        // Every node below holds at least one number a step.
        let _steps = self.scratch(steps.saturating_mul(8))?;
        let inner_grid = Grid { start_ms, step_ms, steps };
        Ok((self.vector(inner, inner_grid)?, inner_grid))
    }

    fn check_params(which: Windowed, params: &[Vec<f64>]) -> Result<(), Error> {
        let all = |place: usize| params.get(place).into_iter().flatten().copied();
        if which == Windowed::DoubleExponentialSmoothing {
            for (place, name) in ["smoothing", "trend"].iter().enumerate() {
                let letter = if place == 0 { "sf" } else { "tf" };
                if let Some(factor) = all(place).find(|factor| *factor <= 0.0 || *factor >= 1.0) {
                    return Err(Error::Execution(format!(
                        "invalid {name} factor. Expected: 0 < {letter} < 1, got: {factor:.6}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn absent_over_time(&self, present: &Vector, range: &Range, grid: Grid) -> Result<Vector, Error> {
        let mut floats = Column::absent(grid.steps);
        for step in 0..grid.steps {
            if !present.series.iter().any(|series| series.has(step)) {
                floats.set(step, Some(1.0));
            }
        }
        let mut vector = Vector::empty(self.guard);
        if floats.has_any() {
            let labels = match &range.of {
                RangeOf::Selector(selector) => super::call::labels_of_absent(selector),
                RangeOf::Subquery { .. } => Labels::empty(),
            };
            vector.push(Series { labels, drop_name: true, floats })?;
        }
        Ok(vector)
    }
}

impl Sweep<'_> {
    /// First and last instant of any sample needed.
    fn bounds(&self) -> (i64, i64) {
        let first_ms = self.when.reference(self.grid.at(0)).saturating_sub(self.range_ms).saturating_add(1);
        (first_ms, self.when.reference(self.grid.end_ms()))
    }

    fn series(&self, labels: &Labels, name_dropped: bool, points: &Points) -> Result<Option<Series>, Error> {
        self.evaluation.guard.charge_bytes(Series::cost(self.grid.steps))?;
        Ok(self.charged(labels, name_dropped, self.column(points)?))
    }

    /// A series from its buckets; `None` when they do not tell exactly.
    fn rolled_up(&self, labels: &Labels, segments: &Segments) -> Result<Option<Option<Series>>, Error> {
        let Some(floats) = rollup::column(self.which, segments, self.when, self.range_ms, self.grid) else {
            return Ok(None);
        };
        self.evaluation.guard.charge_bytes(Series::cost(self.grid.steps))?;
        Ok(Some(self.charged(labels, false, floats)))
    }

    /// A series of a column whose memory is charged, which is given back when there is nothing in it.
    fn charged(&self, labels: &Labels, name_dropped: bool, floats: Column) -> Option<Series> {
        if !floats.has_any() {
            self.evaluation.guard.release_bytes(Series::cost(self.grid.steps));
            return None;
        }
        if !name_dropped {
            self.note_gauge(labels);
        }
        // The first and the last sample are the series' own values still.
        let drop_name = name_dropped || !matches!(self.which, Windowed::First | Windowed::Last);
        Some(Series { labels: labels.clone(), drop_name, floats })
    }

    fn note_gauge(&self, labels: &Labels) {
        const COUNTERS: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];
        if matches!(self.which, Windowed::Rate | Windowed::Increase)
            && let Some(name) = labels.metric_name()
            && !COUNTERS.iter().any(|suffix| name.ends_with(suffix))
        {
            self.evaluation.notes.add(&Note::NotACounter(name), self.at.0);
        }
    }

    fn note_quantile(&self, step: usize) {
        let q = self.params.first().map_or(0.0, |values| values[step]);
        if self.which == Windowed::Quantile && !(0.0..=1.0).contains(&q) {
            self.evaluation.notes.add(&Note::InvalidQuantile(q), self.at.1);
        }
    }

    fn column(&self, points: &Points) -> Result<Column, Error> {
        let mut column = Column::absent(self.grid.steps);
        let mut resets = rate::needs_resets(self.which).then(|| Resets::of(&points.values));
        let mut extremes = Extremes::of(self.which);
        let (mut from, mut to, mut visited) = (0, 0, 0);
        for step in 0..self.grid.steps {
            let at_ms = self.grid.at(step);
            let end_ms = self.when.reference(at_ms);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            while to < points.len() && points.timestamps[to] <= end_ms {
                to += 1;
            }
            while from < to && points.timestamps[from] <= start_ms {
                from += 1;
            }
            if from == to {
                continue;
            }
            let (t_ms, values) = (&points.timestamps[from..to], &points.values[from..to]);
            let window = Window { t_ms, values, start_ms, end_ms, at_ms, first: from };
            let value = if let Some(resets) = &mut resets {
                rate::counter(self.which, window, resets)
            } else if let Some(extremes) = &mut extremes {
                Some(extremes.advance(&points.values, from, to))
            } else {
                visited += window.t_ms.len();
                self.note_quantile(step);
                over_time::apply(self.which, window, |place| self.params[place][step])
            };
            column.set(step, value);
            if visited > CHECK_EVERY {
                visited = 0;
                self.evaluation.guard.check()?;
            }
        }
        Ok(column)
    }
}

/// Staleness markers are no samples of a range.
pub(super) fn strip_stale(points: &mut Points) {
    if !points.values.iter().any(|value| is_stale(*value)) {
        return;
    }
    let mut kept = 0;
    for at in 0..points.len() {
        if !is_stale(points.values[at]) {
            points.timestamps[kept] = points.timestamps[at];
            points.values[kept] = points.values[at];
            kept += 1;
        }
    }
    points.timestamps.truncate(kept);
    points.values.truncate(kept);
}

/// The samples of a column with their times.
pub(super) fn column_points(column: &Column, grid: Grid) -> Points {
    let mut points = Points::default();
    for (step, value) in column.iter() {
        points.push(grid.at(step), value);
    }
    points
}
