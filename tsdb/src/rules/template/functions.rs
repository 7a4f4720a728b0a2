//! The functions of Prometheus templates and the built-in ones of Go's.

use std::rc::Rc;

use super::value::{Value, labels_value};
use super::{Data, compare, humanize as human, printf};

/// Names besides the comparisons.
const NAMES: [&str; 47] = [
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "js",
    "urlquery",
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "args",
    "reReplaceAll",
    "safeHtml",
    "match",
    "title",
    "toUpper",
    "toLower",
    "graphLink",
    "tableLink",
    "sortByLabel",
    "stripPort",
    "stripDomain",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "toDuration",
    "now",
    "pathPrefix",
    "externalURL",
    "parseDuration",
    "urlQueryEscape",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls function `name`. `and` and `or` are not here: they look at their arguments one by one.
pub(super) fn call(name: &str, args: &[Value], data: &Data<'_>) -> Result<Value, String> {
    if let Some(compared) = compare::apply(name, args) {
        return compared;
    }
    let want = |count: usize| match args.len() == count {
        true => Ok(()),
        false => Err(format!("wrong number of args for {name}: want {count} got {}", args.len())),
    };
    let text = |at: usize| args[at].str();
    let number = |shown: fn(f64) -> String| {
        want(1)?;
        Ok(Value::text(shown(args[0].number()?)))
    };
    match name {
        "humanize" => number(human::humanize),
        "humanize1024" => number(human::humanize_1024),
        "humanizeDuration" => number(human::humanize_duration),
        "humanizePercentage" => number(human::humanize_percentage),
        "humanizeTimestamp" => {
            want(1)?;
            let seconds = args[0].number()?;
            Ok(match human::not_finite(seconds) {
                Some(text) => Value::text(text),
                None => Value::text(human::go_time((seconds * 1000.0) as i64)),
            })
        }
        "toTime" => {
            want(1)?;
            Ok(Value::Time((args[0].number()? * 1000.0) as i64))
        }
        "toDuration" => {
            want(1)?;
            Ok(Value::Duration(args[0].number()?))
        }
        "now" => Ok(Value::Float(data.at_ms as f64 / 1000.0)),
        "parseDuration" => {
            want(1)?;
            let parsed = crate::promql::parse_duration(text(0)?).map_err(|error| error.to_string())?;
            Ok(Value::Float(parsed.as_secs_f64()))
        }
        "externalURL" => Ok(Value::text(data.external_url)),
        "pathPrefix" => Ok(Value::text(path_of(data.external_url))),
        "query" | "first" | "label" | "value" | "strvalue" | "sortByLabel" => samples(name, args, data),
        "args" => Ok(Value::Args(Rc::new(args.to_vec()))),
        "not" => {
            want(1)?;
            Ok(Value::Bool(!args[0].is_true()))
        }
        "len" => {
            want(1)?;
            let len = match &args[0] {
                Value::Str(text) => text.len(),
                Value::Map(map) => map.len(),
                Value::List(values) | Value::Args(values) => values.len(),
                other => return Err(format!("len of type {}", other.kind())),
            };
            Ok(Value::Int(len as i64))
        }
        "index" => index(args),
        "slice" => slice(args),
        "print" => Ok(Value::text(args.iter().map(|value| value.print(false)).collect::<Vec<_>>().join(" "))),
        "println" => {
            let line = args.iter().map(|value| value.print(false)).collect::<Vec<_>>().join(" ");
            Ok(Value::text(line + "\n"))
        }
        "printf" => match args {
            [format, rest @ ..] => Ok(Value::text(printf::printf(format.str()?, rest))),
            [] => Err("wrong number of args for printf: want at least 1 got 0".into()),
        },
        _ => texts(name, args),
    }
}

/// Functions from texts to a text.
fn texts(name: &str, args: &[Value]) -> Result<Value, String> {
    let count = match name {
        "reReplaceAll" => 3,
        "match" => 2,
        _ => 1,
    };
    if args.len() != count {
        return Err(format!("wrong number of args for {name}: want {count} got {}", args.len()));
    }
    let regex = |pattern: &str| {
        let built = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
        built.map_err(|error| format!("regex {pattern:?}: {error}"))
    };
    let text = match (name, args) {
        ("reReplaceAll", [pattern, replacement, text]) => {
            regex(pattern.str()?)?.replace_all(text.str()?, replacement.str()?).into_owned()
        }
        ("match", [pattern, text]) => return Ok(Value::Bool(regex(pattern.str()?)?.is_match(text.str()?))),
        (_, [value]) => {
            let text = match (name, value) {
                ("html" | "js" | "urlquery", value) => &value.print(false),
                (_, value) => value.str()?,
            };
            match name {
                "title" => titled(text),
                "toUpper" => text.to_uppercase(),
                "toLower" => text.to_lowercase(),
                "stripPort" => host_and_port(text).map_or(text, |(host, _)| host).to_owned(),
                "stripDomain" => without_domain(text),
                "graphLink" => format!("/graph?g0.expr={}&g0.tab=0", url_escaped(text)),
                "tableLink" => format!("/graph?g0.expr={}&g0.tab=1", url_escaped(text)),
                "urlQueryEscape" | "urlquery" => url_escaped(text),
                "html" => text
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;")
                    .replace('"', "&#34;")
                    .replace('\'', "&#39;"),
                "js" => {
                    text.replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\"").replace('\n', "\\n")
                }
                _ => text.to_owned(),
            }
        }
        _ => return Err(format!("wrong arguments for {name}")),
    };
    Ok(Value::text(text))
}

