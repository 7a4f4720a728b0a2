//! Aggregations over vectors, and binary operations between them.

use std::cmp::Ordering;

use binnacle_proto::Labels;
use hashbrown::HashMap;

use super::metric::{Operand, Values};
use super::pipeline::holds;
use crate::Error;
use crate::logql::{BinaryOp, Grouping, Matching, Side, VectorOp};

fn grouped(labels: &Labels, grouping: Option<&Grouping>) -> Labels {
    match grouping {
        None => Labels::empty(),
        Some(grouping) => {
            labels.filtered(|name| grouping.names.iter().any(|have| have == name) != grouping.without)
        }
    }
}

/// Aggregates series by their labels.
pub(super) fn aggregate(
    op: VectorOp,
    param: Option<f64>,
    grouping: Option<&Grouping>,
    series: Vec<Values>,
    steps: usize,
) -> Vec<Values> {
    if matches!(op, VectorOp::Sort | VectorOp::SortDesc) {
        return sorted(series, op == VectorOp::SortDesc);
    }
    let mut groups: Vec<(Labels, Vec<Values>)> = Vec::new();
    let mut at: HashMap<Labels, usize> = HashMap::new();
    for values in series {
        let labels = grouped(&values.labels, grouping);
        let index = *at.entry(labels).or_insert_with_key(|labels| {
            groups.push((labels.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[index].1.push(values);
    }
    if matches!(op, VectorOp::TopK | VectorOp::BottomK) {
        let k = param.unwrap_or_default() as usize;
        let top = op == VectorOp::TopK;
        let kept = groups.into_iter().flat_map(|(_, group)| best(group, k, top, steps)).collect();
        return sorted(kept, top);
    }
    groups
        .into_iter()
        .map(|(labels, group)| {
            let values = (0..steps).map(|step| {
                let present: Vec<f64> = group.iter().filter_map(|series| series.values[step]).collect();
                reduce(op, &present)
            });
            Values { labels, values: values.collect() }
        })
        .collect()
}

fn reduce(op: VectorOp, values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let count = values.len() as f64;
    let mean = || values.iter().sum::<f64>() / count;
    let variance = || {
        let mean = mean();
        values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count
    };
    Some(match op {
        VectorOp::Sum => values.iter().sum(),
        VectorOp::Avg => mean(),
        VectorOp::Min => values.iter().copied().reduce(|a, b| if b < a || a.is_nan() { b } else { a })?,
        VectorOp::Max => values.iter().copied().reduce(|a, b| if b > a || a.is_nan() { b } else { a })?,
        VectorOp::Count => count,
        VectorOp::Stddev => variance().sqrt(),
        VectorOp::Stdvar => variance(),
        VectorOp::TopK | VectorOp::BottomK | VectorOp::Sort | VectorOp::SortDesc => return None,
    })
}

/// Keeps at each step the `k` greatest (or least) values.
fn best(mut group: Vec<Values>, k: usize, greatest: bool, steps: usize) -> Vec<Values> {
    for step in 0..steps {
        let mut present: Vec<(usize, f64)> =
            group.iter().enumerate().filter_map(|(i, series)| Some((i, series.values[step]?))).collect();
        present
            .sort_by(|a, b| rank(a.1, b.1, greatest).then_with(|| group[a.0].labels.cmp(&group[b.0].labels)));
        for (index, _) in present.iter().skip(k) {
            group[*index].values[step] = None;
        }
    }
    group.retain(|series| series.values.iter().any(Option::is_some));
    group
}

/// The order of values with the best first; NaN is last.
fn rank(a: f64, b: f64, greatest: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if greatest => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
    }
}

/// By the value at the first step; only instant queries show the order.
fn sorted(mut series: Vec<Values>, greatest: bool) -> Vec<Values> {
    series.sort_by(|a, b| {
        let first = |series: &Values| series.values.first().copied().flatten().unwrap_or(f64::NAN);
        rank(first(a), first(b), greatest).then_with(|| a.labels.cmp(&b.labels))
    });
    series
}

/// Evaluates a binary operation.
pub(super) fn binary(
    op: BinaryOp,
    returns_bool: bool,
    matching: Option<&Matching>,
    left: Operand,
    right: Operand,
    steps: usize,
) -> Result<Operand, Error> {
    Ok(match (left, right) {
        (Operand::Scalar(left), Operand::Scalar(right)) => {
            Operand::Scalar(match (op.comparison(), apply(op, true, left, right)) {
                (Some(_), value) => value.unwrap_or_default(),
                (None, value) => value.unwrap_or(f64::NAN),
            })
        }
        (Operand::Vector(series), Operand::Scalar(right)) => Operand::Vector(each(
            series,
            |value| apply(op, returns_bool, value, right).map(|v| (v, value)),
            op,
            returns_bool,
        )),
        (Operand::Scalar(left), Operand::Vector(series)) => Operand::Vector(each(
            series,
            |value| apply(op, returns_bool, left, value).map(|v| (v, value)),
            op,
            returns_bool,
        )),
        (Operand::Vector(left), Operand::Vector(right)) => match op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
                Operand::Vector(sets(op, matching, left, right, steps))
            }
            _ => Operand::Vector(vectors(op, returns_bool, matching, left, right, steps)?),
        },
    })
}

/// Applies a function to every value; comparisons without `bool` keep the vector's value.
fn each(
    mut series: Vec<Values>,
    function: impl Fn(f64) -> Option<(f64, f64)>,
    op: BinaryOp,
    returns_bool: bool,
) -> Vec<Values> {
    let filters = op.comparison().is_some() && !returns_bool;
    for values in &mut series {
        for value in &mut values.values {
            *value = value.and_then(&function).map(|(result, kept)| if filters { kept } else { result });
        }
    }
    series.retain(|series| series.values.iter().any(Option::is_some));
    series
}

/// One operation on numbers; `None` when a comparison without `bool` does not hold.
fn apply(op: BinaryOp, returns_bool: bool, left: f64, right: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        // As Loki has it: NaN and not an infinity.
        BinaryOp::Div if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Cmp(cmp) => {
            let holds = holds(cmp, left.partial_cmp(&right));
            if returns_bool {
                f64::from(u8::from(holds))
            } else if holds {
                left
            } else {
                return None;
            }
        }
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => return None,
    })
}

