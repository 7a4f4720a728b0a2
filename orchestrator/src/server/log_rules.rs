//! The log store as rules see it: LogQL expressions to series.

use binnacle_logs::{Db, Direction, Expr, LogQuery, Value};
use binnacle_proto::Labels;
use binnacle_tsdb::rules::LogQueries;

/// Evaluates over a store.
pub(super) struct LogRules(pub(super) Db);

/// Checks expressions; there is no store to evaluate them on.
pub(crate) struct CheckOnly;

impl LogQueries for LogRules {
    fn check(&self, expr: &str) -> Result<(), String> {
        check(expr)
    }

    fn instant(&self, expr: &str, at_ms: i64) -> Result<Vec<(Labels, f64)>, String> {
        let at_ns = at_ms.saturating_mul(1_000_000);
        let query = LogQuery {
            text: expr.to_owned(),
            start_ns: at_ns,
            end_ns: at_ns,
            step_ns: 0,
            limit: 0,
            direction: Direction::Forward,
        };
        match self.0.query(&query).map_err(|error| error.to_string())?.value {
            Value::Vector(samples) => {
                Ok(samples.into_iter().map(|sample| (sample.labels, sample.value)).collect())
            }
            Value::Scalar(value) => Ok(vec![(Labels::empty(), value)]),
            Value::Streams(_) | Value::Matrix(_) => Err(WANTS_LINES.into()),
        }
    }
}

impl LogQueries for CheckOnly {
    fn check(&self, expr: &str) -> Result<(), String> {
        check(expr)
    }

    fn instant(&self, _: &str, _: i64) -> Result<Vec<(Labels, f64)>, String> {
        Err("there is no log store here".into())
    }
}

const WANTS_LINES: &str =
    "the expression asks for lines; a rule needs numbers, e.g. sum(count_over_time({app=\"a\"}[5m]))";

fn check(expr: &str) -> Result<(), String> {
    match binnacle_logs::parse(expr) {
        Ok(Expr::Metric(_)) => Ok(()),
        Ok(Expr::Log(_)) => Err(WANTS_LINES.into()),
        Err(error) => Err(error.to_string()),
    }
}
