//! `/otlp/v1/logs`: OpenTelemetry logs over HTTP, as protobuf or JSON; answers are written as the request is.
//!
//! Resource attributes that name where a record comes from are labels of its stream; everything else
//! is structured metadata. Dots in names become `_`.

mod message;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use binnacle_proto::otlp::{AnyValue, KeyValue};
use binnacle_proto::{Labels, LabelsBuilder};
use prost::Message;
use serde_json::json;

use super::push::{decoded_len, decompressed, read_body, with_service_name};
use super::{Api, Failure};
use crate::db::join_blocks;
use crate::{Block, Record};
use message::{ExportRequest, ExportResponse, LogRecord, PartialSuccess, ResourceLogs, Status};

/// Resource attributes that become labels.
const STREAM_ATTRIBUTES: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// How requests and answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// `POST /otlp/v1/logs`: 200 when all that could be taken is durable, with the number of records that could
/// not; 429 and 503 with `Retry-After` for what is worth another try.
pub(super) async fn logs(State(api): State<Api>, request: Request<Body>) -> Response {
    let Some(encoding) = encoding(request.headers()) else {
        let why = "Content-Type is not supported: send application/x-protobuf or application/json";
        return Encoding::Json.refusal(&Failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.into()));
    };
    match take(&api, encoding, request).await {
        Ok(partial) => encoding.success(partial),
        Err(failure) => encoding.refusal(&failure),
    }
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Some(Encoding::Protobuf),
        "application/json" => Some(Encoding::Json),
        _ => None,
    }
}

/// The records that were refused for good, and why.
async fn take(
    api: &Api,
    encoding: Encoding,
    request: Request<Body>,
) -> Result<Option<(u64, String)>, Failure> {
    let (parts, body) = request.into_parts();
    let body = read_body(api, body).await?;
    let _room = api.room(decoded_len(api, &parts.headers, &body, false)).await?;
    let now_ns = api.now_ns();
    let worker = api.clone();
    // Decoding is work for the processor: not on the threads that serve connections.
    let decoded = tokio::task::spawn_blocking(move || {
        let body = decompressed(&worker, &parts.headers, &body)?;
        let request = encoding.decode(&body)?;
        Ok(request.resource_logs.iter().flat_map(|logs| blocks(logs, now_ns)).collect::<Vec<_>>())
    });
    let decoded: Result<Vec<Block>, Failure> =
        decoded.await.map_err(|err| Failure(StatusCode::INTERNAL_SERVER_ERROR, err.to_string()))?;
    let blocks = join_blocks(decoded?);
    let (appended, why) = api.db.append_explained(blocks, now_ns.div_euclid(1_000_000)).await?;
    match why.filter(|_| appended.refused > 0) {
        None => Ok(None),
        Some(why) if why.try_again => {
            let (refused, reason) = (appended.refused, why.reason);
            Err(Failure(StatusCode::TOO_MANY_REQUESTS, format!("{refused} records were refused: {reason}")))
        }
        Some(why) => Ok(Some((appended.refused, why.reason))),
    }
}

impl Encoding {
    fn decode(self, body: &Bytes) -> Result<ExportRequest, Failure> {
        let (decoded, what) = match self {
            Self::Protobuf => (ExportRequest::decode(&**body).map_err(|err| err.to_string()), "protobuf"),
            Self::Json => (serde_json::from_slice(body).map_err(|err| err.to_string()), "JSON"),
        };
        decoded.map_err(|err| Failure::bad(format!("the body is not an OTLP logs request in {what}: {err}")))
    }

    fn success(self, partial: Option<(u64, String)>) -> Response {
        match self {
            Self::Protobuf => {
                let partial_success = partial.map(|(records, error_message)| PartialSuccess {
                    rejected_log_records: i64::try_from(records).unwrap_or(i64::MAX),
                    error_message,
                });
                self.typed(StatusCode::OK, ExportResponse { partial_success }.encode_to_vec())
            }
            Self::Json => {
                // Numbers of 64 bits are texts in protobuf's JSON.
                let body = partial.map_or(json!({}), |(records, reason)| {
                    json!({"partialSuccess": {"rejectedLogRecords": records.to_string(), "errorMessage": reason}})
                });
                self.typed(StatusCode::OK, body.to_string().into_bytes())
            }
        }
    }

    fn refusal(self, Failure(status, message): &Failure) -> Response {
        // Codes of gRPC: resource exhausted, unavailable, internal, invalid argument.
        let code = match *status {
            StatusCode::TOO_MANY_REQUESTS => 8,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            StatusCode::INTERNAL_SERVER_ERROR => 13,
            _ => 3,
        };
        let body = match self {
            Self::Protobuf => Status { code, message: message.clone() }.encode_to_vec(),
            Self::Json => json!({"code": code, "message": message}).to_string().into_bytes(),
        };
        let mut response = self.typed(*status, body);
        if matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }

    fn typed(self, status: StatusCode, body: Vec<u8>) -> Response {
        let kind = match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        };
        (status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
    }
}

fn blocks(logs: &ResourceLogs, now_ns: i64) -> Vec<Block> {
    let mut stream = LabelsBuilder::new();
    let mut shared = LabelsBuilder::new();
    for attribute in logs.resource.iter().flat_map(|resource| &resource.attributes) {
        let to = if STREAM_ATTRIBUTES.contains(&attribute.key.as_str()) { &mut stream } else { &mut shared };
        set(to, attribute);
    }
    if stream.get("service_name").is_none() {
        stream.set("service_name", "unknown_service");
    }
    let labels = with_service_name(&stream.build());
    let shared = shared.build();
    let mut out = Vec::new();
    for scope in &logs.scope_logs {
        let mut base = shared.to_builder();
        if let Some(scope) = &scope.scope {
            base.set("scope_name", scope.name.clone()).set("scope_version", scope.version.clone());
            scope.attributes.iter().for_each(|attribute| set(&mut base, attribute));
        }
        let base = base.build();
        let records = scope.log_records.iter().map(|log| record(log, &base, now_ns)).collect();
        out.push(Block { labels: labels.clone(), position: None, records });
    }
    out
}

fn record(log: &LogRecord, base: &Labels, now_ns: i64) -> Record {
    let mut metadata = base.to_builder();
    for attribute in &log.attributes {
        set(&mut metadata, attribute);
    }
    if log.severity_number != 0 {
        metadata.set("severity_number", log.severity_number.to_string());
    }
    if log.flags != 0 {
        metadata.set("flags", log.flags.to_string());
    }
    metadata.set("severity_text", log.severity_text.clone()).set("event_name", log.event_name.clone());
    metadata.set("trace_id", hex(&log.trace_id)).set("span_id", hex(&log.span_id));
    let time = [log.time_unix_nano, log.observed_time_unix_nano].into_iter().find(|ns| *ns > 0);
    let time_ns = time.and_then(|ns| i64::try_from(ns).ok()).unwrap_or(now_ns);
    let line = log.body.as_ref().map(AnyValue::text).unwrap_or_default();
    Record { time_ns, line: line.into_bytes(), metadata: metadata.build(), end: 0 }
}

fn set(to: &mut LabelsBuilder, attribute: &KeyValue) {
    let name: String =
        attribute.key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if !name.is_empty() && attribute.value.is_some() {
        to.set(&name, attribute.text());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
