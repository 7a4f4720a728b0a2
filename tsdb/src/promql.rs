//! PromQL: from text to an answer.

mod column;
mod duration;
mod eval;
mod explain;
mod mistake;
mod notation;
mod notes;
mod number;
mod parse;
mod plan;
mod positions;
mod query;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::Labels;
use serde::Deserialize;

use crate::select::{Guard, Points};

pub use duration::{format_duration, parse_duration};
pub use explain::PlanNode;
pub use notation::{RowPoint, SeriesRow, parse_series_row};
pub(crate) use notation::{parse_points, parse_series};
pub use number::{format_value, format_value_json, parse_value};
pub(crate) use parse::selectors;
pub use parse::{MAX_QUERY_BYTES, MAX_QUERY_DEPTH, format_query, parse_selector};

/// Evaluation settings; the section `[query]` of the server's config file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// How far back an instant selector looks, in milliseconds.
    pub lookback_delta_ms: i64,
    /// Most steps of a range query.
    pub max_points_per_series: usize,
    /// Step of subqueries that name none, in milliseconds.
    pub subquery_step_ms: i64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { lookback_delta_ms: 300_000, max_points_per_series: 11_000, subquery_step_ms: 60_000 }
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

/// Evaluates PromQL over a [`Source`](crate::Source). Stateless; clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    config: EngineConfig,
    /// Where work is spread; without, on the process' pool.
    pool: Option<Arc<rayon::ThreadPool>>,
}

#[cfg(test)]
mod tests;
