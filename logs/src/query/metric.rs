//! Metric queries: evaluating the tree at all steps.

use binnacle_proto::Labels;

use super::guard::Guard;
use super::{LogQuery, Sample, Series, Value, range, vector};
use crate::logql::{Metric, RangeOp, VectorOp};
use crate::{Db, Error};

/// The instants at which an expression is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// The first.
    pub start_ns: i64,
    /// Their distance; 0 when there is one.
    pub step_ns: i64,
    /// How many.
    pub count: usize,
}

impl Steps {
    /// The instant of a step.
    pub fn at(self, step: usize) -> i64 {
        self.start_ns + self.step_ns * step as i64
    }

    /// The last instant.
    pub fn last_ns(self) -> i64 {
        self.at(self.count - 1)
    }
}

/// A series with a value, or none, at each step.
#[derive(Debug, Clone)]
pub(super) struct Values {
    /// Its labels.
    pub labels: Labels,
    /// One entry a step.
    pub values: Vec<Option<f64>>,
}

/// What an expression evaluates to.
pub(super) enum Operand {
    /// The same number at each step.
    Scalar(f64),
    /// Series.
    Vector(Vec<Values>),
}

/// Evaluates a metric query.
pub(super) fn evaluate(db: &Db, metric: &Metric, query: &LogQuery, guard: &Guard) -> Result<Value, Error> {
    let steps = steps(query, guard)?;
    let operand = operand(db, metric, steps, guard)?;
    let is_range = query.step_ns > 0;
    let mut series = match operand {
        Operand::Scalar(value) if !is_range => return Ok(Value::Scalar(value)),
        Operand::Scalar(value) => {
            vec![Values { labels: Labels::empty(), values: vec![Some(value); steps.count] }]
        }
        Operand::Vector(series) => series,
    };
    let max = guard.limits().max_series;
    if series.len() > max {
        return Err(Error::Limit(format!(
            "maximum of series ({max}) reached for a single query (logs.query.max_series)"
        )));
    }
    if is_range {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let matrix = series.into_iter().map(|series| Series {
            labels: series.labels,
            points: series
                .values
                .iter()
                .enumerate()
                .filter_map(|(i, v)| Some((steps.at(i), (*v)?)))
                .collect(),
        });
        return Ok(Value::Matrix(matrix.filter(|series| !series.points.is_empty()).collect()));
    }
    if !keeps_order(metric) {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    let time_ns = steps.start_ns;
    let sample = |series: Values| {
        let value = (*series.values.first()?)?;
        Some(Sample { labels: series.labels, time_ns, value })
    };
    Ok(Value::Vector(series.into_iter().filter_map(sample).collect()))
}

/// Whether the order of an instant vector says something.
fn keeps_order(metric: &Metric) -> bool {
    use VectorOp::{BottomK, Sort, SortDesc, TopK};
    matches!(metric, Metric::Aggregate { op: TopK | BottomK | Sort | SortDesc, .. })
}

fn steps(query: &LogQuery, guard: &Guard) -> Result<Steps, Error> {
    if query.step_ns == 0 {
        return Ok(Steps { start_ns: query.end_ns, step_ns: 0, count: 1 });
    }
    let span = query.end_ns.checked_sub(query.start_ns).filter(|span| *span >= 0);
    let (Some(span), true) = (span, query.step_ns > 0) else {
        return Err(Error::BadInput(
            "the end must not be before the start, and the step must be positive".into(),
        ));
    };
    let count = (span / query.step_ns) as u64 + 1;
    let max = guard.limits().max_steps as u64;
    if count > max {
        return Err(Error::Limit(format!(
            "exceeded maximum resolution of {max} points per timeseries (logs.query.max_steps). Try increasing \
             the value of the step parameter"
        )));
    }
    Ok(Steps { start_ns: query.start_ns, step_ns: query.step_ns, count: count as usize })
}

fn operand(db: &Db, metric: &Metric, steps: Steps, guard: &Guard) -> Result<Operand, Error> {
    guard.check()?;
    match metric {
        Metric::Literal(value) => Ok(Operand::Scalar(*value)),
        Metric::Vector(value) => Ok(Operand::Vector(vec![Values {
            labels: Labels::empty(),
            values: vec![Some(*value); steps.count],
        }])),
        Metric::Range(agg) => range::evaluate(db, agg, None, steps, guard).map(Operand::Vector),
        Metric::Aggregate { op, param, grouping, inner } => {
            if let (VectorOp::Sum, Metric::Range(agg)) = (op, &**inner)
                && adds_up(agg.op, agg.unwrap.is_some())
            {
                let all = crate::logql::Grouping { without: false, names: Vec::new() };
                let grouping = grouping.as_ref().unwrap_or(&all);
                return range::evaluate(db, agg, Some(grouping), steps, guard).map(Operand::Vector);
            }
            let Operand::Vector(series) = operand(db, inner, steps, guard)? else {
                return Err(Error::BadInput(format!("{op} needs a vector, not a number")));
            };
            guard.keep(series.len() as u64 * steps.count as u64 * 16)?;
            Ok(Operand::Vector(vector::aggregate(*op, *param, grouping.as_ref(), series, steps.count)))
        }
        Metric::Binary { op, returns_bool, matching, left, right } => {
            let left = operand(db, left, steps, guard)?;
            let right = operand(db, right, steps, guard)?;
            vector::binary(*op, *returns_bool, matching.as_ref(), left, right, steps.count)
        }
        Metric::LabelReplace { inner, dst, replacement, src, regex } => {
            let Operand::Vector(series) = operand(db, inner, steps, guard)? else {
                return Err(Error::BadInput("label_replace needs a vector, not a number".into()));
            };
            vector::label_replace(series, dst, replacement, src, regex).map(Operand::Vector)
        }
    }
}

/// Whether the sum over series of an aggregation is the aggregation over all their lines.
fn adds_up(op: RangeOp, unwraps: bool) -> bool {
    matches!(op, RangeOp::CountOverTime | RangeOp::BytesOverTime | RangeOp::BytesRate)
        || (op == RangeOp::Rate && !unwraps)
}
