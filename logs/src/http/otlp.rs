//! `/otlp/v1/logs`: OpenTelemetry logs over HTTP, protobuf.
//!
//! Resource attributes that name where a record comes from are labels of its stream; everything else
//! is structured metadata. Dots in names become `_`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use binnacle_proto::otlp::{AnyValue, KeyValue};
use binnacle_proto::{Labels, LabelsBuilder};
use prost::Message;

use super::push::{decompressed, read_body, store, with_service_name};
use super::{Api, Failure};
use crate::{Block, Record};

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

/// `POST /otlp/v1/logs`
pub(super) async fn logs(State(api): State<Api>, request: Request<Body>) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let kind =
        parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-protobuf") {
        return Err(Failure(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type {kind:?} not supported: send application/x-protobuf"),
        ));
    }
    let body = decompressed(&api, &parts.headers, &read_body(&api, body).await?)?;
    let request = proto::ExportRequest::decode(body)
        .map_err(|err| Failure::bad(format!("the body is not an OTLP logs request: {err}")))?;
    let now_ns = api.now_ns();
    let blocks = request.resource_logs.iter().flat_map(|logs| blocks(logs, now_ns)).collect();
    store(&api, blocks, now_ns.div_euclid(1_000_000)).await?;
    // An empty message: everything was taken.
    Ok(([(header::CONTENT_TYPE, "application/x-protobuf")], Vec::new()).into_response())
}

fn blocks(logs: &proto::ResourceLogs, now_ns: i64) -> Vec<Block> {
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

fn record(log: &proto::LogRecord, base: &Labels, now_ns: i64) -> Record {
    let mut metadata = base.to_builder();
    for attribute in &log.attributes {
        set(&mut metadata, attribute);
    }
    if log.severity_number != 0 {
        metadata.set("severity_number", log.severity_number.to_string());
    }
    metadata.set("severity_text", log.severity_text.clone());
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

/// The messages of OTLP's logs service that are read here; numbers from its published protocol.
mod proto {
    use binnacle_proto::otlp::{AnyValue, KeyValue, Resource};

    /// All logs of a request.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ExportRequest {
        #[prost(message, repeated, tag = "1")]
        pub resource_logs: Vec<ResourceLogs>,
    }

    /// Logs of one resource.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ResourceLogs {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scope_logs: Vec<ScopeLogs>,
    }

    /// Logs of one instrumentation scope.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ScopeLogs {
        #[prost(message, optional, tag = "1")]
        pub scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub log_records: Vec<LogRecord>,
    }

    /// What wrote the logs.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scope {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub version: String,
        #[prost(message, repeated, tag = "3")]
        pub attributes: Vec<KeyValue>,
    }

    /// One record.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct LogRecord {
        #[prost(fixed64, tag = "1")]
        pub time_unix_nano: u64,
        #[prost(int32, tag = "2")]
        pub severity_number: i32,
        #[prost(string, tag = "3")]
        pub severity_text: String,
        #[prost(message, optional, tag = "5")]
        pub body: Option<AnyValue>,
        #[prost(message, repeated, tag = "6")]
        pub attributes: Vec<KeyValue>,
        #[prost(bytes = "vec", tag = "9")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "10")]
        pub span_id: Vec<u8>,
        #[prost(fixed64, tag = "11")]
        pub observed_time_unix_nano: u64,
    }
}
