//! `POST /api/v1/otlp/v1/metrics`: OpenTelemetry metrics as protobuf or JSON.

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use super::metrics::Text;
use super::receive::{body, status, text, with_status};
use crate::otlp::{Translated, decode_json, decode_protobuf, json_bytes, protobuf_bytes, translate};
use crate::remote::wire::put;
use crate::remote::{Collector, Room, WriteError};

/// Memory that a body is given at a time while it is decompressed, in bytes.
const INFLATED_STEP: usize = 64 << 10;

/// Totals since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    points: AtomicU64,
    refused_points: AtomicU64,
    refused_requests: AtomicU64,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
}

/// Why nothing of a request was taken.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    reason: String,
}

/// Answers 200 when all that could be taken is durable, with the number of data points that could not;
/// 400 and 413 for what is wrong for good, 429 and 503 with `Retry-After` for what is worth another try.
pub(super) async fn metrics(State(api): State<Api>, request: Request) -> Response {
    let counters = &api.0.otlp;
    counters.requests.fetch_add(1, Ordering::Relaxed);
    let encoding = match encoding(request.headers()) {
        Ok(encoding) => encoding,
        Err(refusal) => {
            counters.refused_requests.fetch_add(1, Ordering::Relaxed);
            return refusal.answer(Encoding::Json);
        }
    };
    match take(&api, encoding, request).await {
        Ok(partial) => encoding.success(partial),
        Err(refusal) => {
            counters.refused_requests.fetch_add(1, Ordering::Relaxed);
            refusal.answer(encoding)
        }
    }
}

/// The data points that were refused, and why.
async fn take(api: &Api, encoding: Encoding, request: Request) -> Result<Option<(u64, String)>, Refusal> {
    let coding = Coding::of(request.headers())?;
    let limit = api.0.receiver.config().max_body_bytes;
    let body = body(request, limit).await.map_err(Refusal::too_large)?;
    let shared = api.clone();
    let taken = tokio::task::spawn_blocking(move || collect(&shared, encoding, coding, &body)).await;
    let (translated, collector) = taken.map_err(|error| Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        reason: format!("decoding ended early: {error}"),
    })??;
    let written = collector.append(api.now_ms()).await.map_err(|error| Refusal::of(&error))?;
    let points = translated.points;
    let mut count: u64 = translated.refused.values().sum();
    let mut reasons: Vec<String> =
        translated.refused.iter().map(|(reason, count)| format!("{count} of {reason}")).collect();
    if let Some(reason) = written.refused {
        // A point may come to several samples.
        count += written.refused_samples.min(points);
        reasons.push(format!("samples {reason}"));
    }
    let counters = &api.0.otlp;
    counters.points.fetch_add(points, Ordering::Relaxed);
    counters.refused_points.fetch_add(count, Ordering::Relaxed);
    if reasons.is_empty() {
        return Ok(None);
    }
    let reason = format!("data points refused: {}", reasons.join("; "));
    tracing::warn!(%reason, points, "otlp: part of a request was refused");
    Ok(Some((count, reason)))
}