/// The labels by which series of both sides find each other.
fn signature(labels: &Labels, matching: Option<&Matching>) -> Labels {
    match matching {
        None => labels.clone(),
        Some(matching) => {
            labels.filtered(|name| matching.names.iter().any(|have| have == name) == matching.on)
        }
    }
}

fn sets(
    op: BinaryOp,
    matching: Option<&Matching>,
    left: Vec<Values>,
    right: Vec<Values>,
    steps: usize,
) -> Vec<Values> {
    let has = |series: &[Values]| {
        let mut has: HashMap<Labels, Vec<bool>> = HashMap::new();
        for values in series {
            let here = has.entry(signature(&values.labels, matching)).or_insert_with(|| vec![false; steps]);
            here.iter_mut().zip(&values.values).for_each(|(here, value)| *here |= value.is_some());
        }
        has
    };
    let filter = |mut series: Vec<Values>, has: &HashMap<Labels, Vec<bool>>, wanted: bool| {
        for values in &mut series {
            let here = has.get(&signature(&values.labels, matching));
            for (step, value) in values.values.iter_mut().enumerate() {
                if here.is_some_and(|here| here[step]) != wanted {
                    *value = None;
                }
            }
        }
        series.retain(|series| series.values.iter().any(Option::is_some));
        series
    };
    match op {
        BinaryOp::And => filter(left, &has(&right), true),
        BinaryOp::Unless => filter(left, &has(&right), false),
        _ => {
            let on_left = has(&left);
            let mut out = left;
            for values in filter(right, &on_left, false) {
                match out.iter_mut().find(|have| have.labels == values.labels) {
                    Some(have) => have.values.iter_mut().zip(values.values).for_each(|(a, b)| *a = a.or(b)),
                    None => out.push(values),
                }
            }
            out
        }
    }
}

