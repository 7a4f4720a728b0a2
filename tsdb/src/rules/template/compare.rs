//! `eq`, `ne`, `lt`, `le`, `gt`, `ge` as Go compares: only values of one kind.

use std::cmp::Ordering;

use super::value::Value;

/// The order of two values; `None` when one is NaN.
fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Ok(a.partial_cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(Some(a.cmp(b))),
        (Value::Time(a), Value::Time(b)) => Ok(Some(a.cmp(b))),
        _ => Err(format!("incompatible types for comparison: {} and {}", a.kind(), b.kind())),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        _ => Ok(order(a, b)? == Some(Ordering::Equal)),
    }
}

/// Applies the comparison `name`, when it is one.
pub(super) fn apply(name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    if !matches!(name, "eq" | "ne" | "lt" | "le" | "gt" | "ge") {
        return None;
    }
    Some(compared(name, args).map(Value::Bool))
}

fn compared(name: &str, args: &[Value]) -> Result<bool, String> {
    let [first, others @ ..] = args else {
        return Err(format!("wrong number of args for {name}: want at least 2 got 0"));
    };
    // `eq a b c` holds when a equals any of the others; the rest take exactly two.
    if others.is_empty() || (name != "eq" && others.len() != 1) {
        return Err(format!("wrong number of args for {name}: want 2 got {}", args.len()));
    }
    match name {
        "eq" => {
            for other in others {
                if equal(first, other)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        "ne" => Ok(!equal(first, &others[0])?),
        _ => {
            let order = order(first, &others[0])?;
            Ok(match name {
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            })
        }
    }
}
