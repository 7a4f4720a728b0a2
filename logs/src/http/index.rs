//! `index/stats`, `index/volume`, `index/volume_range`: sizes from the index alone.
//!
//! Bytes of a block are spread evenly over its time span, so volumes are estimates at the ends of the
//! range, as they are in Loki.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use binnacle_proto::Labels;

use super::params::Params;
use super::query::HOUR;
use super::{Api, Failure, answer};
use crate::db::{Part, PartData};
use crate::logql::{parse_log, parse_matchers};
use crate::matcher::Matcher;
use crate::{Answer, Db, Error, QueryStats, Sample, Series, Value};

/// Most volumes when a request does not say.
const DEFAULT_LIMIT: usize = 100;

/// Lines and bytes of a part.
fn size(part: &Part) -> (u64, u64) {
    match &part.data {
        PartData::Memory(segment) => (segment.len() as u64, (segment.lines.len() - segment.len()) as u64),
        PartData::Sealed(meta) => (u64::from(meta.records), u64::from(meta.line_bytes - meta.records)),
    }
}

fn selector(params: &Params) -> Result<Vec<Matcher>, Failure> {
    let text = params.query()?;
    Ok(match parse_matchers(text) {
        Ok(matchers) => matchers,
        Err(_) => parse_log(text)?.matchers,
    })
}

/// `GET /loki/api/v1/index/stats`
pub(super) async fn stats(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let matchers = selector(&params)?;
    let (start, end) = params.span(api.now_ns(), HOUR)?;
    let body = api
        .blocking(move |db| {
            let selection = db.select(&matchers, start, end);
            let mut streams: Vec<usize> = selection.parts.iter().map(|part| part.stream).collect();
            streams.sort_unstable();
            streams.dedup();
            let sizes = selection.parts.iter().map(size);
            let (entries, bytes) = sizes.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
            let chunks = selection.parts.len();
            Ok(serde_json::json!({"streams": streams.len(), "chunks": chunks, "entries": entries, "bytes": bytes}))
        })
        .await?;
    Ok(answer::json(body.to_string()))
}

/// What volumes are asked for.
struct Volume {
    matchers: Vec<Matcher>,
    start: i64,
    end: i64,
    step: i64,
    limit: usize,
    /// Labels by which bytes are added up.
    names: Vec<String>,
    /// Whether each label is for itself, whatever its value.
    by_label: bool,
}

fn volume_params(api: &Api, params: &Params, is_range: bool) -> Result<Volume, Failure> {
    let matchers = selector(params)?;
    let (start, end) = params.span(api.now_ns(), HOUR)?;
    let span = (end - start).max(1);
    let step = if is_range { params.step("step")?.unwrap_or(span) } else { span };
    let max = api.db.config().query.max_steps as i64;
    if span / step > max {
        return Err(Failure::bad(format!("more than {max} steps (logs.query.max_steps)")));
    }
    let by_label = match params.get("aggregateBy") {
        None | Some("series") => false,
        Some("labels") => true,
        Some(other) => {
            return Err(Failure::bad(format!("aggregateBy={other:?} is neither series nor labels")));
        }
    };
    let names: Vec<String> = match params.get("targetLabels") {
        Some(names) => names.split(',').map(|name| name.trim().to_owned()).collect(),
        None if by_label => Vec::new(),
        None => matchers.iter().map(|matcher| matcher.name.clone()).collect(),
    };
    let limit = params.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    Ok(Volume { matchers, start, end, step, limit, names, by_label })
}

/// The largest volumes by labels, with bytes for each step.
fn volumes(db: &Db, asked: &Volume) -> Result<Vec<(Labels, Vec<f64>)>, Error> {
    let selection = db.select(&asked.matchers, asked.start, asked.end);
    let steps = ((asked.end - asked.start).max(1) as u64).div_ceil(asked.step as u64) as usize;
    let mut sums: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for part in &selection.parts {
        let stream = &selection.streams[part.stream].labels;
        let wanted = |name: &str| asked.names.is_empty() || asked.names.iter().any(|have| have == name);
        let keys: Vec<Labels> = if asked.by_label {
            // A label's name with a value that stands for all.
            let names = stream.iter().map(|(name, _)| name).filter(|name| wanted(name));
            names.filter_map(|name| Labels::from_pairs([(name, "*")]).ok()).collect()
        } else {
            vec![stream.filtered(wanted)]
        };
        for key in keys {
            let sum = sums.entry(key).or_insert_with(|| vec![0.0; steps]);
            spread(part, asked, sum);
        }
    }
    let mut found: Vec<(Labels, Vec<f64>)> = sums.into_iter().collect();
    let total = |values: &[f64]| values.iter().sum::<f64>();
    found.sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)).then_with(|| a.0.cmp(&b.0)));
    found.truncate(asked.limit);
    Ok(found)
}

fn spread(part: &Part, asked: &Volume, sum: &mut [f64]) {
    let (_, bytes) = size(part);
    let span = (part.max_ns - part.min_ns + 1) as f64;
    let first = (part.min_ns.max(asked.start) - asked.start) / asked.step;
    for step in first..sum.len() as i64 {
        let from = asked.start + step * asked.step;
        let to = (from + asked.step - 1).min(asked.end);
        let overlap = to.min(part.max_ns) - from.max(part.min_ns) + 1;
        if overlap <= 0 {
            break;
        }
        sum[step as usize] += (bytes as f64 * (overlap as f64 / span)).round();
    }
}

/// `GET /loki/api/v1/index/volume`
pub(super) async fn volume(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let asked = volume_params(&api, &params, false)?;
    let end = asked.end;
    let found = api.blocking(move |db| volumes(db, &asked)).await?;
    let sample =
        |(labels, bytes): (Labels, Vec<f64>)| Sample { labels, time_ns: end, value: bytes.iter().sum() };
    let value = Value::Vector(found.into_iter().map(sample).collect());
    Ok(answer::json(answer::encode(&Answer { value, stats: QueryStats::default() }, false, end)))
}

/// `GET /loki/api/v1/index/volume_range`
pub(super) async fn volume_range(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let asked = volume_params(&api, &params, true)?;
    let (start, step, end) = (asked.start, asked.step, asked.end);
    let found = api.blocking(move |db| volumes(db, &asked)).await?;
    let series = |(labels, bytes): (Labels, Vec<f64>)| {
        let at = |index: usize| (start + step * (index as i64 + 1)).min(end);
        let points =
            bytes.into_iter().enumerate().filter(|(_, b)| *b > 0.0).map(|(i, b)| (at(i), b)).collect();
        Series { labels, points }
    };
    let value = Value::Matrix(found.into_iter().map(series).collect());
    Ok(answer::json(answer::encode(&Answer { value, stats: QueryStats::default() }, false, end)))
}