fn samples(name: &str, args: &[Value], data: &Data<'_>) -> Result<Value, String> {
    match (name, args) {
        ("query", [query]) => {
            let found = (data.query)(query.str()?)?;
            Ok(Value::List(Rc::new(found.into_iter().map(|sample| Value::Sample(Rc::new(sample))).collect())))
        }
        ("first", [Value::List(values)]) => {
            values.first().cloned().ok_or_else(|| "first() called on vector with no elements".into())
        }
        ("label", [name, Value::Sample(sample)]) => {
            Ok(Value::text(sample.0.get(name.str()?).unwrap_or_default()))
        }
        ("value", [Value::Sample(sample)]) => Ok(Value::Float(sample.1)),
        ("strvalue", [Value::Sample(sample)]) => {
            Ok(Value::text(sample.0.get("__value__").unwrap_or_default()))
        }
        ("sortByLabel", [name, Value::List(values)]) => {
            let name = name.str()?;
            let mut sorted = values.to_vec();
            sorted.sort_by_cached_key(|value| match value {
                Value::Sample(sample) => sample.0.get(name).unwrap_or_default().to_owned(),
                _ => String::new(),
            });
            Ok(Value::List(Rc::new(sorted)))
        }
        _ => {
            let kinds: Vec<&str> = args.iter().map(Value::kind).collect();
            Err(format!("wrong arguments for {name}: got ({})", kinds.join(", ")))
        }
    }
}

fn index(args: &[Value]) -> Result<Value, String> {
    let [value, keys @ ..] = args else { return Err("wrong number of args for index".into()) };
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(_), Value::Str(key)) => value.field(key)?,
            (Value::Args(_), Value::Str(key)) => value.field(key)?,
            (Value::List(values), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| values.get(at).cloned())
                .ok_or_else(|| format!("error calling index: index out of range: {at}"))?,
            (Value::Str(text), Value::Int(at)) => usize::try_from(*at)
                .ok()
                .and_then(|at| text.as_bytes().get(at))
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or_else(|| format!("error calling index: index out of range: {at}"))?,
            (value, key) => {
                return Err(format!("can't index item of type {} with {}", value.kind(), key.kind()));
            }
        };
    }
    Ok(value)
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let bounds = |len: usize| {
        let bound = |at: usize, default: usize| match args.get(at) {
            None => Ok(default),
            Some(Value::Int(bound)) => {
                usize::try_from(*bound).map_err(|_| format!("negative slice index {bound}"))
            }
            Some(other) => Err(format!("cannot index slice with type {}", other.kind())),
        };
        let (from, to) = (bound(1, 0)?, bound(2, len)?);
        if from > to || to > len {
            Err(format!("slice index out of range: {from}:{to} of {len}"))
        } else {
            Ok(from..to)
        }
    };
    match args.first() {
        Some(Value::Str(text)) => {
            let range = bounds(text.len())?;
            text.get(range).map(Value::text).ok_or_else(|| "slice cuts a character in two".into())
        }
        Some(Value::List(values)) => Ok(Value::List(Rc::new(values[bounds(values.len())?].to_vec()))),
        _ => Err("can't slice this type".into()),
    }
}

/// Every word with a capital, as Go's `strings.Title`.
fn titled(text: &str) -> String {
    let mut after_letter = false;
    text.chars()
        .map(|c| {
            let begins = !after_letter;
            after_letter = c.is_alphanumeric() || c == '_' || c == '\'';
            if begins { c.to_uppercase().next().unwrap_or(c) } else { c }
        })
        .collect()
}

fn host_and_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return rest.strip_prefix(':').map(|port| (host, port));
    }
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains(':')).then_some((host, port))
}

fn without_domain(text: &str) -> String {
    let (host, port) = host_and_port(text).map_or((text, None), |(host, port)| (host, Some(port)));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    match port.filter(|port| !port.is_empty()) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn path_of(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| &after_scheme[at..])
}

pub(crate) fn url_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The value of `$labels` and of `.Labels`.
pub(super) fn labels_of(data: &Data<'_>) -> Value {
    labels_value(data.labels)
}
