//! Answers as JSON in Loki's shapes.

use std::fmt::Write;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use binnacle_proto::Labels;

use crate::query::format_float;
use crate::{Answer, Entry, LogStream, QueryStats, Value};

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// A JSON response.
pub(super) fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body).into_response()
}

/// Appends a JSON string.
pub(super) fn text(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        if escape.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Appends items with commas between.
pub(super) fn list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// Appends a label set as an object.
pub(super) fn labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        text(out, name);
        out.push(':');
        text(out, value);
    }
    out.push('}');
}

/// The body of an answer; with `categorize`, labels of stream, metadata and pipeline are kept apart.
/// `time_ns` is the instant of a scalar.
pub(super) fn encode(answer: &Answer, categorize: bool, time_ns: i64) -> String {
    let mut out = String::from(r#"{"status":"success","data":{"resultType":"#);
    match &answer.value {
        Value::Streams(found) => {
            out.push_str(r#""streams","#);
            if categorize {
                out.push_str(r#""encodingFlags":["categorize-labels"],"#);
            }
            out.push_str(r#""result":"#);
            if categorize { categorized(&mut out, found) } else { streams(&mut out, found) }
        }
        Value::Matrix(series) => {
            out.push_str(r#""matrix","result":"#);
            list(&mut out, series, |out, series| {
                out.push_str(r#"{"metric":"#);
                labels(out, &series.labels);
                out.push_str(r#","values":"#);
                list(out, &series.points, |out, (time_ns, value)| point(out, *time_ns, *value));
                out.push('}');
            });
        }
        Value::Vector(samples) => {
            out.push_str(r#""vector","result":"#);
            list(&mut out, samples, |out, sample| {
                out.push_str(r#"{"metric":"#);
                labels(out, &sample.labels);
                out.push_str(r#","value":"#);
                point(out, sample.time_ns, sample.value);
                out.push('}');
            });
        }
        Value::Scalar(value) => {
            out.push_str(r#""scalar","result":"#);
            point(&mut out, time_ns, *value);
        }
    }
    out.push_str(r#","stats":"#);
    stats(&mut out, &answer.stats);
    out.push_str("}}");
    out
}

fn streams(out: &mut String, found: &[LogStream]) {
    list(out, found, |out, stream| {
        out.push_str(r#"{"stream":"#);
        labels(out, &stream.labels);
        out.push_str(r#","values":"#);
        list(out, &stream.entries, |out, entry| {
            entry_head(out, entry);
            out.push(']');
        });
        out.push('}');
    });
}

/// By the labels of the stream alone; those of metadata and pipeline go with each line.
fn categorized(out: &mut String, found: &[LogStream]) {
    let mut by_stream: Vec<(&Labels, Vec<&Entry>)> = Vec::new();
    for entry in found.iter().flat_map(|stream| &stream.entries) {
        match by_stream.iter_mut().find(|(labels, _)| **labels == entry.stream) {
            Some((_, entries)) => entries.push(entry),
            None => by_stream.push((&entry.stream, vec![entry])),
        }
    }
    list(out, by_stream, |out, (stream, entries)| {
        out.push_str(r#"{"stream":"#);
        labels(out, stream);
        out.push_str(r#","values":"#);
        list(out, entries, |out, entry| {
            entry_head(out, entry);
            out.push_str(",{");
            if !entry.metadata.is_empty() {
                out.push_str(r#""structuredMetadata":"#);
                labels(out, &entry.metadata);
            }
            if !entry.parsed.is_empty() {
                if !entry.metadata.is_empty() {
                    out.push(',');
                }
                out.push_str(r#""parsed":"#);
                labels(out, &entry.parsed);
            }
            out.push_str("}]");
        });
        out.push('}');
    });
}

/// `["time","line"` without the bracket that closes it.
pub(super) fn entry_head(out: &mut String, entry: &Entry) {
    let _ = write!(out, "[\"{}\",", entry.time_ns);
    text(out, &String::from_utf8_lossy(&entry.line));
}

fn point(out: &mut String, time_ns: i64, value: f64) {
    let (seconds, millis) = (time_ns.div_euclid(SECOND), time_ns.rem_euclid(SECOND) / 1_000_000);
    if millis == 0 {
        let _ = write!(out, "[{seconds},");
    } else {
        let fraction = format!("{millis:03}");
        let _ = write!(out, "[{seconds}.{},", fraction.trim_end_matches('0'));
    }
    let _ = write!(out, "\"{}\"]", format_float(value));
}

fn stats(out: &mut String, stats: &QueryStats) {
    let seconds = (stats.micros.max(1)) as f64 / 1e6;
    let per_second = |count: u64| (count as f64 / seconds) as u64;
    let (bytes, lines) = (stats.bytes, stats.lines);
    let body = serde_json::json!({
        "summary": {
            "bytesProcessedPerSecond": per_second(bytes), "linesProcessedPerSecond": per_second(lines),
            "totalBytesProcessed": bytes, "totalLinesProcessed": lines, "execTime": seconds, "queueTime": 0,
            "subqueries": 0, "totalEntriesReturned": stats.entries, "splits": 0, "shards": 0,
        },
        "querier": { "store": {
            "totalChunksRef": stats.blocks + stats.ruled_out, "totalChunksDownloaded": stats.blocks,
            "chunksDownloadTime": 0,
            "chunk": { "decompressedBytes": bytes, "decompressedLines": lines },
        } },
        "ingester": { "totalReached": 0, "totalChunksMatched": 0, "totalBatches": 0, "totalLinesSent": 0 },
        "binnacle": {
            "blocksOpened": stats.blocks, "blocksRuledOut": stats.ruled_out, "streams": stats.streams,
        },
    });
    out.push_str(&body.to_string());
}
