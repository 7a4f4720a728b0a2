//! Functions of templates.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Scope, Value};
use crate::logql::{parse_bytes, parse_duration_ns};

/// How a time is written when nothing else is asked for.
pub(super) const TIME_LAYOUT: &str = "2006-01-02T15:04:05.999999999Z07:00";

/// Names of all functions, ascending.
const NAMES: &[&str] = &[
    "Replace",
    "ToLower",
    "ToUpper",
    "Trim",
    "TrimLeft",
    "TrimPrefix",
    "TrimRight",
    "TrimSpace",
    "TrimSuffix",
    "__line__",
    "__timestamp__",
    "add",
    "addf",
    "alignLeft",
    "alignRight",
    "and",
    "b64dec",
    "b64enc",
    "bytes",
    "ceil",
    "contains",
    "count",
    "date",
    "default",
    "div",
    "divf",
    "duration",
    "duration_seconds",
    "eq",
    "float64",
    "floor",
    "ge",
    "gt",
    "hasPrefix",
    "hasSuffix",
    "indent",
    "int",
    "le",
    "len",
    "lower",
    "lt",
    "max",
    "maxf",
    "min",
    "minf",
    "mod",
    "mul",
    "mulf",
    "ne",
    "nindent",
    "not",
    "or",
    "print",
    "printf",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "repeat",
    "replace",
    "round",
    "sub",
    "subf",
    "substr",
    "title",
    "toDate",
    "trim",
    "trimAll",
    "trimPrefix",
    "trimSuffix",
    "trunc",
    "unixEpoch",
    "unixEpochMillis",
    "unixEpochNanos",
    "upper",
    "urldecode",
    "urlencode",
];

/// The function's own name for a name.
pub(super) fn find(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|have| **have == name).copied()
}

/// Most bytes that `repeat` and padding may make.
const MAX_TEXT: usize = 1 << 20;

