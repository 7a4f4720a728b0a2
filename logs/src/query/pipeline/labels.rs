//! Conditions on labels.

use crate::logql::{CmpOp, LabelFilter, Number, parse_bytes, parse_duration_ns};
use crate::matcher::Matcher;
use crate::query::fields::{ERROR, Fields};
use crate::query::ip::IpMatcher;

/// What a label that does not compare is marked with.
const FILTER_ERROR: &str = "LabelFilterErr";

/// A condition ready to run.
pub(crate) enum LabelTest {
    And(Box<LabelTest>, Box<LabelTest>),
    Or(Box<LabelTest>, Box<LabelTest>),
    Text(Matcher),
    Number { name: String, op: CmpOp, value: Number },
    Ip { name: String, negated: bool, ip: IpMatcher },
}

/// Prepares a condition.
pub(crate) fn label_test(filter: &LabelFilter) -> Result<LabelTest, String> {
    Ok(match filter {
        LabelFilter::And(left, right) => {
            LabelTest::And(Box::new(label_test(left)?), Box::new(label_test(right)?))
        }
        LabelFilter::Or(left, right) => {
            LabelTest::Or(Box::new(label_test(left)?), Box::new(label_test(right)?))
        }
        LabelFilter::Text(matcher) => LabelTest::Text(matcher.clone()),
        LabelFilter::Number { name, op, value } => {
            LabelTest::Number { name: name.clone(), op: *op, value: *value }
        }
        LabelFilter::Ip { name, negated, text } => {
            LabelTest::Ip { name: name.clone(), negated: *negated, ip: IpMatcher::new(text)? }
        }
    })
}

impl LabelTest {
    /// Whether the condition holds. A value that cannot be compared marks the line with an error and
    /// lets it pass.
    pub fn passes(&self, fields: &mut Fields<'_>) -> bool {
        match self {
            Self::And(left, right) => left.passes(fields) && right.passes(fields),
            Self::Or(left, right) => left.passes(fields) || right.passes(fields),
            Self::Text(matcher) => matcher.matches_value(fields.get(&matcher.name)),
            Self::Ip { name, negated, ip } => {
                if fields.error().is_some() {
                    return true;
                }
                fields.has(name) && ip.is(fields.get(name)) != *negated
            }
            Self::Number { name, op, value } => {
                // A line that already failed is passed on, so that its error is seen.
                if fields.error().is_some() && name != ERROR {
                    return true;
                }
                if !fields.has(name) {
                    return false;
                }
                match compare(fields.get(name), *op, *value) {
                    Ok(holds) => holds,
                    Err(details) => {
                        fields.fail(FILTER_ERROR, &details);
                        true
                    }
                }
            }
        }
    }
}

fn compare(text: &str, op: CmpOp, value: Number) -> Result<bool, String> {
    match value {
        Number::Plain(want) => {
            let have =
                parse_number(text).ok_or_else(|| format!("parsing {text:?} as a number: invalid syntax"))?;
            Ok(holds(op, have.partial_cmp(&want)))
        }
        Number::Duration(want) => {
            let have = parse_duration_ns(text).ok_or_else(|| format!("invalid duration {text:?}"))?;
            Ok(holds(op, Some(have.cmp(&want))))
        }
        Number::Bytes(want) => {
            let have = parse_bytes(text).ok_or_else(|| format!("invalid size {text:?}"))?;
            Ok(holds(op, Some(have.cmp(&want))))
        }
    }
}

/// A number as Go reads floats.
pub(in crate::query) fn parse_number(text: &str) -> Option<f64> {
    let plain = text.parse::<f64>().ok();
    plain.or_else(|| {
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
        u64::from_str_radix(hex, 16).ok().map(|value| value as f64)
    })
}

/// Whether a comparison holds; `None` is the order of a NaN.
pub(in crate::query) fn holds(op: CmpOp, order: Option<std::cmp::Ordering>) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match op {
        CmpOp::Equal => order == Some(Equal),
        CmpOp::NotEqual => order != Some(Equal),
        CmpOp::Less => order == Some(Less),
        CmpOp::LessEqual => matches!(order, Some(Less | Equal)),
        CmpOp::Greater => order == Some(Greater),
        CmpOp::GreaterEqual => matches!(order, Some(Greater | Equal)),
    }
}
