//! `delete`: requests are carried out at once, and remembered until the process ends.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::params::Params;
use super::{Api, Failure, answer};
use crate::logql::parse_log;

/// Requests remembered; older ones are forgotten.
const REMEMBERED: usize = 1000;

/// `POST /loki/api/v1/delete`
pub(super) async fn request(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let query = params.query()?.to_owned();
    let log = parse_log(&query)?;
    let start = params.time("start")?.ok_or_else(|| Failure::bad("start time required"))?;
    let now_ns = api.now_ns();
    let end = params.time("end")?.unwrap_or(now_ns);
    if end < start {
        return Err(Failure::bad("start time can't be greater than end time"));
    }
    let deleted = api.blocking(move |db| db.delete(&log, start, end)).await?;
    tracing::info!(query, deleted, "log records were deleted");
    let mut deletes = api.deletes.lock();
    if deletes.len() >= REMEMBERED {
        deletes.remove(0);
    }
    let id = format!("{:08x}", now_ns as u64 ^ deletes.len() as u64);
    let second = |ns: i64| ns.div_euclid(1_000_000_000);
    deletes.push(json!({
        "request_id": id, "start_time": second(start), "end_time": second(end), "query": query,
        "status": "processed", "created_at": second(now_ns), "deleted_lines": deleted,
    }));
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /loki/api/v1/delete`
pub(super) async fn list(State(api): State<Api>) -> Response {
    let deletes = api.deletes.lock();
    answer::json(serde_json::Value::Array(deletes.clone()).to_string())
}
