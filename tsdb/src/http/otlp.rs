//! `POST /api/v1/otlp/v1/metrics`: OpenTelemetry metrics as protobuf or JSON.

use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use super::metrics::Text;
use crate::Error;
use crate::otlp::{Translated, decode_json, decode_protobuf, translate};
use crate::remote::WriteError;
use crate::remote::wire::put;

/// Bodies larger than this are translated on a blocking thread, in bytes after decompression.
const INLINE_BYTES: usize = 1 << 20;

/// What a decoded byte takes in memory, at most about: messages of many small fields.
const DECODED_RATIO: usize = 8;

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

/// Why nothing of a request was taken.
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
    let (parts, body) = request.into_parts();
    let limit = api.0.receiver.config().max_body_bytes;
    let body = to_bytes(body, limit).await.map_err(|_| {
        Refusal::too_large(format!(
            "the body was cut off or is larger than {limit} bytes (limit http.remote_write.max_body_bytes)"
        ))
    })?;
    let body = plain(api, &parts.headers, body)?;
    let _room =
        api.0.receiver.room(body.len().saturating_mul(DECODED_RATIO)).map_err(|error| Refusal::of(&error))?;
    let inline = body.len() <= INLINE_BYTES;
    let shared = api.clone();
    let work = move || {
        let (decoded, what) = match encoding {
            Encoding::Protobuf => (decode_protobuf(&body), "protobuf"),
            Encoding::Json => (decode_json(&body), "JSON"),
        };
        let request = decoded.map_err(|error| {
            Refusal::bad(format!("the body is not an ExportMetricsServiceRequest in {what}: {error}"))
        })?;
        Ok(translate(&request, &shared.0.config.otlp))
    };
    let translated = if inline {
        work()?
    } else {
        tokio::task::spawn_blocking(work).await.map_err(|error| Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason: format!("decoding ended early: {error}"),
        })??
    };
    store(api, translated).await
}

async fn store(api: &Api, mut translated: Translated) -> Result<Option<(u64, String)>, Refusal> {
    let points = translated.points;
    let refused = std::mem::take(&mut translated.refused);
    let written =
        api.0.receiver.store(translated, api.now_ms()).await.map_err(|error| Refusal::of(&error))?;
    let mut count: u64 = refused.values().sum();
    let mut reasons: Vec<String> =
        refused.iter().map(|(reason, count)| format!("{count} of {reason}")).collect();
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

/// The body without its gzip coat, never larger than the limit.
fn plain(api: &Api, headers: &HeaderMap, body: bytes::Bytes) -> Result<bytes::Bytes, Refusal> {
    let limit = api.0.receiver.config().max_decoded_bytes;
    let coding = text(headers, header::CONTENT_ENCODING).trim();
    let too_large = || {
        Refusal::too_large(format!(
            "the body has more than {limit} bytes after decompression (limit http.remote_write.max_decoded_bytes)"
        ))
    };
    match coding {
        "" | "identity" => {
            if body.len() > limit {
                return Err(too_large());
            }
            Ok(body)
        }
        "gzip" => {
            let mut out = Vec::new();
            let mut decoder = flate2::read::MultiGzDecoder::new(&*body).take(limit as u64 + 1);
            decoder.read_to_end(&mut out).map_err(|error| {
                Refusal::bad(format!("the body is not gzip, as its header says: {error}"))
            })?;
            if out.len() > limit {
                return Err(too_large());
            }
            Ok(out.into())
        }
        other => Err(Refusal {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            reason: format!("Content-Encoding {other:?} is not supported; send gzip or none"),
        }),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
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
        let status = match error {
            WriteError::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            WriteError::Storage(Error::Unavailable { .. } | Error::Storage { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            WriteError::NotRemoteWrite(_) | WriteError::TooLarge { .. } => StatusCode::BAD_REQUEST,
            WriteError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, reason: error.to_string() }
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
        let mut response = encoding.typed(body);
        *response.status_mut() = self.status;
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
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
