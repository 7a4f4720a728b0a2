//! PromQL: from text to an answer.

mod duration;
mod number;
mod parse;
mod tokens;

use std::time::Duration;

use binnacle_proto::Labels;
use serde::Deserialize;

use crate::Error;
use crate::select::{Guard, Points, Source};

pub use duration::{format_duration, parse_duration};
pub use number::{format_value, format_value_json, parse_value};
pub use parse::{MAX_QUERY_BYTES, MAX_QUERY_DEPTH, format_query, parse_selector};

/// Evaluation settings; the section `[query]` of the server's config file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// How far back an instant selector looks, in milliseconds.
    pub lookback_delta_ms: i64,
    /// Most steps of a range query.
    pub max_points_per_series: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { lookback_delta_ms: 300_000, max_points_per_series: 11_000 }
    }
}

/// Settings of one query.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Its account.
    pub guard: Guard,
    /// Overrides [`EngineConfig::lookback_delta_ms`].
    pub lookback: Option<Duration>,
}

/// The result of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What makes the answer doubtful.
    pub warnings: Vec<String>,
    /// What may be of interest.
    pub infos: Vec<String>,
}

/// A PromQL value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number at the evaluation time.
    Scalar(f64),
    /// A string literal.
    String(String),
    /// One sample a series, in the order that the query asks for.
    Vector(Vec<InstantSample>),
    /// Points of each series: of range queries, and of range selectors in instant queries.
    Matrix(Vec<RangeSeries>),
}

/// One element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct InstantSample {
    /// Its labels.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub t_ms: i64,
    /// Its value.
    pub value: f64,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its points.
    pub points: Points,
}

/// Evaluates PromQL over a [`Source`]. Stateless; clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    #[expect(dead_code, reason = "the evaluator comes with the next change")]
    config: EngineConfig,
}

impl Engine {
    /// An engine with these settings.
    pub fn new(config: EngineConfig) -> Self {
        Self { config }
    }

    /// Evaluates `expr` at one instant. Blocks: call it from a blocking thread.
    ///
    /// # Errors
    /// [`Error::Parse`], [`Error::Execution`], [`Error::Limit`], [`Error::Storage`].
    pub fn instant(
        &self,
        _source: &dyn Source,
        _expr: &str,
        _at_ms: i64,
        _options: &QueryOptions,
    ) -> Result<Answer, Error> {
        Err(Error::Execution("not evaluated yet".into()))
    }

    /// Evaluates `expr` at `start_ms`, `start_ms + step_ms`, … up to `end_ms`; the value is a matrix.
    /// Blocks: call it from a blocking thread.
    ///
    /// # Errors
    /// As [`Engine::instant`], and [`Error::BadInput`] for impossible bounds.
    pub fn range(
        &self,
        _source: &dyn Source,
        _expr: &str,
        _start_ms: i64,
        _end_ms: i64,
        _step_ms: i64,
        _options: &QueryOptions,
    ) -> Result<Answer, Error> {
        Err(Error::Execution("not evaluated yet".into()))
    }
}
