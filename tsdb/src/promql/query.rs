//! The engine: checks a query's bounds, plans it, evaluates it, names the result.

use std::sync::Arc;

use super::column::{Evaluated, Grid, Series, Vector};
use super::eval::{Evaluation, remove_names};
use super::explain::{Costs, PlanNode};
use super::notes::Notes;
use super::plan::{Kind, Node, Range, RangeOf, plan};
use super::{Answer, Engine, EngineConfig, InstantSample, QueryOptions, RangeSeries, Value};
use crate::Error;
use crate::select::{Points, Source};

impl Engine {
    /// An engine with these settings.
    pub fn new(config: EngineConfig) -> Self {
        Self { config, pool: None }
    }

    /// The same engine on threads of its own, so that its evaluations do not wait behind those of others.
    pub fn on(self, pool: Arc<rayon::ThreadPool>) -> Self {
        Self { pool: Some(pool), ..self }
    }

    /// How far back an instant selector looks for a sample, in milliseconds.
    pub(crate) fn lookback_ms(&self) -> i64 {
        self.config.lookback_delta_ms
    }

    /// Evaluates `expr` at one instant. Blocks: call it from a blocking thread.
    ///
    /// # Errors
    /// [`Error::Parse`], [`Error::Execution`], [`Error::Limit`], [`Error::Storage`].
    pub fn instant(
        &self,
        source: &dyn Source,
        expr: &str,
        at_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, Error> {
        Ok(self.run_instant(source, expr, at_ms, options, None)?.0)
    }

    /// Evaluates `expr` at `start_ms`, `start_ms + step_ms`, … up to `end_ms`; the value is a matrix.
    /// Blocks: call it from a blocking thread.
    ///
    /// # Errors
    /// As [`Engine::instant`], and [`Error::BadInput`] for impossible bounds.
    pub fn range(
        &self,
        source: &dyn Source,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, Error> {
        let grid = self.grid(start_ms, end_ms, step_ms)?;
        Ok(self.run_range(source, expr, grid, options, None)?.0)
    }

    /// As [`Engine::instant`], with the plan and what each of its nodes cost.
    ///
    /// # Errors
    /// As [`Engine::instant`].
    pub fn explain_instant(
        &self,
        source: &dyn Source,
        expr: &str,
        at_ms: i64,
        options: &QueryOptions,
    ) -> Result<(Answer, PlanNode), Error> {
        let costs = Costs::default();
        let (answer, root) = self.run_instant(source, expr, at_ms, options, Some(&costs))?;
        Ok((answer, costs.plan(&root)))
    }

    /// As [`Engine::range`], with the plan and what each of its nodes cost.
    ///
    /// # Errors
    /// As [`Engine::range`].
    pub fn explain_range(
        &self,
        source: &dyn Source,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<(Answer, PlanNode), Error> {
        let grid = self.grid(start_ms, end_ms, step_ms)?;
        let costs = Costs::default();
        let (answer, root) = self.run_range(source, expr, grid, options, Some(&costs))?;
        Ok((answer, costs.plan(&root)))
    }

    fn grid(&self, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Grid, Error> {
        if step_ms <= 0 {
            return Err(Error::BadInput(
                "zero or negative query resolution step widths are not accepted. Try a positive integer"
                    .into(),
            ));
        }
        if end_ms < start_ms {
            return Err(Error::BadInput("end timestamp must not be before start time".into()));
        }
        let steps = end_ms
            .checked_sub(start_ms)
            .and_then(|length| usize::try_from(length / step_ms).ok())
            .ok_or_else(|| Error::BadInput("the time range is too long".into()))?
            .saturating_add(1);
        let most = self.config.max_points_per_series;
        if steps.saturating_sub(1) > most {
            return Err(Error::BadInput(format!(
                "exceeded maximum resolution of {most} points per timeseries (limit \
                 query.max_points_per_series). Try decreasing the query resolution (?step=XX)"
            )));
        }
        Ok(Grid { start_ms, step_ms, steps })
    }

    fn evaluation<'a>(
        &'a self,
        source: &'a dyn Source,
        query: Grid,
        options: &'a QueryOptions,
        notes: &'a Notes,
        costs: Option<&'a Costs>,
    ) -> Evaluation<'a> {
        let lookback_ms = options
            .lookback
            .and_then(|lookback| i64::try_from(lookback.as_millis()).ok())
            .filter(|lookback_ms| *lookback_ms > 0)
            .unwrap_or(self.config.lookback_delta_ms);
        let subquery_step_ms = self.config.subquery_step_ms.max(1);
        Evaluation {
            source,
            guard: &options.guard,
            pool: self.pool.as_deref(),
            lookback_ms,
            subquery_step_ms,
            query,
            notes,
            costs,
        }
    }

    fn run_instant(
        &self,
        source: &dyn Source,
        expr: &str,
        at_ms: i64,
        options: &QueryOptions,
        costs: Option<&Costs>,
    ) -> Result<(Answer, Node), Error> {
        let grid = Grid { start_ms: at_ms, step_ms: 1, steps: 1 };
        let root = plan(expr, grid)?;
        let notes = Notes::new(expr);
        let evaluation = self.evaluation(source, grid, options, &notes, costs);
        let value = match &root.kind {
            Kind::Text(text) => Value::String(text.clone()),
            Kind::Range(range) => Value::Matrix(range_points(&evaluation, range, grid)?),
            _ => match evaluation.eval(&root, grid)? {
                Evaluated::Scalar(values) => Value::Scalar(values[0]),
                Evaluated::Vector(vector) => {
                    let sample = |series: Series| {
                        let value = series.floats.get(0)?;
                        Some(InstantSample { labels: series.labels, t_ms: at_ms, value })
                    };
                    let vector = remove_names(vector)?;
                    Value::Vector(vector.series.into_iter().filter_map(sample).collect())
                }
            },
        };
        Ok((answer(value, notes), root))
    }

    fn run_range(
        &self,
        source: &dyn Source,
        expr: &str,
        grid: Grid,
        options: &QueryOptions,
        costs: Option<&Costs>,
    ) -> Result<(Answer, Node), Error> {
        let root = plan(expr, grid)?;
        let notes = Notes::new(expr);
        let evaluation = self.evaluation(source, grid, options, &notes, costs);
        let refuse = |what: &str| {
            Error::BadInput(format!(
                "invalid expression type \"{what}\" for range query, must be Scalar or instant Vector"
            ))
        };
        let mut series = match &root.kind {
            Kind::Text(_) => return Err(refuse("string")),
            Kind::Range(_) => return Err(refuse("range vector")),
            _ => match evaluation.eval(&root, grid)? {
                Evaluated::Scalar(values) => {
                    let mut points = Points::default();
                    values
                        .into_iter()
                        .enumerate()
                        .for_each(|(step, value)| points.push(grid.at(step), value));
                    vec![RangeSeries { labels: binnacle_proto::Labels::empty(), points }]
                }
                Evaluated::Vector(vector) => matrix(remove_names(vector)?, grid),
            },
        };
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok((answer(Value::Matrix(series), notes), root))
    }
}

fn answer(value: Value, notes: Notes) -> Answer {
    let (warnings, infos) = notes.into_texts();
    Answer { value, warnings, infos }
}

/// Columns as points.
fn matrix(vector: Vector, grid: Grid) -> Vec<RangeSeries> {
    let points = |series: &Series| {
        let mut points = Points::default();
        series.floats.iter().for_each(|(step, value)| points.push(grid.at(step), value));
        points
    };
    let mut found: Vec<RangeSeries> = Vec::with_capacity(vector.series.len());
    for series in &vector.series {
        let points = points(series);
        if !points.is_empty() {
            found.push(RangeSeries { labels: series.labels.clone(), points });
        }
    }
    found
}

/// The samples of a range at one instant, as a query that is nothing but a range asks for them.
fn range_points(evaluation: &Evaluation<'_>, range: &Range, grid: Grid) -> Result<Vec<RangeSeries>, Error> {
    let mut series = match &range.of {
        RangeOf::Selector(selector) => evaluation.raw_points(selector, range.range_ms, grid)?,
        RangeOf::Subquery { inner, step_ms, when } => {
            let (vector, inner_grid) = evaluation.subquery(inner, range.range_ms, *step_ms, *when, grid)?;
            matrix(remove_names(vector)?, inner_grid)
        }
    };
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(series)
}
