//! Aggregations that yield one series a group.

use binnacle_proto::Labels;
use hashbrown::HashMap;
use rayon::prelude::*;

use super::kahan::{Mean, Sum};
use super::over_time::quantile;
use super::{Evaluation, merge_equal};
use crate::Error;
use crate::promql::column::{Charge, Column, Grid, Series, Vector};
use crate::promql::notes::Note;
use crate::promql::number::format_value;
use crate::promql::plan::{Aggregate, Aggregator, Kind, Node};

/// A group's labels and its members.
pub(super) struct Members<'a> {
    pub(super) labels: Labels,
    pub(super) series: Vec<&'a Series>,
}

impl Aggregate {
    /// The labels of a series' group.
    fn group_labels(&self, labels: &Labels) -> Labels {
        let listed = |name: &str| self.labels.binary_search_by(|label| label.as_str().cmp(name)).is_ok();
        if self.without {
            labels.filtered(|name| name != "__name__" && !listed(name))
        } else if self.labels.is_empty() {
            Labels::empty()
        } else {
            labels.filtered(listed)
        }
    }

    /// Series by group, groups in the order in which they are first met.
    pub(super) fn members<'a>(&self, series: &'a [Series]) -> Vec<Members<'a>> {
        let mut place_of: HashMap<Labels, usize> = HashMap::new();
        let mut groups: Vec<Members<'a>> = Vec::new();
        for one in series {
            let labels = self.group_labels(&one.labels);
            let place = *place_of.entry(labels.clone()).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Members { labels, series: Vec::new() });
            }
            groups[place].series.push(one);
        }
        groups
    }
}

impl Evaluation<'_> {
    /// An aggregation.
    pub(super) fn aggregate(&self, aggregate: &Aggregate, grid: Grid) -> Result<Vector, Error> {
        use Aggregator::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        if aggregate.aggregator == CountValues {
            let inner = self.vector(&aggregate.inner, grid)?;
            return self.count_values(aggregate, &inner, grid);
        }
        let params = match &aggregate.param {
            None => Vec::new(),
            Some(param) => self.scalar(param, grid)?,
        };
        let inner = self.vector(&aggregate.inner, grid)?;
        match aggregate.aggregator {
            Topk | Bottomk | Limitk | LimitRatio => return self.ranking(aggregate, &params, inner, grid),
            Quantile => {
                if let Some(param) = &aggregate.param {
                    self.note_quantiles(&params, param);
                }
            }
            _ => {}
        }
        let groups = aggregate.members(&inner.series);
        let _members = self.scratch(inner.series.len() * 8 + groups.len() * 64)?;
        let work = |group: &Members<'_>| {
            self.guard.check()?;
            self.guard.charge_bytes(Series::cost(grid.steps))?;
            let _scratch = self.scratch(grid.steps * 32)?;
            let floats = fold(aggregate.aggregator, group, &params, grid);
            let drop_name = group.series.iter().any(|series| series.drop_name);
            Ok(Series { labels: group.labels.clone(), drop_name, floats })
        };
        let series: Result<Vec<Series>, Error> = self.spread(|| groups.par_iter().map(work).collect());
        let mut series = series?;
        let charge = Charge::adopt(self.guard, series.len() as u64 * Series::cost(grid.steps));
        series.retain(Series::has_any);
        Ok(Vector { series, charge })
    }

    fn note_quantiles(&self, params: &[f64], param: &Node) {
        let most = params.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = params.iter().copied().fold(f64::INFINITY, f64::min);
        if params.iter().any(|q| q.is_nan()) {
            self.notes.add(&Note::InvalidQuantile(f64::NAN), param.at);
        }
        if most > 1.0 {
            self.notes.add(&Note::InvalidQuantile(most), param.at);
        }
        if least < 0.0 {
            self.notes.add(&Note::InvalidQuantile(least), param.at);
        }
    }

    fn count_values(&self, aggregate: &Aggregate, inner: &Vector, grid: Grid) -> Result<Vector, Error> {
        let Some(Node { kind: Kind::Text(label), .. }) = &aggregate.param else {
            return Err(Error::Execution("count_values needs the name of a label".into()));
        };
        if label.is_empty() {
            return Err(Error::Execution(format!("invalid label name {label:?}")));
        }
        let listed = |name: &str| aggregate.labels.binary_search_by(|have| have.as_str().cmp(name)).is_ok();
        let mut vector = Vector::empty(self.guard);
        let mut place_of: HashMap<Labels, usize> = HashMap::new();
        for series in &inner.series {
            self.guard.check()?;
            let base = if aggregate.without {
                series.labels.clone()
            } else {
                aggregate.group_labels(&series.labels)
            };
            let mut last: Option<(u64, usize)> = None;
            for (step, value) in series.floats.iter() {
                let place = match last {
                    Some((bits, place)) if bits == value.to_bits() => place,
                    _ => {
                        let mut builder = base.to_builder();
                        builder.set(label, format_value(value));
                        let mut labels = builder.build();
                        if aggregate.without {
                            labels = labels.filtered(|name| name != "__name__" && !listed(name));
                        }
                        match place_of.get(&labels) {
                            Some(place) => *place,
                            None => {
                                place_of.insert(labels.clone(), vector.series.len());
                                let floats = Column::absent(grid.steps);
                                vector.push(Series { labels, drop_name: false, floats })?;
                                vector.series.len() - 1
                            }
                        }
                    }
                };
                last = Some((value.to_bits(), place));
                let floats = &mut vector.series[place].floats;
                floats.set(step, Some(floats.get(step).unwrap_or(0.0) + 1.0));
            }
        }
        merge_equal(vector)
    }
}

