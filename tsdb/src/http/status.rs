//! What the server is and does: `status/…`.

use axum::extract::State;
use jiff::Timestamp;
use serde_json::json;

use super::Api;
use super::answer::{ApiError, Outcome, success};
use super::params::Params;
use crate::ReplayProgress;

/// The Prometheus version whose API this is. Clients, Grafana among them, choose what they ask by it.
const API_VERSION: &str = "3.5.0";

/// `GET /api/v1/status/buildinfo`. There is no `features` field: by it Grafana would take the server
/// for Mimir.
pub(super) async fn buildinfo(State(api): State<Api>) -> Outcome {
    success(&json!({
        "version": API_VERSION,
        "revision": api.0.info.revision,
        "branch": format!("binnacle-{}", env!("CARGO_PKG_VERSION")),
        "buildUser": "",
        "buildDate": "",
        "goVersion": api.0.info.compiler,
    }))
}

/// `GET /api/v1/status/runtimeinfo`.
pub(super) async fn runtimeinfo(State(api): State<Api>) -> Outcome {
    let rules = api.rules();
    let loaded = rules.as_ref().map(crate::rules::Handle::last_reload);
    success(&json!({
        "startTime": rfc3339(api.0.info.start_ms),
        "CWD": std::env::current_dir().unwrap_or_default(),
        "hostname": "",
        "serverTime": rfc3339(api.now_ms()),
        "reloadConfigSuccess": loaded.is_none_or(|loaded| loaded.successful),
        "lastConfigTime": rfc3339(loaded.map_or(api.0.info.start_ms, |loaded| loaded.at_ms)),
        "corruptionCount": 0,
        "goroutineCount": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": i64::MAX,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": "",
    }))
}

/// `GET /api/v1/status/config`.
pub(super) async fn config(State(api): State<Api>) -> Outcome {
    success(&json!({ "yaml": api.0.info.config_text }))
}

/// `GET /api/v1/status/flags`.
pub(super) async fn flags(State(api): State<Api>) -> Outcome {
    let flags: std::collections::BTreeMap<_, _> = api.0.info.flags.iter().cloned().collect();
    success(&flags)
}

/// `GET /api/v1/status/tsdb`: `limit` counts the entries of each list.
pub(super) async fn tsdb(State(api): State<Api>, params: Params) -> Outcome {
    if params.one("limit") == Some("0") {
        return Err(ApiError::parameter("limit", "limit must be a positive number"));
    }
    let limit = params.limit("limit")?.unwrap_or(10);
    let status =
        super::explore::on_blocking_thread(&api, move |api, _| Ok(api.0.db.tsdb_status(limit))).await?;
    let top = |counts: &[(String, u64)]| -> Vec<_> {
        counts.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
    };
    success(&json!({
        "headStats": {
            "numSeries": status.num_series,
            "numLabelPairs": status.num_label_pairs,
            "chunkCount": status.num_series,
            "minTime": status.min_ms.unwrap_or(i64::MAX),
            "maxTime": status.max_ms.unwrap_or(i64::MIN),
        },
        "seriesCountByMetricName": top(&status.series_by_metric),
        "labelValueCountByLabelName": top(&status.values_by_label),
        "memoryInBytesByLabelName": top(&status.bytes_by_label),
        "seriesCountByLabelValuePair": top(&status.series_by_pair),
    }))
}

/// `GET /api/v1/status/walreplay`.
pub(super) async fn walreplay(State(api): State<Api>) -> Outcome {
    success(&replay_status(api.0.db.replay_progress()))
}

/// The data of `status/walreplay`; whoever opens the database answers with it meanwhile.
pub fn replay_status(progress: &ReplayProgress) -> serde_json::Value {
    json!({
        "min": progress.first(),
        "max": progress.last(),
        "current": progress.current(),
        "state": progress.state_name(),
    })
}

/// `GET /api/v1/notifications`: the server has nothing to tell its own page.
pub(super) async fn notifications() -> Outcome {
    success(&[(); 0])
}

/// Milliseconds since the epoch as RFC 3339 in UTC.
pub(super) fn rfc3339(t_ms: i64) -> String {
    Timestamp::from_millisecond(t_ms).unwrap_or_default().to_string()
}
