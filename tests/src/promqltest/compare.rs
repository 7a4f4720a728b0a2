//! Compares answers with what a script expects.

use std::collections::BTreeMap;

use binnacle_proto::Labels;
use binnacle_tsdb::{Answer, InstantSample, RangeSeries, RowPoint, SeriesRow, Value};

use super::script::{Expected, Message};

/// Relative difference below which two values count as equal.
const TOLERANCE: f64 = 1e-6;

fn equal(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    let (distance, size) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return distance < TOLERANCE * f64::MIN_POSITIVE;
    }
    distance / size.min(f64::MAX) < TOLERANCE
}

/// Warnings and infos.
pub(super) fn annotations(expected: &Expected, answer: &Answer) -> Result<(), String> {
    let check = |kind: &str, wanted: &Option<Vec<Message>>, none: bool, found: &[String]| {
        if none && !found.is_empty() {
            return Err(format!("unexpected {kind}: {found:?}"));
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let missing =
            found.is_empty() || wanted.iter().any(|message| !found.iter().any(|text| message.matches(text)));
        let surplus = !wanted.is_empty()
            && found.iter().any(|text| !wanted.iter().any(|message| message.matches(text)));
        if missing || surplus { Err(format!("other {kind} than expected: {found:?}")) } else { Ok(()) }
    };
    check("warnings", &expected.warn, expected.no_warn, &answer.warnings)?;
    check("infos", &expected.info, expected.no_info, &answer.infos)
}

/// The answer of an instant query.
pub(super) fn instant_answer(expected: &Expected, answer: &Answer, at_ms: i64) -> Result<(), String> {
    match &answer.value {
        Value::Scalar(value) => match expected.scalar {
            Some(want) if equal(want, *value) => Ok(()),
            want => Err(format!("expected {want:?}, got the scalar {value}")),
        },
        Value::String(text) => match &expected.string {
            Some(want) if want == text => Ok(()),
            want => Err(format!("expected {want:?}, got the string {text:?}")),
        },
        Value::Matrix(series) => match expected.range {
            Some((start_ms, end_ms, step_ms)) => rows(expected, series, start_ms, end_ms, step_ms),
            None => Err("got a range vector".to_owned()),
        },
        Value::Vector(samples) => vector(expected, samples, at_ms),
    }
}

fn vector(expected: &Expected, samples: &[InstantSample], at_ms: i64) -> Result<(), String> {
    if let Some(wrong) = samples.iter().find(|sample| sample.t_ms != at_ms) {
        return Err(format!("{} has the time {}", wrong.labels, wrong.t_ms));
    }
    let shown =
        || samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect::<Vec<_>>();
    if samples.len() != expected.rows.len() || expected.scalar.is_some() {
        return Err(format!("expected {} series, got {:?}", expected.rows.len(), shown()));
    }
    let mut found: BTreeMap<&Labels, (usize, f64)> = BTreeMap::new();
    for (place, sample) in samples.iter().enumerate() {
        if found.insert(&sample.labels, (place, sample.value)).is_some() {
            return Err(format!("{} comes twice", sample.labels));
        }
    }
    for (place, row) in expected.rows.iter().enumerate() {
        let [RowPoint::Float(want)] = row.points[..] else {
            return Err(format!("{} is expected to have one float", row.labels));
        };
        match found.get(&row.labels) {
            None => return Err(format!("{} is missing in {:?}", row.labels, shown())),
            Some((_, value)) if !equal(want, *value) => {
                return Err(format!("{}: expected {want}, got {value}", row.labels));
            }
            Some((at, _)) if expected.ordered && *at != place => {
                return Err(format!("{} is number {at} instead of {place} of {:?}", row.labels, shown()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The answer of a range query.
pub(super) fn range_answer(
    expected: &Expected,
    answer: &Answer,
    (start_ms, end_ms, step_ms): (i64, i64, i64),
) -> Result<(), String> {
    let Value::Matrix(series) = &answer.value else {
        return Err(format!("expected a matrix, got {:?}", answer.value));
    };
    rows(expected, series, start_ms, end_ms, step_ms)
}

fn rows(
    expected: &Expected,
    series: &[RangeSeries],
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    let mut found: BTreeMap<&Labels, &RangeSeries> = BTreeMap::new();
    for one in series {
        if found.insert(&one.labels, one).is_some() {
            return Err(format!("{} comes twice", one.labels));
        }
    }
    if found.len() != expected.rows.len() {
        return Err(format!("expected {} series, got {series:?}", expected.rows.len()));
    }
    for row in &expected.rows {
        let Some(one) = found.get(&row.labels) else {
            return Err(format!("{} is missing in {series:?}", row.labels));
        };
        let wanted = wanted_points(row, start_ms, end_ms, step_ms)?;
        let same = wanted.len() == one.points.len()
            && wanted
                .iter()
                .zip(one.points.timestamps.iter().zip(&one.points.values))
                .all(|((want_ms, want), (t_ms, value))| want_ms == t_ms && equal(*want, *value));
        if !same {
            return Err(format!("{}: expected {wanted:?}, got {:?}", row.labels, one.points));
        }
    }
    Ok(())
}

fn wanted_points(
    row: &SeriesRow,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
) -> Result<Vec<(i64, f64)>, String> {
    let mut wanted = Vec::new();
    for (i, point) in row.points.iter().enumerate() {
        let t_ms = start_ms + i as i64 * step_ms;
        match point {
            RowPoint::None => {}
            RowPoint::Float(_) if t_ms > end_ms => {
                return Err("the script expects more points than steps".to_owned());
            }
            RowPoint::Float(value) => wanted.push((t_ms, *value)),
            RowPoint::Histogram => return Err(format!("{} is expected to be a histogram", row.labels)),
        }
    }
    Ok(wanted)
}

/// One step of a range answer against what an instant query must yield.
pub(super) fn middle_of_range(expected: &Expected, answer: &Answer, at_ms: i64) -> Result<(), String> {
    let Value::Matrix(series) = &answer.value else {
        return Err(format!("expected a matrix, got {:?}", answer.value));
    };
    let sample = |one: &RangeSeries| {
        let at = one.points.timestamps.binary_search(&at_ms).ok()?;
        Some(InstantSample { labels: one.labels.clone(), t_ms: at_ms, value: one.points.values[at] })
    };
    let samples: Vec<InstantSample> = series.iter().filter_map(sample).collect();
    match (expected.scalar, &samples[..]) {
        (Some(want), [only]) if equal(want, only.value) => Ok(()),
        (Some(want), _) => Err(format!("expected {want}, got {samples:?}")),
        (None, _) => vector(expected, &samples, at_ms),
    }
}
