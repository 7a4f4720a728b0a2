//! Evaluates a plan: every node over all steps at once, every series in its own column.

mod aggregate;
mod binary;
mod buckets;
mod call;
pub(super) mod dates;
mod histogram;
mod info;
mod kahan;
mod matching;
mod over_time;
mod ranking;
mod rate;
mod relabel;
mod rollup;
mod select;
mod sets;
mod sorting;
mod windowed;

use hashbrown::HashMap;

use binnacle_proto::Labels;

use super::column::{Charge, Evaluated, Grid, Series, Vector};
use super::explain::Costs;
use super::notes::Notes;
use super::plan::{Kind, Node};
use crate::Error;
use crate::select::{Guard, Source};

/// One evaluation of one query.
pub(super) struct Evaluation<'a> {
    /// Where samples come from.
    pub(super) source: &'a dyn Source,
    /// The query's account.
    pub(super) guard: &'a Guard,
    /// Where work is spread; without, on the process' pool.
    pub(super) pool: Option<&'a rayon::ThreadPool>,
    /// How far back instant selectors look, in milliseconds.
    pub(super) lookback_ms: i64,
    /// Step of subqueries that name none, in milliseconds.
    pub(super) subquery_step_ms: i64,
    /// The whole query's instants.
    pub(super) query: Grid,
    /// Annotations.
    pub(super) notes: &'a Notes,
    /// What each node costs, when it is to be explained.
    pub(super) costs: Option<&'a Costs>,
}

impl Evaluation<'_> {
    /// Runs work that is spread over threads. It must not evaluate nodes: a thread that waits for its part
    /// takes up that of another query, and stacks would grow.
    fn spread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Evaluates a node at every step of `grid`.
    pub(super) fn eval(&self, node: &Node, grid: Grid) -> Result<Evaluated, Error> {
        self.guard.check()?;
        if node.fixed && grid.steps > 1 {
            return Ok(self.eval(node, grid.first_only())?.repeat(grid.steps)?);
        }
        match self.costs {
            None => self.eval_kind(node, grid),
            Some(costs) => costs.measure(node, self.guard, || self.eval_kind(node, grid)),
        }
    }

    fn eval_kind(&self, node: &Node, grid: Grid) -> Result<Evaluated, Error> {
        match &node.kind {
            Kind::Number(value) => Ok(Evaluated::Scalar(vec![*value; grid.steps])),
            Kind::Text(_) => Err(Error::Execution("a string is not allowed here".into())),
            Kind::Range(_) => Err(Error::Execution("a range vector is not allowed here".into())),
            Kind::Instant(selector) => self.instant_vector(selector, grid).map(Evaluated::Vector),
            Kind::Negate(inner) => self.negate(inner, grid),
            Kind::Binary(binary) => self.binary(binary, grid),
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, grid).map(Evaluated::Vector),
            Kind::Call(function, args) => self.call(*function, args, grid),
        }
    }

    /// Evaluates a node that yields a vector.
    fn vector(&self, node: &Node, grid: Grid) -> Result<Vector, Error> {
        match self.eval(node, grid)? {
            Evaluated::Vector(vector) => Ok(vector),
            Evaluated::Scalar(_) => Err(Error::Execution("expected an instant vector, got a scalar".into())),
        }
    }

    /// Evaluates a node that yields a number for each step.
    fn scalar(&self, node: &Node, grid: Grid) -> Result<Vec<f64>, Error> {
        match self.eval(node, grid)? {
            Evaluated::Scalar(values) => Ok(values),
            Evaluated::Vector(_) => Err(Error::Execution("expected a scalar, got an instant vector".into())),
        }
    }

    fn negate(&self, inner: &Node, grid: Grid) -> Result<Evaluated, Error> {
        Ok(match self.eval(inner, grid)? {
            Evaluated::Scalar(mut values) => {
                values.iter_mut().for_each(|value| *value = -*value);
                Evaluated::Scalar(values)
            }
            Evaluated::Vector(mut vector) => {
                for series in &mut vector.series {
                    series.drop_name = true;
                    series.floats.map(|_, value| Some(-value));
                }
                Evaluated::Vector(vector)
            }
        })
    }

    /// Takes `bytes` for scratch memory until the result is dropped.
    fn scratch(&self, bytes: usize) -> Result<Charge, Error> {
        Ok(Charge::take(self.guard, bytes as u64)?)
    }
}

/// The labels that say what a metric is; they go when a value is no longer the metric's.
fn is_metadata(label: &str) -> bool {
    matches!(label, "__name__" | "__type__" | "__unit__")
}

/// Labels without the metric's name.
pub(super) fn without_name(labels: &Labels) -> Labels {
    if labels.iter().any(|(name, _)| is_metadata(name)) {
        labels.filtered(|name| !is_metadata(name))
    } else {
        labels.clone()
    }
}

/// Removes names that functions have marked for removal, and merges series that became equal by it.
pub(super) fn remove_names(mut vector: Vector) -> Result<Vector, Error> {
    for series in vector.series.iter_mut().filter(|series| series.drop_name) {
        series.labels = without_name(&series.labels);
        series.drop_name = false;
    }
    merge_equal(vector)
}

/// Merges series with equal labels. Those whose name is to be removed are others than those that keep it.
///
/// # Errors
/// When two of them have a sample at the same step.
fn merge_equal(mut vector: Vector) -> Result<Vector, Error> {
    let key = |series: &Series| (series.labels.clone(), series.drop_name);
    let mut place_of: HashMap<(Labels, bool), usize> = HashMap::with_capacity(vector.series.len());
    if vector.series.iter().enumerate().all(|(i, series)| *place_of.entry(key(series)).or_insert(i) == i) {
        return Ok(vector);
    }
    place_of.clear();
    let mut merged: Vec<Series> = Vec::with_capacity(vector.series.len());
    for series in vector.series.drain(..) {
        let place = *place_of.entry(key(&series)).or_insert(merged.len());
        if place == merged.len() {
            merged.push(series);
            continue;
        }
        let into = &mut merged[place].floats;
        for (step, value) in series.floats.iter() {
            if into.has(step) {
                return Err(Error::Execution("vector cannot contain metrics with the same labelset".into()));
            }
            into.set(step, Some(value));
        }
    }
    vector.series = merged;
    Ok(vector)
}
