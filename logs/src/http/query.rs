//! `query` and `query_range`.

use axum::extract::State;
use axum::response::Response;

use super::params::Params;
use super::{Api, Failure, answer};
use crate::logql::Expr;
use crate::{Direction, LogQuery};

/// The span of a query that does not name one, in nanoseconds.
pub(super) const HOUR: i64 = 3_600_000_000_000;
/// A range query without a step gets about so many steps, and none shorter than a second.
const DEFAULT_STEPS: i64 = 250;
const SECOND: i64 = 1_000_000_000;

fn direction(params: &Params) -> Result<Direction, Failure> {
    match params.get("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(other) => Err(Failure::bad(format!("direction={other:?} is neither forward nor backward"))),
    }
}

async fn run(api: &Api, params: &Params, query: LogQuery) -> Result<Response, Failure> {
    let categorize = params.encoding_flags.iter().any(|flag| flag == "categorize-labels");
    let end_ns = query.end_ns;
    let mut limits = api.query_limits();
    // Who keeps labels apart, as Grafana does, is told the level of each line as structured metadata.
    limits.detect_level |= categorize;
    let body = api.query(query, limits, move |answer| answer::encode(&answer, categorize, end_ns)).await?;
    Ok(answer::json(body))
}

/// `GET /loki/api/v1/query`
pub(super) async fn instant(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let text = params.query()?.to_owned();
    let at = params.time("time")?.unwrap_or_else(|| api.now_ns());
    let max_bytes = api.db.config().query.max_query_bytes;
    if matches!(api.db.parsed(&text, max_bytes)?, Expr::Log(_)) {
        return Err(Failure::bad(
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ));
    }
    let limit = params.number("limit")?.unwrap_or(api.limits.default_entries);
    let query =
        LogQuery { text, start_ns: at, end_ns: at, step_ns: 0, limit, direction: direction(&params)? };
    run(&api, &params, query).await
}

/// `GET /loki/api/v1/query_range`
pub(super) async fn range(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let text = params.query()?.to_owned();
    let (start_ns, end_ns) = params.span(api.now_ns(), HOUR)?;
    if end_ns < start_ns {
        return Err(Failure::bad("end timestamp must not be before or equal to start time"));
    }
    let default_step = || ((end_ns - start_ns) / DEFAULT_STEPS / SECOND).max(1) * SECOND;
    let step_ns = params.step("step")?.unwrap_or_else(default_step);
    let limit = params.number("limit")?.unwrap_or(api.limits.default_entries);
    let query = LogQuery { text, start_ns, end_ns, step_ns, limit, direction: direction(&params)? };
    run(&api, &params, query).await
}
