//! `/otlp/v1/logs`: OpenTelemetry logs over HTTP, protobuf.
//!
//! Resource attributes that name where a record comes from are labels of its stream; everything else
//! is structured metadata. Dots in names become `_`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
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
/// How deep values may nest.
const MAX_DEPTH: usize = 16;

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
        set(to, &attribute.key, attribute.value.as_ref());
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
            scope
                .attributes
                .iter()
                .for_each(|attribute| set(&mut base, &attribute.key, attribute.value.as_ref()));
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
        set(&mut metadata, &attribute.key, attribute.value.as_ref());
    }
    if log.severity_number != 0 {
        metadata.set("severity_number", log.severity_number.to_string());
    }
    metadata.set("severity_text", log.severity_text.clone());
    metadata.set("trace_id", hex(&log.trace_id)).set("span_id", hex(&log.span_id));
    let time = [log.time_unix_nano, log.observed_time_unix_nano].into_iter().find(|ns| *ns > 0);
    let time_ns = time.and_then(|ns| i64::try_from(ns).ok()).unwrap_or(now_ns);
    let mut line = String::new();
    if let Some(body) = &log.body {
        match &body.value {
            Some(proto::Value::Text(text)) => line.push_str(text),
            _ => line = json(body, 0).map_or_else(String::new, |value| value.to_string()),
        }
    }
    Record { time_ns, line: line.into_bytes(), metadata: metadata.build(), end: 0 }
}

fn set(to: &mut LabelsBuilder, key: &str, value: Option<&proto::AnyValue>) {
    let name: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    let text = match value.and_then(|value| json(value, 0)) {
        Some(serde_json::Value::String(text)) => text,
        Some(value) => value.to_string(),
        None => return,
    };
    if !name.is_empty() {
        to.set(&name, text);
    }
}

fn json(value: &proto::AnyValue, depth: usize) -> Option<serde_json::Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match value.value.as_ref()? {
        proto::Value::Text(text) => text.as_str().into(),
        proto::Value::Bool(value) => (*value).into(),
        proto::Value::Int(value) => (*value).into(),
        proto::Value::Double(value) => (*value).into(),
        proto::Value::Bytes(bytes) => hex(bytes).into(),
        proto::Value::Array(array) => {
            array.values.iter().filter_map(|value| json(value, depth + 1)).collect()
        }
        proto::Value::Map(map) => map
            .values
            .iter()
            .filter_map(|pair| Some((pair.key.clone(), json(pair.value.as_ref()?, depth + 1)?)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The messages of OTLP's logs service that are read here; numbers from its published protocol.
mod proto {
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

    /// Where logs come from.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
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

    /// An attribute.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }

    /// Any value.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7")]
        pub value: Option<Value>,
    }

    /// What a value is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(message, tag = "5")]
        Array(ArrayValue),
        #[prost(message, tag = "6")]
        Map(MapValue),
        #[prost(bytes = "vec", tag = "7")]
        Bytes(Vec<u8>),
    }

    /// Values in a row.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ArrayValue {
        #[prost(message, repeated, tag = "1")]
        pub values: Vec<AnyValue>,
    }

    /// Values by key.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct MapValue {
        #[prost(message, repeated, tag = "1")]
        pub values: Vec<KeyValue>,
    }
}
