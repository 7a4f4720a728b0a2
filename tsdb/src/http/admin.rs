//! `admin/tsdb/…`: deletes and snapshots. Only with `http.enable_admin_api`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::json;

use super::Api;
use super::answer::{ApiError, Outcome, success};
use super::explore::on_blocking_thread;
use super::params::Params;
use crate::TimeRange;

/// `delete_series`: `match[]` (at least one), `start`, `end`.
pub(super) async fn delete_series(State(api): State<Api>, params: Params) -> Outcome {
    allowed(&api)?;
    let selectors = params.selectors()?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = TimeRange {
        start_ms: params.time_or("start", TimeRange::ALL.start_ms)?,
        end_ms: params.time_or("end", TimeRange::ALL.end_ms)?,
    };
    on_blocking_thread(&api, move |api, _| api.0.db.delete_series(&selectors, range)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `clean_tombstones`: deletes free their space as they are made, so there is nothing left to clean.
pub(super) async fn clean_tombstones(State(api): State<Api>) -> Outcome {
    allowed(&api)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `snapshot`: a consistent copy in the folder `snapshots` beside the database's; the answer has its name.
pub(super) async fn snapshot(State(api): State<Api>, params: Params) -> Outcome {
    allowed(&api)?;
    if let Some(text) = params.one("skip_head").filter(|text| !matches!(*text, "false" | "0" | "f")) {
        let reason = match text {
            "true" | "1" | "t" => "snapshots always hold what is in memory".to_owned(),
            _ => format!("unable to parse boolean: {text:?}"),
        };
        return Err(ApiError::parameter("skip_head", reason));
    }
    let taken = jiff::Timestamp::from_millisecond(api.now_ms()).unwrap_or_default();
    let name = taken.strftime("%Y%m%dT%H%M%S%3fZ").to_string();
    let parent = api.0.db.dir().parent().unwrap_or(api.0.db.dir()).join("snapshots");
    let dir = parent.join(&name);
    on_blocking_thread(&api, move |api, _| {
        std::fs::create_dir_all(&parent).map_err(|error| crate::Error::Storage {
            context: format!("creating {}", parent.display()),
            reason: error.to_string(),
        })?;
        api.0.db.snapshot(&dir)
    })
    .await?;
    success(&json!({ "name": name }))
}

fn allowed(api: &Api) -> Result<(), ApiError> {
    if api.0.config.enable_admin_api {
        return Ok(());
    }
    Err(ApiError::unavailable("admin APIs are disabled: set http.enable_admin_api = true"))
}
