//! Are two answers the same?

use std::collections::BTreeMap;

use binnacle_proto::Labels;
use binnacle_tsdb::{Answer, Error, Value as Ours};
use serde_json::Value;

/// Relative difference below which two numbers count as equal.
const RELATIVE: f64 = 1e-9;
/// Absolute difference below which they do: what is left of sums that cancel, at the data's scale.
const ABSOLUTE: f64 = 1e-12;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The same values, of so many series.
    Same(usize),
    /// Both refused.
    BothFail,
    /// Not the same, and how.
    Different(String),
}

type Points = BTreeMap<i64, f64>;

/// Compares our answer with a Prometheus' JSON.
pub fn compare(ours: &Result<Answer, Error>, theirs: &Value) -> Outcome {
    let ours = match (ours, theirs["status"].as_str()) {
        (Err(_), Some("error")) => return Outcome::BothFail,
        (Err(why), _) => return Outcome::Different(format!("we fail: {why}; they say {}", short(theirs))),
        (Ok(answer), Some("error")) => {
            return Outcome::Different(format!(
                "they fail: {}; we say {:.300}",
                theirs["error"],
                format!("{answer:?}")
            ));
        }
        (Ok(answer), _) => answer,
    };
    for (kind, found) in [("warnings", &ours.warnings), ("infos", &ours.infos)] {
        let wanted = theirs[kind].as_array().is_some_and(|texts| !texts.is_empty());
        if wanted == found.is_empty() {
            return Outcome::Different(format!("{kind}: we say {found:?}, they say {}", theirs[kind]));
        }
    }
    match (ours_series(ours), theirs_series(&theirs["data"])) {
        (_, None) => Outcome::Different(format!("cannot read {}", short(theirs))),
        (ours, Some(theirs)) => same(&ours, &theirs),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

fn same(ours: &BTreeMap<Labels, Points>, theirs: &BTreeMap<Labels, Points>) -> Outcome {
    for (labels, points) in theirs {
        let Some(found) = ours.get(labels) else {
            let have: Vec<&Labels> = ours.keys().take(4).collect();
            return Outcome::Different(format!(
                "{labels} is missing; we have {} series, {have:?}",
                ours.len()
            ));
        };
        let times = points.keys().eq(found.keys());
        let wrong = points.iter().zip(found.values()).find(|((_, want), have)| !equal(**want, **have));
        if let (true, Some(((t_ms, want), have))) = (times, wrong) {
            return Outcome::Different(format!("{labels} at {t_ms}: we say {have}, they say {want}"));
        }
        if !times {
            return Outcome::Different(format!(
                "{labels}: we have {} points, they have {}; first {:?} and {:?}",
                found.len(),
                points.len(),
                found.first_key_value(),
                points.first_key_value()
            ));
        }
    }
    match ours.keys().find(|labels| !theirs.contains_key(*labels)) {
        Some(labels) => {
            Outcome::Different(format!("{labels} is too much; they have {} series", theirs.len()))
        }
        None => Outcome::Same(ours.len()),
    }
}

fn equal(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= ABSOLUTE.max(RELATIVE * a.abs().max(b.abs()))
}

fn ours_series(answer: &Answer) -> BTreeMap<Labels, Points> {
    match &answer.value {
        Ours::Scalar(value) => BTreeMap::from([(Labels::empty(), Points::from([(0, *value)]))]),
        Ours::String(_) => BTreeMap::new(),
        Ours::Vector(samples) => {
            samples.iter().map(|one| (one.labels.clone(), Points::from([(0, one.value)]))).collect()
        }
        Ours::Matrix(series) => {
            let points = |one: &binnacle_tsdb::RangeSeries| {
                one.points.timestamps.iter().copied().zip(one.points.values.iter().copied()).collect()
            };
            series.iter().map(|one| (one.labels.clone(), points(one))).collect()
        }
    }
}

fn theirs_series(data: &Value) -> Option<BTreeMap<Labels, Points>> {
    let result = &data["result"];
    match data["resultType"].as_str()? {
        "scalar" => Some(BTreeMap::from([(Labels::empty(), Points::from([(0, point(result)?.1)]))])),
        "vector" => result
            .as_array()?
            .iter()
            .map(|one| Some((labels(one)?, Points::from([(0, point(&one["value"])?.1)]))))
            .collect(),
        "matrix" => result
            .as_array()?
            .iter()
            .map(|one| {
                Some((labels(one)?, one["values"].as_array()?.iter().map(point).collect::<Option<_>>()?))
            })
            .collect(),
        _ => None,
    }
}

fn labels(series: &Value) -> Option<Labels> {
    let pairs = series["metric"]
        .as_object()?
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or("")));
    Labels::from_pairs(pairs).ok()
}

fn point(pair: &Value) -> Option<(i64, f64)> {
    let t_ms = (pair[0].as_f64()? * 1000.0).round() as i64;
    let value = match pair[1].as_str()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().ok()?,
    };
    Some((t_ms, value))
}