fn vectors(
    op: BinaryOp,
    returns_bool: bool,
    matching: Option<&Matching>,
    left: Vec<Values>,
    right: Vec<Values>,
    steps: usize,
) -> Result<Vec<Values>, Error> {
    let group = matching.and_then(|matching| matching.group.as_ref());
    let many_is_right = matches!(group, Some((Side::Right, _)));
    let (many, one) = if many_is_right { (right, left) } else { (left, right) };
    let mut ones: HashMap<Labels, Values> = HashMap::new();
    for values in one {
        let key = signature(&values.labels, matching);
        if let Some(have) = ones.get(&key) {
            let (a, b) = (&have.labels, &values.labels);
            return Err(Error::Execution(format!(
                "found duplicate series for the match group {key}: {a} and {b}; many-to-many matching not allowed"
            )));
        }
        ones.insert(key, values);
    }
    let mut seen: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<Values> = Vec::new();
    for values in many {
        let key = signature(&values.labels, matching);
        let Some(other) = ones.get(&key) else { continue };
        let labels = result_labels(&values.labels, &other.labels, matching);
        let combined = (0..steps).map(|step| {
            let (a, b) = (values.values[step]?, other.values[step]?);
            let (a, b) = if many_is_right { (b, a) } else { (a, b) };
            apply(op, returns_bool, a, b)
        });
        let combined: Vec<Option<f64>> = combined.collect();
        if let Some(&at) = seen.get(&labels) {
            let clash = out[at].values.iter().zip(&combined).any(|(a, b)| a.is_some() && b.is_some());
            if clash {
                return Err(Error::Execution(format!(
                    "multiple matches for labels {labels}: many-to-one matching must be explicit (group_left/group_right)"
                )));
            }
            out[at].values.iter_mut().zip(combined).for_each(|(a, b)| *a = a.or(b));
            continue;
        }
        if combined.iter().any(Option::is_some) {
            seen.insert(labels.clone(), out.len());
            out.push(Values { labels, values: combined });
        }
    }
    Ok(out)
}

fn result_labels(many: &Labels, one: &Labels, matching: Option<&Matching>) -> Labels {
    match matching {
        None => many.clone(),
        Some(Matching { group: Some((_, include)), .. }) => {
            let mut builder = many.to_builder();
            for name in include {
                builder.set(name, one.get(name).unwrap_or_default());
            }
            builder.build()
        }
        Some(_) => signature(many, matching),
    }
}

/// `label_replace`: sets `dst` where the whole of `src` matches.
pub(super) fn label_replace(
    mut series: Vec<Values>,
    dst: &str,
    replacement: &str,
    src: &str,
    regex: &str,
) -> Result<Vec<Values>, Error> {
    let anchored = regex::RegexBuilder::new(&format!("^(?s:{regex})$"))
        .size_limit(crate::matcher::REGEX_SIZE_LIMIT)
        .build()
        .map_err(|err| Error::BadInput(err.to_string()))?;
    let mut seen: HashMap<Labels, ()> = HashMap::new();
    for values in &mut series {
        let value = values.labels.get(src).unwrap_or_default();
        if let Some(captures) = anchored.captures(value) {
            let mut text = String::new();
            captures.expand(replacement, &mut text);
            let mut builder = values.labels.to_builder();
            builder.set(dst, text);
            values.labels = builder.build();
        }
        if seen.insert(values.labels.clone(), ()).is_some() {
            return Err(Error::Execution(format!(
                "label_replace makes two series with the labels {}",
                values.labels
            )));
        }
    }
    Ok(series)
}