/// Calls a function.
pub(super) fn call<'a>(name: &str, args: Vec<Value<'a>>, scope: &Scope<'a>) -> Result<Value<'a>, String> {
    let text = |at: usize| -> Result<Cow<'_, str>, String> {
        args.get(at).map(Value::text).ok_or_else(|| format!("needs at least {} arguments", at + 1))
    };
    let int = |at: usize| {
        args.get(at).map(Value::int).ok_or_else(|| format!("needs at least {} arguments", at + 1))
    };
    let float = |at: usize| {
        args.get(at).map(Value::float).ok_or_else(|| format!("needs at least {} arguments", at + 1))
    };
    let owned = |text: String| Ok(Value::Text(Cow::Owned(text)));
    let fold = |start: i64, of: fn(i64, i64) -> i64| args.iter().map(Value::int).fold(start, of);
    let reduce = |of: fn(f64, f64) -> f64| args.iter().map(Value::float).reduce(of).unwrap_or_default();
    match name {
        "__line__" => Ok(Value::Text(Cow::Borrowed(scope.line))),
        "__timestamp__" => Ok(Value::Time(scope.time_ns)),
        "ToLower" | "lower" => owned(text(0)?.to_lowercase()),
        "ToUpper" | "upper" => owned(text(0)?.to_uppercase()),
        "title" => owned(title(&text(0)?)),
        "Trim" => owned(text(0)?.trim_matches(|c| text(1).is_ok_and(|set| set.contains(c))).to_owned()),
        "TrimLeft" => {
            owned(text(0)?.trim_start_matches(|c| text(1).is_ok_and(|set| set.contains(c))).to_owned())
        }
        "TrimRight" => {
            owned(text(0)?.trim_end_matches(|c| text(1).is_ok_and(|set| set.contains(c))).to_owned())
        }
        "trimAll" => owned(text(1)?.trim_matches(|c| text(0).is_ok_and(|set| set.contains(c))).to_owned()),
        "TrimPrefix" => owned(strip_prefix(&text(0)?, &text(1)?).to_owned()),
        "trimPrefix" => owned(strip_prefix(&text(1)?, &text(0)?).to_owned()),
        "TrimSuffix" => owned(strip_suffix(&text(0)?, &text(1)?).to_owned()),
        "trimSuffix" => owned(strip_suffix(&text(1)?, &text(0)?).to_owned()),
        "TrimSpace" | "trim" => owned(text(0)?.trim().to_owned()),
        "Replace" => {
            let (s, old, new, n) = (text(0)?, text(1)?, text(2)?, int(3)?);
            owned(if n < 0 { s.replace(&*old, &new) } else { s.replacen(&*old, &new, n as usize) })
        }
        "replace" => owned(text(2)?.replace(&*text(0)?, &text(1)?)),
        "regexReplaceAll" => owned(regex(&text(0)?)?.replace_all(&text(1)?, &*text(2)?).into_owned()),
        "regexReplaceAllLiteral" => {
            owned(regex(&text(0)?)?.replace_all(&text(1)?, regex::NoExpand(&text(2)?)).into_owned())
        }
        "count" => Ok(Value::Int(regex(&text(0)?)?.find_iter(&text(1)?).count() as i64)),
        "contains" => Ok(Value::Bool(text(1)?.contains(&*text(0)?))),
        "hasPrefix" => Ok(Value::Bool(text(1)?.starts_with(&*text(0)?))),
        "hasSuffix" => Ok(Value::Bool(text(1)?.ends_with(&*text(0)?))),
        "trunc" => owned(trunc(int(0)?, &text(1)?)),
        "substr" => owned(substr(int(0)?, int(1)?, &text(2)?)),
        "indent" => owned(indent(int(0)?, &text(1)?)),
        "nindent" => owned(format!("\n{}", indent(int(0)?, &text(1)?))),
        "alignLeft" => owned(align(int(0)?, &text(1)?, true)),
        "alignRight" => owned(align(int(0)?, &text(1)?, false)),
        "repeat" => {
            let (times, s) = (int(0)?.max(0) as usize, text(1)?);
            if s.len().saturating_mul(times) > MAX_TEXT {
                return Err(format!("makes more than {MAX_TEXT} bytes"));
            }
            owned(s.repeat(times))
        }
        "default" => match args.get(1).filter(|value| value.is_true()) {
            Some(value) => Ok(value.clone()),
            None => args.first().cloned().ok_or_else(|| "needs an argument".into()),
        },
        "printf" => owned(printf(&text(0)?, args.get(1..).unwrap_or_default())),
        "print" => owned(args.iter().map(|arg| arg.text().into_owned()).collect()),
        "len" => Ok(Value::Int(text(0)?.len() as i64)),
        "not" => Ok(Value::Bool(!args.first().is_some_and(Value::is_true))),
        "eq" => Ok(Value::Bool(
            args.iter().skip(1).any(|other| order(&args[0], other).is_some_and(|o| o.is_eq())),
        )),
        "ne" | "lt" | "le" | "gt" | "ge" => {
            let [left, right] = args.as_slice() else { return Err("needs two arguments".into()) };
            let order = order(left, right).ok_or("incompatible types for comparison")?;
            Ok(Value::Bool(match name {
                "ne" => order.is_ne(),
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        "int" => Ok(Value::Int(int(0)?)),
        "float64" => Ok(Value::Float(float(0)?)),
        "add" => Ok(Value::Int(fold(0, i64::wrapping_add))),
        "mul" => Ok(Value::Int(fold(1, i64::wrapping_mul))),
        "sub" => Ok(Value::Int(int(0)?.wrapping_sub(int(1)?))),
        "div" => int(0)?.checked_div(int(1)?).map(Value::Int).ok_or_else(|| "division by zero".into()),
        "mod" => int(0)?.checked_rem(int(1)?).map(Value::Int).ok_or_else(|| "division by zero".into()),
        "max" => Ok(Value::Int(fold(i64::MIN, i64::max))),
        "min" => Ok(Value::Int(fold(i64::MAX, i64::min))),
        "addf" => Ok(Value::Float(reduce(|a, b| a + b))),
        "subf" => Ok(Value::Float(reduce(|a, b| a - b))),
        "mulf" => Ok(Value::Float(reduce(|a, b| a * b))),
        "divf" => Ok(Value::Float(reduce(|a, b| a / b))),
        "maxf" => Ok(Value::Float(reduce(f64::max))),
        "minf" => Ok(Value::Float(reduce(f64::min))),
        "ceil" => Ok(Value::Float(float(0)?.ceil())),
        "floor" => Ok(Value::Float(float(0)?.floor())),
        "round" => {
            let scale = 10f64.powi(int(1)?.clamp(0, 15) as i32);
            Ok(Value::Float((float(0)? * scale).round() / scale))
        }
        "bytes" => {
            parse_bytes(&text(0)?).map(|bytes| Value::Float(bytes as f64)).ok_or_else(|| "not a size".into())
        }
        "duration" | "duration_seconds" => {
            let ns = parse_duration_ns(&text(0)?).ok_or("not a duration")?;
            Ok(Value::Float(ns as f64 / 1e9))
        }
        "date" => owned(format_time(int(1)?, &text(0)?)),
        "toDate" => {
            let (layout, value) = (text(0)?, text(1)?);
            parse_time(&value).map(Value::Time).ok_or_else(|| format!("cannot read {value:?} as {layout:?}"))
        }
        "unixEpoch" => owned(int(0)?.div_euclid(1_000_000_000).to_string()),
        "unixEpochMillis" => owned(int(0)?.div_euclid(1_000_000).to_string()),
        "unixEpochNanos" => owned(int(0)?.to_string()),
        "urlencode" => owned(urlencode(&text(0)?)),
        "urldecode" => {
            urldecode(&text(0)?).map(|s| Value::Text(Cow::Owned(s))).ok_or_else(|| "bad escape".into())
        }
        "b64enc" => owned(STANDARD.encode(text(0)?.as_bytes())),
        "b64dec" => owned(base64_decode(&text(0)?).ok_or("not base64")?),
        other => Err(format!("function {other} is not there")),
    }
}

fn regex(text: &str) -> Result<regex::Regex, String> {
    let built = regex::RegexBuilder::new(text).size_limit(crate::matcher::REGEX_SIZE_LIMIT).build();
    built.map_err(|err| err.to_string())
}

fn strip_prefix<'s>(text: &'s str, prefix: &str) -> &'s str {
    text.strip_prefix(prefix).unwrap_or(text)
}

fn strip_suffix<'s>(text: &'s str, suffix: &str) -> &'s str {
    text.strip_suffix(suffix).unwrap_or(text)
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let first = std::mem::replace(&mut start, !c.is_alphanumeric() && c != '_' && c != '\'');
            if first { c.to_uppercase().next().unwrap_or(c) } else { c }
        })
        .collect()
}

