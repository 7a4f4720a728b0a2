//! `query` and `query_range`: evaluation on a blocking thread, the answer streamed.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::{ApiError, Outcome, json_response};
use super::json::{
    Chunk, Gone, JsonWriter, write_labels, write_point, write_string, write_strings, write_time,
};
use super::params::Params;
use super::{Api, metrics};
use crate::promql::{Answer, PlanNode, QueryOptions, Value, format_value};
use crate::select::Guard;

const STEP_TOO_SMALL: &str =
    "zero or negative query resolution step widths are not accepted. Try a positive integer";

/// Steps of a range query at most, as in Prometheus.
const MAX_POINTS: i64 = 11_000;

/// What a sample in memory takes: time and value. Peaks are counted in bytes and told in samples, too.
const SAMPLE_BYTES: u64 = 16;

/// Chunks of an answer that may wait for a slow client.
const CHUNKS_IN_FLIGHT: usize = 4;

/// `GET|POST /api/v1/query`: `query`, `time`, `timeout`, `limit`, `lookback_delta`, `stats`;
/// and, beyond Prometheus, `explain=1` for the plan with its costs.
pub(super) async fn instant(State(api): State<Api>, params: Params) -> Outcome {
    let at_ms = params.time_or("time", api.now_ms())?;
    let request = Request::read(&params, at_ms)?;
    let explain = request.explain;
    evaluate(api, request, move |api, query, options| {
        let (engine, db) = (&api.0.engine, &api.0.db);
        if explain {
            let (answer, plan) = engine.explain_instant(db, query, at_ms, options)?;
            return Ok((answer, Some(plan)));
        }
        Ok((engine.instant(db, query, at_ms, options)?, None))
    })
    .await
}

/// `GET|POST /api/v1/query_range`: as `query`, with `start`, `end`, `step`.
pub(super) async fn range(State(api): State<Api>, params: Params) -> Outcome {
    let start_ms = params.time("start")?;
    let end_ms = params.time("end")?;
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    if params.one("step").is_some_and(|step| step.starts_with('-')) {
        return Err(ApiError::parameter("step", STEP_TOO_SMALL));
    }
    let Some(step) = params.duration("step")? else {
        return Err(ApiError::parameter("step", "cannot parse \"\" to a valid duration"));
    };
    let step_ms = step.as_millis() as i64;
    if step_ms <= 0 {
        return Err(ApiError::parameter("step", STEP_TOO_SMALL));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > MAX_POINTS {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
        ));
    }
    let request = Request::read(&params, end_ms)?;
    let explain = request.explain;
    evaluate(api, request, move |api, query, options| {
        let (engine, db) = (&api.0.engine, &api.0.db);
        if explain {
            let (answer, plan) = engine.explain_range(db, query, start_ms, end_ms, step_ms, options)?;
            return Ok((answer, Some(plan)));
        }
        Ok((engine.range(db, query, start_ms, end_ms, step_ms, options)?, None))
    })
    .await
}

/// What the kinds of query have in common.
struct Request {
    query: String,
    /// The instant at which a scalar or string holds.
    at_ms: i64,
    timeout: Option<Duration>,
    lookback: Option<Duration>,
    limit: Option<usize>,
    stats: bool,
    explain: bool,
}

impl Request {
    fn read(params: &Params, at_ms: i64) -> Result<Self, ApiError> {
        Ok(Self {
            query: params.one("query").unwrap_or_default().to_owned(),
            at_ms,
            timeout: params.duration("timeout")?,
            lookback: params.duration("lookback_delta")?.filter(|delta| !delta.is_zero()),
            limit: params.limit("limit")?,
            stats: params.one("stats").is_some(),
            explain: matches!(params.one("explain"), Some("1" | "true")),
        })
    }
}

