//! What remote write and OpenTelemetry have in common over HTTP: bodies in, statuses out.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::answer::RETRY_AFTER;
use crate::Error;
use crate::remote::WriteError;

/// A header as text; empty when there is none.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

/// The body as it came.
///
/// # Errors
/// That it is larger than `limit`, as a sentence: 413.
pub(super) async fn body(request: Request, limit: usize) -> Result<Bytes, String> {
    to_bytes(request.into_body(), limit).await.map_err(|_| {
        format!(
            "the body was cut off or is larger than {limit} bytes (limit http.remote_write.max_body_bytes)"
        )
    })
}

/// 400 and 413 for what is wrong for good, 429 and 503 for what is worth another try.
pub(super) fn status(error: &WriteError) -> StatusCode {
    match error {
        WriteError::NotRemoteWrite(_) | WriteError::Storage(Error::BadInput(_)) => StatusCode::BAD_REQUEST,
        WriteError::TooLarge { .. } | WriteError::NeverFits { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        WriteError::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
        WriteError::Storage(Error::Unavailable { .. } | Error::Storage { .. }) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        WriteError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An answer with its status, which says when to come back if that helps.
pub(super) fn with_status(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}