/// The first `n` characters, or the last when `n` is negative.
fn trunc(n: i64, text: &str) -> String {
    let count = text.chars().count();
    let keep = n.unsigned_abs() as usize;
    if n >= 0 {
        text.chars().take(keep).collect()
    } else {
        text.chars().skip(count.saturating_sub(keep)).collect()
    }
}

fn substr(from: i64, to: i64, text: &str) -> String {
    let from = from.max(0) as usize;
    let rest = text.chars().skip(from);
    if to < 0 { rest.collect() } else { rest.take((to as usize).saturating_sub(from)).collect() }
}

fn indent(spaces: i64, text: &str) -> String {
    let pad = " ".repeat(spaces.clamp(0, 1000) as usize);
    let lines: Vec<String> = text.split('\n').map(|line| format!("{pad}{line}")).collect();
    lines.join("\n")
}

fn align(width: i64, text: &str, left: bool) -> String {
    let width = width.clamp(0, MAX_TEXT as i64) as usize;
    let count = text.chars().count();
    if count >= width {
        return if left {
            text.chars().take(width).collect()
        } else {
            text.chars().skip(count - width).collect()
        };
    }
    let pad = " ".repeat(width - count);
    if left { format!("{text}{pad}") } else { format!("{pad}{text}") }
}

fn order(left: &Value<'_>, right: &Value<'_>) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Text(_) | Value::Bool(_), _) | (_, Value::Text(_) | Value::Bool(_)) => None,
        (a, b) => a.float().partial_cmp(&b.float()),
    }
}

/// `%s %v %d %f %.2f %q %t %x %5d %-5s %05d %%`
fn printf(format: &str, args: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        let mut take = |set: &str| {
            let mut taken = String::new();
            while let Some(c) = chars.next_if(|c| set.contains(*c)) {
                taken.push(c);
            }
            taken
        };
        flags.push_str(&take("-+ 0#"));
        let width: usize = take("0123456789").parse().unwrap_or(0);
        let precision =
            if take(".").is_empty() { None } else { Some(take("0123456789").parse().unwrap_or(0usize)) };
        let Some(verb) = chars.next() else { break };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(arg) = args.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let text = match verb {
            's' | 'v' => match precision {
                Some(precision) => arg.text().chars().take(precision).collect(),
                None => arg.text().into_owned(),
            },
            'd' => arg.int().to_string(),
            'f' => format!("{:.*}", precision.unwrap_or(6).min(64), arg.float()),
            'q' => crate::logql::quote(&arg.text()),
            't' => arg.is_true().to_string(),
            'x' => format!("{:x}", arg.int()),
            other => format!("%!{other}({})", arg.text()),
        };
        let pad = width.min(1000).saturating_sub(text.chars().count());
        match (flags.contains('-'), flags.contains('0') && verb != 's') {
            (true, _) => out.push_str(&format!("{text}{}", " ".repeat(pad))),
            (false, true) => out.push_str(&format!("{}{text}", "0".repeat(pad))),
            (false, false) => out.push_str(&format!("{}{text}", " ".repeat(pad))),
        }
    }
    out
}

/// Go's reference time and what its parts are in strftime, longest first.
const LAYOUT: [(&str, &str); 28] = [
    (".999999999", "%.f"),
    (".000000000", "%.9f"),
    (".000000", "%.6f"),
    (".000", "%.3f"),
    ("January", "%B"),
    ("Monday", "%A"),
    ("Z07:00", "Z"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("2006", "%Y"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// Writes a time (UTC) in a Go layout.
pub(super) fn format_time(ns: i64, layout: &str) -> String {
    let Ok(time) = Timestamp::from_nanosecond(i128::from(ns)) else { return String::new() };
    let zoned = time.to_zoned(TimeZone::UTC);
    let mut format = String::new();
    let mut rest = layout;
    while !rest.is_empty() {
        if let Some((go, strftime)) = LAYOUT.iter().find(|(go, _)| rest.starts_with(go)) {
            format.push_str(strftime);
            rest = &rest[go.len()..];
            continue;
        }
        let c = rest.chars().next().unwrap_or_default();
        if c == '%' {
            format.push('%');
        }
        format.push(c);
        rest = &rest[c.len_utf8()..];
    }
    jiff::fmt::strtime::format(&format, &zoned).unwrap_or_default()
}

fn parse_time(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

fn urlencode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn urldecode(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| (b? as char).to_digit(16);
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// With padding or without.
fn base64_decode(text: &str) -> Option<String> {
    let bytes = STANDARD_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok()
}