/// Cancels the query when the client goes: the handler or the body that holds it is dropped then.
struct CancelOnDrop(Guard);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[expect(clippy::disallowed_methods, reason = "measures how long a query waits and runs")]
async fn evaluate<F>(api: Api, request: Request, run: F) -> Outcome
where
    F: FnOnce(&Api, &str, &QueryOptions) -> Result<(Answer, Option<PlanNode>), crate::Error> + Send + 'static,
{
    let began = Instant::now();
    let limits = api.limits(request.timeout);
    let longest = limits.timeout.min(Duration::from_secs(api.0.config.query_queue_seconds));
    let Ok(Ok(permit)) = tokio::time::timeout(longest, api.0.queries.clone().acquire_owned()).await else {
        api.0.counters.query_failed();
        return Err(ApiError::timeout(format!(
            "query waited {longest:?} for its turn (limit http.query_queue_seconds): {} queries run at one time \
             (limit http.query_concurrency)",
            api.0.config.query_concurrency
        )));
    };
    let queued = began.elapsed();
    // From now on and not from the arrival: under load every query would be cut shortly before its end, and
    // what was spent on it lost.
    let guard = Guard::new(limits, Instant::now());
    let cancel = CancelOnDrop(guard.clone());
    let (parts, mut received) = mpsc::channel::<Chunk>(CHUNKS_IN_FLIGHT);
    let worker = api.clone();
    let task = api.on_query_thread(move || -> Result<(), ApiError> {
        let _permit = permit;
        let running = metrics::Running::start(&worker.0.counters);
        let options = QueryOptions { guard, lookback: request.lookback };
        let (answer, plan) = run(&worker, &request.query, &options).map_err(explained)?;
        let took = Took { queued, total: began.elapsed() };
        running.evaluated(took.total, options.guard.samples());
        let mut json = JsonWriter::new(parts);
        // A client that has gone is not an error of the query.
        let _: Result<(), Gone> =
            write_answer(&mut json, &answer, plan.as_ref(), &request, &options.guard, took)
                .and_then(|()| json.finish());
        Ok(())
    });
    let body = match received.recv().await {
        Some(Chunk::Whole(all)) => Body::from(all),
        Some(Chunk::Part(first)) => {
            let rest = ReceiverStream::new(received).map(move |chunk| {
                // Held until the client has the last chunk; a client that goes cancels the query.
                let _held = &cancel;
                match chunk {
                    Chunk::Part(part) | Chunk::Whole(part) => Ok::<Bytes, Infallible>(part),
                }
            });
            Body::from_stream(futures::stream::iter([Ok(first)]).chain(rest))
        }
        None => {
            api.0.counters.query_failed();
            return match task.await {
                Ok(Err(error)) => Err(error),
                _ => Err(ApiError::internal("the query ended without an answer")),
            };
        }
    };
    Ok(json_response(body))
}

/// How long a query waited and ran.
#[derive(Clone, Copy)]
struct Took {
    /// Until its turn came.
    queued: Duration,
    /// From its arrival.
    total: Duration,
}

fn explained(error: crate::Error) -> ApiError {
    match error {
        crate::Error::Parse(reason) => ApiError::parameter("query", reason),
        crate::Error::BadInput(reason) if reason.starts_with("invalid expression type") => {
            ApiError::parameter("query", reason)
        }
        other => other.into(),
    }
}

fn write_answer(
    json: &mut JsonWriter,
    answer: &Answer,
    plan: Option<&PlanNode>,
    request: &Request,
    guard: &Guard,
    took: Took,
) -> Result<(), Gone> {
    let limit = request.limit.unwrap_or(usize::MAX);
    json.raw("{\"status\":\"success\",\"data\":{\"resultType\":");
    let truncated = match &answer.value {
        Value::Scalar(value) => {
            json.raw("\"scalar\",\"result\":[");
            write_time(json.out(), request.at_ms);
            // Scalars never have an exponent.
            json.raw(&format!(",\"{}\"]", format_value(*value)));
            false
        }
        Value::String(value) => {
            json.raw("\"string\",\"result\":[");
            write_time(json.out(), request.at_ms);
            json.raw(",");
            write_string(json.out(), value);
            json.raw("]");
            false
        }
        Value::Vector(samples) => {
            json.raw("\"vector\",\"result\":[");
            for (i, sample) in samples.iter().take(limit).enumerate() {
                json.raw(if i > 0 { ",{\"metric\":" } else { "{\"metric\":" });
                write_labels(json.out(), &sample.labels);
                json.raw(",\"value\":");
                write_point(json.out(), sample.t_ms, sample.value);
                json.raw("}");
                json.pass_on()?;
            }
            json.raw("]");
            samples.len() > limit
        }
        Value::Matrix(series) => {
            json.raw("\"matrix\",\"result\":[");
            for (i, one) in series.iter().take(limit).enumerate() {
                json.raw(if i > 0 { ",{\"metric\":" } else { "{\"metric\":" });
                write_labels(json.out(), &one.labels);
                json.raw(",\"values\":");
                json.points(&one.points)?;
                json.raw("}");
            }
            json.raw("]");
            series.len() > limit
        }
    };
    if request.stats {
        let text = format!(
            ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{0},\"resultSortTime\":0,\"queryPreparationTime\":0,\
             \"innerEvalTime\":{0},\"execQueueTime\":{1},\"execTotalTime\":{2}}},\
             \"samples\":{{\"totalQueryableSamples\":{3},\"peakSamples\":{4},\"peakBytes\":{5}}}}}",
            (took.total - took.queued).as_secs_f64(),
            took.queued.as_secs_f64(),
            took.total.as_secs_f64(),
            guard.samples(),
            guard.peak_bytes() / SAMPLE_BYTES,
            guard.peak_bytes()
        );
        json.raw(&text);
    }
    if let Some(plan) = plan {
        json.raw(",\"explain\":");
        // A plan is numbers and texts: it always has a JSON form.
        json.raw(&serde_json::to_string(plan).unwrap_or_default());
    }
    json.raw("}");
    let cut = truncated.then_some("results truncated due to limit");
    if !answer.warnings.is_empty() || truncated {
        json.raw(",\"warnings\":");
        write_strings(json.out(), answer.warnings.iter().map(String::as_str).chain(cut));
    }
    if !answer.infos.is_empty() {
        json.raw(",\"infos\":");
        write_strings(json.out(), answer.infos.iter().map(String::as_str));
    }
    json.raw("}");
    Ok(())
}
