//! `query_exemplars`: exemplars of the series that an expression selects.

use axum::extract::State;

use super::Api;
use super::answer::{ApiError, Outcome, json_response};
use super::explore::on_blocking_thread;
use super::json::{write_float, write_labels, write_time};
use super::params::Params;

/// `GET|POST /api/v1/query_exemplars`: `query`, `start`, `end`.
pub(super) async fn query(State(api): State<Api>, params: Params) -> Outcome {
    let start_ms = params.time_or("start", i64::MIN)?;
    let end_ms = params.time_or("end", i64::MAX)?;
    if end_ms < start_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = params.one("query").unwrap_or_default();
    let selectors = crate::promql::selectors(query).map_err(|error| ApiError::parameter("query", error))?;
    let found = on_blocking_thread(&api, move |api, guard| {
        api.0.exemplars.select(&selectors, start_ms, end_ms, guard)
    });
    let mut out = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (i, (series, exemplars)) in found.await?.iter().enumerate() {
        out.extend_from_slice(if i > 0 { b",{\"seriesLabels\":" } else { b"{\"seriesLabels\":" });
        write_labels(&mut out, series);
        out.extend_from_slice(b",\"exemplars\":[");
        for (i, exemplar) in exemplars.iter().enumerate() {
            out.extend_from_slice(if i > 0 { b",{\"labels\":" } else { b"{\"labels\":" });
            write_labels(&mut out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":\"");
            write_float(&mut out, exemplar.value);
            out.extend_from_slice(b"\",\"timestamp\":");
            write_time(&mut out, exemplar.t_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    Ok(json_response(out))
}