/// Folds the members of a group into one column.
fn fold(aggregator: Aggregator, group: &Members<'_>, params: &[f64], grid: Grid) -> Column {
    match aggregator {
        Aggregator::Sum => accumulate(group, grid, Sum::of, Sum::add, |sum| sum.total()),
        Aggregator::Avg => accumulate(group, grid, Mean::of, Mean::add, |mean| mean.mean()),
        Aggregator::Min => accumulate(
            group,
            grid,
            |v| v,
            |min, v| {
                if *min > v || min.is_nan() {
                    *min = v
                }
            },
            |v| v,
        ),
        Aggregator::Max => accumulate(
            group,
            grid,
            |v| v,
            |max, v| {
                if *max < v || max.is_nan() {
                    *max = v
                }
            },
            |v| v,
        ),
        Aggregator::Stdvar => accumulate(group, grid, Spread::of, Spread::add, |spread| spread.variance()),
        Aggregator::Stddev => {
            accumulate(group, grid, Spread::of, Spread::add, |spread| spread.variance().sqrt())
        }
        Aggregator::Group => counted(group, grid, |_| 1.0),
        Aggregator::Count => counted(group, grid, |count| count),
        _ => {
            let mut column = Column::absent(grid.steps);
            let mut values = Vec::with_capacity(group.series.len());
            for (step, q) in params.iter().enumerate() {
                values.clear();
                values.extend(group.series.iter().filter_map(|series| series.floats.get(step)));
                if !values.is_empty() {
                    column.set(step, Some(quantile(*q, &mut values)));
                }
            }
            column
        }
    }
}

/// How many members have a sample of any kind.
fn counted(group: &Members<'_>, grid: Grid, result: impl Fn(f64) -> f64) -> Column {
    let mut counts = vec![0.0; grid.steps];
    for series in &group.series {
        for (step, count) in counts.iter_mut().enumerate() {
            *count += f64::from(u8::from(series.has(step)));
        }
    }
    let mut column = Column::absent(grid.steps);
    for (step, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0.0) {
        column.set(step, Some(result(count)));
    }
    column
}

/// Runs over the members one after the other, with one accumulator a step.
#[inline]
fn accumulate<A: Clone>(
    group: &Members<'_>,
    grid: Grid,
    first: impl Fn(f64) -> A,
    add: impl Fn(&mut A, f64),
    result: impl Fn(A) -> f64,
) -> Column {
    let mut states: Vec<Option<A>> = vec![None; grid.steps];
    for series in &group.series {
        for (step, value) in series.floats.iter() {
            match &mut states[step] {
                Some(state) => add(state, value),
                empty => *empty = Some(first(value)),
            }
        }
    }
    let mut column = Column::absent(grid.steps);
    for (step, state) in states.into_iter().enumerate() {
        column.set(step, state.map(&result));
    }
    column
}

/// Running mean and sum of squared distances from it.
#[derive(Clone)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn of(first: f64) -> Self {
        let squares = if first.is_finite() { 0.0 } else { f64::NAN };
        Self { count: 1.0, mean: first, squares }
    }

    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance(self) -> f64 {
        self.squares / self.count
    }
}
