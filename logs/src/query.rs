//! Evaluating LogQL over the store.

mod detect;
mod fields;
mod filter;
mod guard;
mod ip;
mod json;
mod level;
mod lines;
mod logfmt;
mod metric;
mod pattern;
mod pipeline;
mod range;
mod scan;
mod template;
mod vector;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use binnacle_proto::Labels;

pub(crate) use detect::{field_pairs, mask};
pub(crate) use fields::Fields;
pub(crate) use filter::check_regex;
pub(crate) use guard::Guard;
pub(crate) use ip::check_ip;
pub(crate) use lines::Found;
pub(crate) use pattern::check_pattern;
pub(crate) use pipeline::{Needs, Pipeline, Row};
pub(crate) use scan::{Passed, Plan, scan};
pub(crate) use template::check_template;

use crate::logql::{Expr, parse};
use crate::{Db, Error, Limits};

/// What is asked.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// LogQL.
    pub text: String,
    /// Begin of the range, in nanoseconds since the epoch, inclusive.
    pub start_ns: i64,
    /// End of the range: exclusive for lines, the last step at most for numbers. The instant, when
    /// `step_ns` is 0.
    pub end_ns: i64,
    /// Distance of steps in nanoseconds; 0 asks a metric query for the one instant `end_ns`.
    pub step_ns: i64,
    /// Most lines wanted.
    pub limit: usize,
    /// Which lines come first.
    pub direction: Direction,
}

/// Which lines come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// The latest.
    #[default]
    Backward,
    /// The earliest.
    Forward,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What it cost.
    pub stats: QueryStats,
}

/// A value of LogQL.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Lines by stream.
    Streams(Vec<LogStream>),
    /// Series with a value at each of some steps.
    Matrix(Vec<Series>),
    /// Series with one value.
    Vector(Vec<Sample>),
    /// A number.
    Scalar(f64),
}

/// Lines with equal labels.
#[derive(Debug, Clone, PartialEq)]
pub struct LogStream {
    /// Labels of the stream and what the pipeline made of them.
    pub labels: Labels,
    /// Lines in the direction of the query.
    pub entries: Vec<Entry>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// The line as the pipeline left it; any bytes.
    pub line: Vec<u8>,
    /// Labels of the stream as it was stored.
    pub stream: Labels,
    /// Structured metadata after the pipeline.
    pub metadata: Labels,
    /// Labels that the pipeline added.
    pub parsed: Labels,
}

/// One series of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Time in nanoseconds since the epoch, and value; times ascend.
    pub points: Vec<(i64, f64)>,
}

/// One series of a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: Labels,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// Its value.
    pub value: f64,
}

/// What a query cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Line bytes looked at.
    pub bytes: u64,
    /// Lines looked at.
    pub lines: u64,
    /// Sealed blocks opened.
    pub blocks: u64,
    /// Sealed blocks that a filter ruled out.
    pub ruled_out: u64,
    /// Streams selected.
    pub streams: u64,
    /// Lines or samples in the answer.
    pub entries: u64,
    /// Run time in microseconds.
    pub micros: u64,
}

impl Db {
    /// Evaluates a query under the store's own limits. Blocks: call it from a blocking thread.
    ///
    /// # Errors
    /// [`Error::Parse`], [`Error::Execution`], [`Error::Limit`], [`Error::Timeout`],
    /// [`Error::Storage`], [`Error::BadInput`].
    pub fn query(&self, query: &LogQuery) -> Result<Answer, Error> {
        let limits = self.config().query.clone();
        self.query_within(query, &limits)
    }

    /// Evaluates a query under the given limits. Blocks.
    ///
    /// # Errors
    /// As [`Db::query`].
    pub fn query_within(&self, query: &LogQuery, limits: &Limits) -> Result<Answer, Error> {
        self.query_guarded(query, &Guard::new(limits))
    }

    /// As [`Db::query_within`]; the query ends early when `canceled` is set.
    pub(crate) fn query_until(
        &self,
        query: &LogQuery,
        limits: &Limits,
        canceled: Arc<AtomicBool>,
    ) -> Result<Answer, Error> {
        self.query_guarded(query, &Guard::until(limits, canceled))
    }

    fn query_guarded(&self, query: &LogQuery, guard: &Guard) -> Result<Answer, Error> {
        let answer = self.evaluate(query, guard);
        let counters = &self.shared.counters;
        counters.queries.fetch_add(1, Relaxed);
        if guard.is_canceled() {
            counters.canceled_queries.fetch_add(1, Relaxed);
        } else if answer.is_err() {
            counters.failed_queries.fetch_add(1, Relaxed);
        }
        let stats = guard.stats();
        counters.scanned_bytes.fetch_add(stats.bytes, Relaxed);
        counters.opened_blocks.fetch_add(stats.blocks, Relaxed);
        counters.ruled_out_blocks.fetch_add(stats.ruled_out, Relaxed);
        answer.map(|value| Answer { stats: QueryStats { entries: value.len() as u64, ..stats }, value })
    }

    /// Parses a query; what is refused is counted.
    pub(crate) fn parsed(&self, text: &str, max_bytes: usize) -> Result<Expr, Error> {
        let parsed = if text.len() > max_bytes {
            let reason = format!("the query is longer than {max_bytes} bytes (logs.query.max_query_bytes)");
            Err(Error::Limit(reason))
        } else {
            parse(text)
        };
        if parsed.is_err() {
            self.shared.counters.refused_queries.fetch_add(1, Relaxed);
        }
        parsed
    }

    fn evaluate(&self, query: &LogQuery, guard: &Guard) -> Result<Value, Error> {
        let limits = guard.limits();
        match self.parsed(&query.text, limits.max_query_bytes)? {
            Expr::Log(log) => {
                let max = limits.max_entries;
                if query.limit > max {
                    let limit = query.limit;
                    return Err(Error::Limit(format!(
                        "max entries limit per query exceeded, limit > max_entries_limit ({limit} > {max}) (logs.query.max_entries)"
                    )));
                }
                lines::evaluate(self, &log, query, guard).map(Value::Streams)
            }
            Expr::Metric(metric) => metric::evaluate(self, &metric, query, guard),
        }
    }
}

/// A float as Go and JavaScript write it: shortest digits that read back.
pub(crate) fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    value.to_string()
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Streams(streams) => streams.iter().map(|stream| stream.entries.len()).sum(),
            Self::Matrix(series) => series.iter().map(|series| series.points.len()).sum(),
            Self::Vector(samples) => samples.len(),
            Self::Scalar(_) => 1,
        }
    }
}