/// Decodes a body and looks its series up; memory is taken from the budget before it is used.
fn collect(
    api: &Api,
    encoding: Encoding,
    coding: Coding,
    body: &[u8],
) -> Result<(Translated, Collector), Refusal> {
    let receiver = &api.0.receiver;
    let mut room = receiver.room();
    room.grow(body.len()).map_err(|error| Refusal::of(&error))?;
    let body = coding.plain(body, receiver.config().max_decoded_bytes, &mut room)?;
    let not_a_request = |error: String| {
        let what = encoding.name();
        Refusal::bad(format!("the body is not an ExportMetricsServiceRequest in {what}: {error}"))
    };
    let bytes = match encoding {
        Encoding::Protobuf => protobuf_bytes(&body).map_err(|error| not_a_request(error.to_string()))?,
        Encoding::Json => json_bytes(&body),
    };
    room.grow(bytes).map_err(|error| Refusal::of(&error))?;
    let decoded = match encoding {
        Encoding::Protobuf => decode_protobuf(&body),
        Encoding::Json => decode_json(&body),
    };
    let request = decoded.map_err(not_a_request)?;
    let mut collector = receiver.collector(room);
    let limit = api.0.db.max_labels_bytes();
    let translated = translate(&request, &api.0.config.otlp, limit, &mut collector)
        .map_err(|error| Refusal::of(&WriteError::Storage(error)))?;
    Ok((translated, collector))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let kind = text(headers, header::CONTENT_TYPE);
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        _ => Err(Refusal {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            reason: format!(
                "Content-Type {kind:?} is not supported; send application/x-protobuf or application/json"
            ),
        }),
    }
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        match text(headers, header::CONTENT_ENCODING) {
            "" => Ok(Self::Plain),
            coding if coding.eq_ignore_ascii_case("identity") => Ok(Self::Plain),
            coding if coding.eq_ignore_ascii_case("gzip") => Ok(Self::Gzip),
            other => Err(Refusal {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                reason: format!("Content-Encoding {other:?} is not supported; send gzip or none"),
            }),
        }
    }

    /// The body without its coat, never larger than `limit`.
    fn plain<'a>(self, body: &'a [u8], limit: usize, room: &mut Room) -> Result<Cow<'a, [u8]>, Refusal> {
        let too_large = || {
            Refusal::too_large(format!(
                "the body has more than {limit} bytes after decompression (limit http.remote_write.max_decoded_bytes)"
            ))
        };
        if self == Self::Plain {
            return if body.len() > limit { Err(too_large()) } else { Ok(body.into()) };
        }
        let mut out = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(body);
        loop {
            room.grow(INFLATED_STEP).map_err(|error| Refusal::of(&error))?;
            let read =
                decoder.by_ref().take(INFLATED_STEP as u64).read_to_end(&mut out).map_err(|error| {
                    Refusal::bad(format!("the body is not gzip, as its header says: {error}"))
                })?;
            if out.len() > limit {
                return Err(too_large());
            }
            if read < INFLATED_STEP {
                return Ok(out.into());
            }
        }
    }
}

impl Encoding {
    /// `ExportMetricsServiceResponse { partial_success = 1 { rejected_data_points = 1; error_message = 2 } }`
    fn success(self, partial: Option<(u64, String)>) -> Response {
        match self {
            Self::Protobuf => {
                let mut out = Vec::new();
                if let Some((points, reason)) = partial {
                    let mut message = Vec::new();
                    if points > 0 {
                        put::number(&mut message, 1, points);
                    }
                    put::bytes(&mut message, 2, reason.as_bytes());
                    put::bytes(&mut out, 1, &message);
                }
                self.typed(out)
            }
            Self::Json => {
                // Numbers of 64 bits are texts in protobuf's JSON.
                let body = partial.map_or(json!({}), |(points, reason)| {
                    json!({"partialSuccess": {"rejectedDataPoints": points.to_string(), "errorMessage": reason}})
                });
                self.typed(body.to_string().into_bytes())
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "JSON",
        }
    }

    fn typed(self, body: Vec<u8>) -> Response {
        let kind = match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        };
        ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
    }
}

impl Refusal {
    fn bad(reason: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }

    fn too_large(reason: String) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, reason }
    }

    fn of(error: &WriteError) -> Self {
        Self { status: status(error), reason: error.to_string() }
    }

    /// `google.rpc.Status { code = 1; message = 2 }`
    fn answer(&self, encoding: Encoding) -> Response {
        // Codes of gRPC: invalid argument, resource exhausted, unavailable, internal.
        let code = match self.status {
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            StatusCode::INTERNAL_SERVER_ERROR => 13,
            _ => 3,
        };
        let body = match encoding {
            Encoding::Protobuf => {
                let mut out = Vec::new();
                put::number(&mut out, 1, code);
                put::bytes(&mut out, 2, self.reason.as_bytes());
                out
            }
            Encoding::Json => json!({"code": code, "message": self.reason}).to_string().into_bytes(),
        };
        with_status(self.status, encoding.typed(body))
    }
}

/// Adds the counters to the text of `/metrics`.
pub(super) fn write_metrics(text: &mut Text, counters: &Counters) {
    for (name, help, counter) in [
        ("requests", "OpenTelemetry metrics requests.", &counters.requests),
        ("requests_refused", "Of these, requests of which nothing was taken.", &counters.refused_requests),
        ("data_points", "OpenTelemetry data points that samples were made of.", &counters.points),
        ("data_points_refused", "OpenTelemetry data points refused.", &counters.refused_points),
    ] {
        text.single(&format!("binnacle_otlp_{name}_total"), "counter", help, counter.load(Ordering::Relaxed));
    }
}
