//! Asks PromQL.

use std::time::Instant;

use binnacle_tsdb::{Engine, Guard, GuardLimits, InstantSample, QueryOptions, RangeSeries, Source, Value};

/// What one query of a decision may use: decisions must not starve the queries of people.
const LIMITS: GuardLimits =
    GuardLimits { max_bytes: 128 << 20, max_samples: 10_000_000, timeout: std::time::Duration::from_secs(5) };

/// Something that answers PromQL. Blocks.
pub trait Ask: Send + Sync {
    /// An instant vector at `at_ms`; a scalar is a vector of one without labels.
    ///
    /// # Errors
    /// Why there is no answer; the decision goes on without it.
    fn vector(&self, expr: &str, at_ms: i64) -> Result<Vec<InstantSample>, String>;

    /// The raw samples of a range selector at `at_ms`.
    ///
    /// # Errors
    /// As [`Ask::vector`].
    fn samples(&self, expr: &str, at_ms: i64) -> Result<Vec<RangeSeries>, String>;

    /// Values at every step from `start_ms` to `end_ms`.
    ///
    /// # Errors
    /// As [`Ask::vector`].
    fn range(&self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64)
    -> Result<Vec<RangeSeries>, String>;
}

/// The server's own store.
pub struct Prom<S> {
    engine: Engine,
    source: S,
}

impl<S: Source> Prom<S> {
    /// Asks `engine` over `source`.
    pub fn new(engine: Engine, source: S) -> Self {
        Self { engine, source }
    }
}

#[expect(clippy::disallowed_methods, reason = "the deadline of a query starts when it is asked")]
fn options() -> QueryOptions {
    QueryOptions { guard: Guard::new(LIMITS, Instant::now()), lookback: None }
}

impl<S: Source> Ask for Prom<S> {
    fn vector(&self, expr: &str, at_ms: i64) -> Result<Vec<InstantSample>, String> {
        let answer = self.engine.instant(&self.source, expr, at_ms, &options());
        match answer.map_err(|error| error.to_string())?.value {
            Value::Vector(samples) => Ok(samples),
            Value::Scalar(value) => {
                Ok(vec![InstantSample { labels: binnacle_proto::Labels::empty(), t_ms: at_ms, value }])
            }
            _ => Err("the query answers neither a vector nor a number".to_owned()),
        }
    }

    fn samples(&self, expr: &str, at_ms: i64) -> Result<Vec<RangeSeries>, String> {
        let answer = self.engine.instant(&self.source, expr, at_ms, &options());
        matrix(answer.map_err(|error| error.to_string())?.value)
    }

    fn range(
        &self,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Vec<RangeSeries>, String> {
        let answer = self.engine.range(&self.source, expr, start_ms, end_ms, step_ms, &options());
        matrix(answer.map_err(|error| error.to_string())?.value)
    }
}

fn matrix(value: Value) -> Result<Vec<RangeSeries>, String> {
    match value {
        Value::Matrix(series) => Ok(series),
        _ => Err("the query does not answer a range".to_owned()),
    }
}
