//! What is there to query: `series`, `labels`, `label/<name>/values`, `metadata`.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::extract::{Path, State};
use serde::Serialize;

use super::Api;
use super::answer::{ApiError, Outcome, json_response, success};
use super::json::{write_labels, write_string, write_strings};
use super::params::{Params, unescape_label_name};
use crate::select::{Guard, Matcher};
use crate::{Listed, TimeRange};

/// Time range, selectors and limit of a look at the index.
struct Look {
    range: TimeRange,
    selectors: Vec<Vec<Matcher>>,
    /// 0 is none.
    limit: usize,
}

impl Look {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let range = TimeRange {
            start_ms: params.time_or("start", TimeRange::ALL.start_ms)?,
            end_ms: params.time_or("end", TimeRange::ALL.end_ms)?,
        };
        let limit = params.limit("limit")?.unwrap_or(0);
        Ok(Self { range, selectors: params.selectors()?, limit })
    }
}

/// `GET|POST /api/v1/series`: `match[]` (at least one), `start`, `end`, `limit`.
pub(super) async fn series(State(api): State<Api>, params: Params) -> Outcome {
    let look = Look::read(&params)?;
    if look.selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let found = on_blocking_thread(&api, move |api, guard| {
        api.0.db.series(&look.selectors, look.range, look.limit, guard)
    });
    listed(found.await?, write_labels)
}

/// `GET|POST /api/v1/labels`: label names.
pub(super) async fn labels(State(api): State<Api>, params: Params) -> Outcome {
    let look = Look::read(&params)?;
    let found = on_blocking_thread(&api, move |api, guard| {
        api.0.db.label_names(&look.selectors, look.range, look.limit, guard)
    });
    listed(found.await?, |out, name| write_string(out, name))
}

/// `GET /api/v1/label/<name>/values`.
pub(super) async fn label_values(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
) -> Outcome {
    let name = unescape_label_name(&name).into_owned();
    if name.is_empty() {
        return Err(ApiError::bad_data("the label name is empty"));
    }
    let look = Look::read(&params)?;
    let found = on_blocking_thread(&api, move |api, guard| {
        api.0.db.label_values(&name, &look.selectors, look.range, look.limit, guard)
    });
    listed(found.await?, |out, value| write_string(out, value))
}

/// `GET /api/v1/metadata`: `metric`, `limit`, `limit_per_metric`.
pub(super) async fn metadata(State(api): State<Api>, params: Params) -> Outcome {
    #[derive(Serialize)]
    struct Entry<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        help: &'a str,
        unit: &'a str,
    }
    let limit = params.limit("limit")?.unwrap_or(usize::MAX);
    // A family has one entry here, so any limit an entry per metric is kept.
    params.limit("limit_per_metric")?;
    let families = api.metadata().families(params.one("metric"), limit);
    let data: BTreeMap<&str, [Entry<'_>; 1]> = families
        .iter()
        .map(|(name, family)| {
            let entry = Entry { kind: family.kind.as_str(), help: &family.help, unit: &family.unit };
            (name.as_str(), [entry])
        })
        .collect();
    success(&data)
}

fn listed<T>(found: Listed<T>, write: impl Fn(&mut Vec<u8>, &T)) -> Outcome {
    let mut out = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (i, item) in found.items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(&mut out, item);
    }
    out.push(b']');
    let cut = found.truncated.then_some("results truncated due to limit");
    if !found.warnings.is_empty() || cut.is_some() {
        out.extend_from_slice(b",\"warnings\":");
        write_strings(&mut out, found.warnings.iter().map(String::as_str).chain(cut));
    }
    out.push(b'}');
    Ok(json_response(out))
}

#[expect(clippy::disallowed_methods, reason = "the deadline of a request counts from its arrival")]
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Api, &Guard) -> Result<T, crate::Error> + Send + 'static,
) -> Result<T, ApiError> {
    let guard = Guard::new(api.limits(None), Instant::now());
    let worker = api.clone();
    let done = api.on_query_thread(move || work(&worker, &guard)).await;
    done.map_err(|_| ApiError::internal("the look-up ended without an answer"))?.map_err(ApiError::from)
}
