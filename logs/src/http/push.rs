//! `push`: protobuf with snappy, or JSON; plain or with gzip.

use std::collections::BTreeMap;
use std::io::Read;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use binnacle_proto::Labels;
use prost::Message;
use serde::Deserialize;

use super::params::parse_time;
use super::proto::PushRequest;
use super::{Api, Failure};
use crate::db::join_blocks;
use crate::logql::parse_matchers;
use crate::matcher::MatchOp;
use crate::{Block, Record};

/// Labels that name a service, first come first.
const SERVICE_LABELS: [&str; 11] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "component",
    "workload",
    "job",
];

/// `POST /loki/api/v1/push`
pub(super) async fn push(State(api): State<Api>, request: Request<Body>) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let body = read_body(&api, body).await?;
    let _room = api.room(decoded_len(&api, &parts.headers, &body, true)).await?;
    let now_ms = api.now_ms();
    let worker = api.clone();
    // Decoding is work for the processor: not on the threads that serve connections.
    let decoded = tokio::task::spawn_blocking(move || decode(&worker, &parts.headers, &body));
    let mut blocks =
        decoded.await.map_err(|err| Failure(StatusCode::INTERNAL_SERVER_ERROR, err.to_string()))??;
    if api.db.config().derive_service_name {
        blocks.iter_mut().for_each(|block| block.labels = with_service_name(&block.labels));
    }
    store(&api, blocks, now_ms).await
}

/// The body, no larger than allowed.
pub(super) async fn read_body(api: &Api, body: Body) -> Result<Bytes, Failure> {
    let limit = api.limits.max_push_bytes;
    to_bytes(body, limit).await.map_err(|_| {
        Failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {limit} bytes (loki.max_push_bytes)"),
        )
    })
}

/// Appends and answers 204; 400 when records were refused for good, 429 when some of those refused would be
/// taken later: what is sent again then and is there already is stored once.
async fn store(api: &Api, blocks: Vec<Block>, now_ms: i64) -> Result<Response, Failure> {
    let (appended, why) = api.db.append_explained(join_blocks(blocks), now_ms).await?;
    let Some(why) = why.filter(|_| appended.refused > 0) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let status = if why.try_again { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::BAD_REQUEST };
    let reason = why.reason;
    Err(Failure(
        status,
        format!("{} entries were refused, the others are stored: {reason}", appended.refused),
    ))
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

/// Undoes the content encoding; `snappy` is part of the protobuf format and stays.
pub(super) fn decompressed(api: &Api, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, Failure> {
    let limit = api.limits.max_decoded_bytes;
    let bounded = |reader: &mut dyn Read| {
        let mut out = Vec::new();
        let read = reader.take(limit as u64 + 1).read_to_end(&mut out);
        read.map_err(|err| Failure::bad(format!("the body cannot be decompressed: {err}")))?;
        if out.len() > limit {
            return Err(too_large(limit));
        }
        Ok(Bytes::from(out))
    };
    match header_text(headers, header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "" | "identity" | "snappy" => Ok(body.clone()),
        "gzip" => bounded(&mut flate2::read::MultiGzDecoder::new(&body[..])),
        "deflate" => bounded(&mut flate2::read::DeflateDecoder::new(&body[..])),
        other => Err(Failure::bad(format!("Content-Encoding {other:?} not supported"))),
    }
}

/// How large a body is when decompressed, at most; `snappy` says whether protobuf is compressed with it.
pub(super) fn decoded_len(api: &Api, headers: &HeaderMap, body: &Bytes, snappy: bool) -> usize {
    let limit = api.limits.max_decoded_bytes;
    match header_text(headers, header::CONTENT_ENCODING).to_ascii_lowercase().as_str() {
        "gzip" | "deflate" => limit,
        _ if snappy && !header_text(headers, header::CONTENT_TYPE).starts_with("application/json") => {
            // What is larger is refused before it is decompressed.
            snap::raw::decompress_len(body).unwrap_or_default().min(limit)
        }
        _ => body.len(),
    }
}

fn too_large(limit: usize) -> Failure {
    Failure(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {limit} bytes when decompressed (loki.max_decoded_bytes)"),
    )
}

fn decode(api: &Api, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Block>, Failure> {
    let body = decompressed(api, headers, body)?;
    let kind = header_text(headers, header::CONTENT_TYPE);
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => from_json(&body),
        "application/x-protobuf" | "" => from_protobuf(&body, api.limits.max_decoded_bytes),
        other => Err(Failure::bad(format!(
            "Content-Type {other:?} not supported: send application/json or application/x-protobuf"
        ))),
    }
}

fn from_protobuf(body: &[u8], limit: usize) -> Result<Vec<Block>, Failure> {
    let declared = snap::raw::decompress_len(body)
        .map_err(|err| Failure::bad(format!("the body is not snappy-compressed: {err}")))?;
    if declared > limit {
        return Err(too_large(limit));
    }
    let plain = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|err| Failure::bad(format!("the body is not snappy-compressed: {err}")))?;
    let request = PushRequest::decode(plain.as_slice())
        .map_err(|err| Failure::bad(format!("the body is not a push request: {err}")))?;
    let none = Labels::empty();
    let mut blocks = Vec::with_capacity(request.streams.len());
    for stream in request.streams {
        let labels = parse_labels(&stream.labels)?;
        let mut records = Vec::with_capacity(stream.entries.len());
        for entry in stream.entries {
            let time = entry.timestamp.unwrap_or_default();
            let time_ns =
                time.seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(i64::from(time.nanos)));
            let time_ns = time_ns.ok_or_else(|| Failure::bad("a timestamp is out of range"))?;
            let metadata = if entry.structured_metadata.is_empty() {
                none.clone()
            } else {
                let pairs = entry.structured_metadata.into_iter().map(|pair| (pair.name, pair.value));
                pairs_to_labels(pairs)?
            };
            records.push(Record { time_ns, line: entry.line, metadata, end: 0 });
        }
        blocks.push(Block { labels, position: None, records });
    }
    Ok(blocks)
}

