//! The envelope of every answer: `{"status":"success","data":…}` or Prometheus' error form and codes.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::Error;
use crate::select::LimitError;

/// When to come back, in seconds.
pub(super) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Why a request was refused or failed.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// What a handler of the API gives back.
pub(super) type Outcome = Result<Response, ApiError>;

impl ApiError {
    /// 400: a parameter or body is wrong; asking again does not help.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    /// 400 naming the parameter, as Prometheus writes it.
    pub(super) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }

    /// 404.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "not_found", message: message.into() }
    }

    /// 503: no answer within the time limit.
    pub(super) fn timeout(message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "timeout", message: message.into() }
    }

    /// 503: not now; `Retry-After` says when.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message: message.into() }
    }

    /// 500.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message: message.into() }
    }

    /// 413: the body is larger than the limit, whose name is in the message.
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, kind: "bad_data", message: message.into() }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (status, kind) = match &error {
            Error::Parse(_) | Error::BadInput(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            Error::Limit(LimitError::Timeout(_)) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Error::Limit(LimitError::Canceled) => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            Error::Limit(_) | Error::Execution(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            Error::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, kind, message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            status: &'static str,
            error_type: &'static str,
            error: &'a str,
        }
        let envelope = Envelope { status: "error", error_type: self.kind, error: &self.message };
        let mut response = json_response(serde_json::to_vec(&envelope).unwrap_or_default());
        *response.status_mut() = self.status;
        if self.kind == "unavailable" {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// A success with `data` and nothing else.
pub(super) fn success(data: &impl Serialize) -> Outcome {
    success_with(data, &[], &[])
}

/// A success with `data`, warnings and infos.
pub(super) fn success_with(data: &impl Serialize, warnings: &[String], infos: &[String]) -> Outcome {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        status: &'static str,
        data: &'a T,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        infos: &'a [String],
    }
    let envelope = Envelope { status: "success", data, warnings, infos };
    let body = serde_json::to_vec(&envelope).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(json_response(body))
}

/// A 200 answer of JSON text.
pub(super) fn json_response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
