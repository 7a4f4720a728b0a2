//! `POST /api/v1/read` and `GET /federate`: samples for other Prometheus servers.

use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use binnacle_proto::{Labels, is_classic_name};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Api;
use super::answer::{ApiError, Outcome};
use super::explore::on_blocking_thread;
use super::json::write_float;
use super::params::Params;
use crate::remote::ReadRequest;
use crate::select::{Guard, Hints, Points, Select, Source as _};

/// Largest request after decompression, in bytes: it holds selectors only.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Frames of a stream that may wait for a slow client.
const FRAMES_IN_FLIGHT: usize = 16;

/// Remote read with samples, or with a stream of chunks for clients that prefer it.
#[expect(clippy::disallowed_methods, reason = "the deadline of a request counts from its arrival")]
pub(super) async fn read(State(api): State<Api>, request: Request) -> Outcome {
    let too_large = || ApiError::too_large(format!("a read request has at most {MAX_REQUEST_BYTES} bytes"));
    let body = to_bytes(request.into_body(), MAX_REQUEST_BYTES).await.map_err(|_| too_large())?;
    let not_snappy =
        |error: snap::Error| ApiError::bad_data(format!("the body is not a snappy block: {error}"));
    if snap::raw::decompress_len(&body).map_err(not_snappy)? > MAX_REQUEST_BYTES {
        return Err(too_large());
    }
    let decoded = snap::raw::Decoder::new().decompress_vec(&body).map_err(not_snappy)?;
    let request = ReadRequest::decode(&decoded)?;
    if !request.wants_chunks {
        let response = on_blocking_thread(&api, move |api, guard| request.samples(&api.0.db, guard)).await?;
        let body = snap::raw::Encoder::new()
            .compress_vec(&response)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let mut response = typed("application/x-protobuf", body.into());
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        return Ok(response);
    }
    let guard = Guard::new(api.limits(None), Instant::now());
    let (frames, received) = mpsc::channel::<Result<Bytes, crate::Error>>(FRAMES_IN_FLIGHT);
    let worker = api.clone();
    api.on_query_thread(move || {
        let sent =
            request.chunks(&worker.0.db, &guard, |frame| frames.blocking_send(Ok(frame.into())).is_ok());
        if let Err(error) = sent {
            // The status is sent already: breaking the stream off is how the client learns of it.
            tracing::warn!(%error, "remote read: a stream was broken off");
            let _ = frames.blocking_send(Err(error));
        }
    });
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    Ok(typed(kind, Body::from_stream(ReceiverStream::new(received))))
}

/// The latest sample of every series that matches, in the text format.
///
/// Names that the old format cannot hold are written with underscores, unless the `Accept` header says
/// that the reader takes them as they are.
pub(super) async fn federate(State(api): State<Api>, headers: HeaderMap, params: Params) -> Outcome {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let any_name = accepted.contains("escaping=allow-utf-8");
    let selectors = params.selectors()?;
    let now_ms = api.now_ms();
    let text = on_blocking_thread(&api, move |api, guard| {
        let lookback_ms = api.0.engine.lookback_ms();
        let mut found = std::collections::BTreeMap::new();
        let mut points = Points::default();
        for matchers in selectors {
            let select =
                Select { matchers, start_ms: now_ms - lookback_ms, end_ms: now_ms, hints: Hints::default() };
            let selected = api.0.db.select(&select, guard)?;
            for (i, labels) in selected.series.iter().enumerate() {
                points.clear();
                selected.reader.read(i, guard, &mut points)?;
                let last = points.timestamps.last().copied().zip(points.values.last().copied());
                if let Some((t_ms, value)) = last.filter(|(_, value)| !binnacle_proto::is_stale(*value)) {
                    found.insert(labels.clone(), (t_ms, value));
                }
            }
        }
        let mut out = Vec::new();
        let mut family = String::new();
        let mut sorted: Vec<_> = found.into_iter().collect();
        sorted.sort_by(|a, b| (a.0.metric_name(), &a.0).cmp(&(b.0.metric_name(), &b.0)));
        for (labels, (t_ms, value)) in sorted {
            let name = labels.metric_name().unwrap_or_default();
            let shown = if any_name { name.to_owned() } else { underscored(name) };
            if shown != family {
                let quoted = if is_classic_name(&shown, true) { shown.clone() } else { format!("{shown:?}") };
                out.extend_from_slice(format!("# TYPE {quoted} untyped\n").as_bytes());
                family.clone_from(&shown);
            }
            exposed(&mut out, &shown, &labels, any_name);
            out.push(b' ');
            write_float(&mut out, value);
            out.extend_from_slice(format!(" {t_ms}\n").as_bytes());
        }
        Ok(out)
    })
    .await?;
    let kind = if any_name {
        "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    };
    Ok(typed(kind, text.into()))
}

fn underscored(name: &str) -> String {
    let plain = |(i, c): (usize, char)| {
        let fits = c == '_' || c == ':' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit());
        if fits { c } else { '_' }
    };
    name.chars().enumerate().map(plain).collect()
}

/// `name{a="b",c="d"}`
fn exposed(out: &mut Vec<u8>, name: &str, labels: &Labels, any_name: bool) {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut parts = Vec::new();
    if is_classic_name(name, true) {
        out.extend_from_slice(name.as_bytes());
    } else {
        parts.push(format!("\"{}\"", escaped(name)));
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != "__name__") {
        let label = match (any_name, is_classic_name(label, false)) {
            (_, true) => label.to_owned(),
            (true, false) => format!("\"{}\"", escaped(label)),
            (false, false) => underscored(label).replace(':', "_"),
        };
        parts.push(format!("{label}=\"{}\"", escaped(value)));
    }
    if !parts.is_empty() {
        out.extend_from_slice(format!("{{{}}}", parts.join(",")).as_bytes());
    }
}

fn typed(kind: &'static str, body: Body) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