fn pairs_to_labels(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Labels, Failure> {
    Labels::from_pairs(pairs).map_err(|err| Failure::bad(format!("labels: {err}")))
}

/// Reads `{a="b", …}`.
fn parse_labels(text: &str) -> Result<Labels, Failure> {
    let bad = |why: &str| Failure::bad(format!("error parsing labels {text}: {why}"));
    let matchers = parse_matchers(text).map_err(|err| bad(&err.to_string()))?;
    if let Some(matcher) = matchers.iter().find(|matcher| matcher.op != MatchOp::Equal) {
        return Err(bad(&format!("{} where = is needed", matcher.op)));
    }
    Labels::from_pairs(matchers.into_iter().map(|m| (m.name, m.value))).map_err(|err| bad(&err.to_string()))
}

#[derive(Deserialize)]
struct JsonPush {
    streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
struct JsonStream {
    stream: BTreeMap<String, String>,
    values: Vec<JsonEntry>,
}

/// `["nanoseconds", "line"]` or `["nanoseconds", "line", {"name": "value"}]`
struct JsonEntry {
    time: String,
    line: String,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for JsonEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = JsonEntry;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(r#"["<unix epoch in nanoseconds>", "<line>"]"#)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<JsonEntry, A::Error> {
                let missing = |at| serde::de::Error::invalid_length(at, &self);
                let time = seq.next_element()?.ok_or_else(|| missing(0))?;
                let line = seq.next_element()?.ok_or_else(|| missing(1))?;
                let metadata = seq.next_element()?.unwrap_or_default();
                Ok(JsonEntry { time, line, metadata })
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

fn from_json(body: &[u8]) -> Result<Vec<Block>, Failure> {
    let request: JsonPush = serde_json::from_slice(body)
        .map_err(|err| Failure::bad(format!("the body is not a push request: {err}")))?;
    let none = Labels::empty();
    let mut blocks = Vec::with_capacity(request.streams.len());
    for stream in request.streams {
        let labels = pairs_to_labels(stream.stream)?;
        let mut records = Vec::with_capacity(stream.values.len());
        for entry in stream.values {
            let time_ns = entry.time.parse().ok().or_else(|| parse_time(&entry.time));
            let time_ns = time_ns
                .ok_or_else(|| Failure::bad(format!("{:?} is not a time in nanoseconds", entry.time)))?;
            let metadata =
                if entry.metadata.is_empty() { none.clone() } else { pairs_to_labels(entry.metadata)? };
            records.push(Record { time_ns, line: entry.line.into_bytes(), metadata, end: 0 });
        }
        blocks.push(Block { labels, position: None, records });
    }
    Ok(blocks)
}

/// The labels with `service_name`, taken from what names the service when it is not there.
pub(super) fn with_service_name(labels: &Labels) -> Labels {
    if labels.is_empty() || labels.get("service_name").is_some() {
        return labels.clone();
    }
    let name =
        SERVICE_LABELS.iter().find_map(|label| labels.get(label)).unwrap_or("unknown_service").to_owned();
    let mut builder = labels.to_builder();
    builder.set("service_name", name);
    builder.build()
}
