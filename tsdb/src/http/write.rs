//! `POST /api/v1/write`: remote write 1.0 and 2.0.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::receive::{body, status, text, with_status};
use crate::remote::Version;

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Answers 204 when all is durable; 400 for what is wrong for good, after storing what is right; 429
/// and 503 with `Retry-After` for what is worth another try.
pub(super) async fn write(State(api): State<Api>, request: Request) -> Response {
    let version = match version(request.headers()) {
        Ok(version) => version,
        Err(reason) => return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason),
    };
    let limit = api.0.receiver.config().max_body_bytes;
    let body = match body(request, limit).await {
        Ok(body) => body,
        Err(reason) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, &reason),
    };
    let written = match api.0.receiver.write(version, body, api.now_ms()).await {
        Ok(written) => written,
        Err(error) => return refuse(status(&error), &error.to_string()),
    };
    let mut response = match written.refused {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(reason) => {
            tracing::warn!(%reason, stored = written.samples, "remote write: part of a request was refused");
            refuse(StatusCode::BAD_REQUEST, &reason)
        }
    };
    if version == Version::V2 {
        let headers = response.headers_mut();
        headers.insert(SAMPLES_WRITTEN, HeaderValue::from(written.samples));
        headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from_static("0"));
        headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(written.exemplars));
    }
    response
}

/// Which version the headers announce. Whatever is not protobuf by its type is read as 1.0, which
/// came without a type at first; the body shows what it is.
fn version(headers: &HeaderMap) -> Result<Version, String> {
    let encoding = text(headers, header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(format!("Content-Encoding {encoding:?} is not supported; remote write uses snappy"));
    }
    let mut parts = text(headers, header::CONTENT_TYPE).split(';').map(str::trim);
    if parts.next() != Some("application/x-protobuf") {
        return Ok(Version::V1);
    }
    match parts.find_map(|part| part.strip_prefix("proto=")) {
        None | Some("prometheus.WriteRequest") => Ok(Version::V1),
        Some("io.prometheus.write.v2.Request") => Ok(Version::V2),
        Some(other) => Err(format!(
            "message {other:?} is not supported; allowed are prometheus.WriteRequest and io.prometheus.write.v2.Request"
        )),
    }
}

fn refuse(status: StatusCode, sentence: &str) -> Response {
    with_status(status, format!("{sentence}\n").into_response())
}
