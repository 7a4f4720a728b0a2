//! `detected_labels`, `detected_fields`, `patterns`: what there is, found in the data.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;

use super::params::Params;
use super::query::HOUR;
use super::{Api, Failure, answer};
use crate::logql::{parse_bytes, parse_duration_ns, parse_log, parse_matchers};
use crate::query::{field_pairs, mask};
use crate::{Direction, LogQuery, Value};

/// Lines looked at when a request does not say.
const DEFAULT_LINES: usize = 1000;
/// Fields answered when a request does not say.
const DEFAULT_FIELDS: usize = 1000;
/// Values of a field that are counted; beyond it the cardinality says so many.
const MAX_VALUES: usize = 1000;
/// Most patterns answered.
const MAX_PATTERNS: usize = 300;
/// A pattern needs so many lines.
const MIN_LINES: u64 = 2;

/// `GET /loki/api/v1/detected_labels`
pub(super) async fn labels(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let (start, end) = params.span(api.now_ns(), HOUR)?;
    let matchers = params.get("query").map(parse_matchers).transpose()?.unwrap_or_default();
    let found = api
        .blocking(move |db| {
            let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for stream in db.streams(&matchers, start, end) {
                for (name, value) in stream.labels.iter() {
                    values.entry(name.to_owned()).or_default().insert(value.to_owned());
                }
            }
            Ok(values)
        })
        .await?;
    let labels: Vec<_> =
        found.iter().map(|(name, values)| json!({"label": name, "cardinality": values.len()})).collect();
    Ok(answer::json(json!({"detectedLabels": labels}).to_string()))
}

/// The lines that a request asks for.
fn sample(params: &Params, api: &Api, lines: usize) -> Result<LogQuery, Failure> {
    let text = params.query()?.to_owned();
    parse_log(&text)?;
    let (start_ns, end_ns) = params.span(api.now_ns(), HOUR)?;
    let limit = lines.min(api.db.config().query.max_entries);
    Ok(LogQuery { text, start_ns, end_ns, step_ns: 0, limit, direction: Direction::Backward })
}

#[derive(Default)]
struct Field {
    values: BTreeSet<String>,
    parsers: BTreeSet<&'static str>,
    kind: Option<&'static str>,
}

/// What the fields of the newest lines are, `limit` of them.
async fn found_fields(api: &Api, params: &Params, limit: usize) -> Result<BTreeMap<String, Field>, Failure> {
    let lines = params.number("line_limit")?.unwrap_or(DEFAULT_LINES);
    let query = sample(params, api, lines)?;
    let answer = api.query(query, api.query_limits(), |answer| answer).await?;
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    let Value::Streams(streams) = answer.value else {
        return Err(Failure::bad("a log query is needed here"));
    };
    for entry in streams.iter().flat_map(|stream| &stream.entries) {
        let mut add = |parser: Option<&'static str>, name: &str, value: &str| {
            if entry.stream.get(name).is_some() || (fields.len() >= limit && !fields.contains_key(name)) {
                return;
            }
            let field = fields.entry(name.to_owned()).or_default();
            field.parsers.extend(parser);
            let kind = kind(value);
            field.kind = Some(field.kind.map_or(kind, |have| if have == kind { have } else { "string" }));
            if field.values.len() < MAX_VALUES {
                field.values.insert(value.to_owned());
            }
        };
        entry.metadata.iter().for_each(|(name, value)| add(None, name, value));
        field_pairs(&String::from_utf8_lossy(&entry.line), &mut |parser, name, value| {
            add(Some(parser), name, value)
        });
    }
    Ok(fields)
}

/// `GET /loki/api/v1/detected_fields`
pub(super) async fn fields(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let limit = params.number("limit")?.unwrap_or(DEFAULT_FIELDS);
    let fields = found_fields(&api, &params, limit).await?;
    let found: Vec<_> = fields
        .iter()
        .map(|(name, field)| {
            json!({
                "label": name, "type": field.kind, "cardinality": field.values.len(), "parsers": field.parsers,
            })
        })
        .collect();
    Ok(answer::json(json!({"fields": found, "limit": limit}).to_string()))
}

/// `GET /loki/api/v1/detected_field/<name>/values`
pub(super) async fn field_values(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Failure> {
    let limit = params.number("limit")?.unwrap_or(DEFAULT_FIELDS);
    let mut fields = found_fields(&api, &params, usize::MAX).await?;
    let values: Vec<String> =
        fields.remove(&name).unwrap_or_default().values.into_iter().take(limit).collect();
    Ok(answer::json(json!({"values": values, "limit": limit}).to_string()))
}

/// What a value looks like.
fn kind(value: &str) -> &'static str {
    if value.parse::<i64>().is_ok() {
        "int"
    } else if value.parse::<f64>().is_ok() {
        "float"
    } else if matches!(value, "true" | "false") {
        "boolean"
    } else if parse_duration_ns(value).is_some() {
        "duration"
    } else if value.starts_with(|c: char| c.is_ascii_digit()) && parse_bytes(value).is_some() {
        "bytes"
    } else {
        "string"
    }
}

/// `GET /loki/api/v1/patterns`
pub(super) async fn patterns(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let query = sample(&params, &api, usize::MAX)?;
    let step_ns = params.step("step")?.unwrap_or(((query.end_ns - query.start_ns) / 60).max(1_000_000_000));
    let (step_s, start_ns) = ((step_ns / 1_000_000_000).max(1), query.start_ns);
    let answer = api.query(query, api.query_limits(), |answer| answer).await?;
    let mut patterns: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
    let Value::Streams(streams) = answer.value else {
        return Err(Failure::bad("a log query is needed here"));
    };
    for entry in streams.iter().flat_map(|stream| &stream.entries) {
        let start = start_ns.div_euclid(1_000_000_000);
        let second = entry.time_ns.div_euclid(1_000_000_000);
        let bucket = start + (second - start).div_euclid(step_s) * step_s;
        let pattern = mask(&String::from_utf8_lossy(&entry.line));
        *patterns.entry(pattern).or_default().entry(bucket).or_default() += 1;
    }
    let mut found: Vec<(u64, String, Vec<_>)> = patterns
        .into_iter()
        .map(|(pattern, samples)| (samples.values().sum(), pattern, samples.into_iter().collect()))
        .filter(|(lines, ..)| *lines >= MIN_LINES)
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.truncate(MAX_PATTERNS);
    let data: Vec<_> =
        found.iter().map(|(_, pattern, samples)| json!({"pattern": pattern, "samples": samples})).collect();
    Ok(answer::json(json!({"status": "success", "data": data}).to_string()))
}
