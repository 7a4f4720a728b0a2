//! Values that templates handle, and how Go prints them.

use std::collections::BTreeMap;
use std::rc::Rc;

use binnacle_proto::Labels;

use super::humanize::go_general;

#[derive(Debug, Clone)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    /// Text to text: labels. A key that is missing is the empty string.
    Map(Rc<BTreeMap<String, String>>),
    /// What `args` makes: `arg0`, `arg1`, …
    Args(Rc<Vec<Value>>),
    /// One element of what `query` answers.
    Sample(Rc<(Labels, f64)>),
    List(Rc<Vec<Value>>),
    /// Milliseconds since the epoch.
    Time(i64),
    /// Seconds.
    Duration(f64),
    /// The dot at the top.
    Root,
}

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Str(text.into())
    }

    /// Go's idea of true: not the zero value, not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Duration(seconds) => *seconds != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Args(values) | Self::List(values) => !values.is_empty(),
            Self::Sample(_) | Self::Time(_) | Self::Root => true,
        }
    }

    /// The type in error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::Map(_) | Self::Args(_) => "map",
            Self::Sample(_) => "sample",
            Self::List(_) => "list",
            Self::Time(_) => "time",
            Self::Duration(_) => "duration",
            Self::Root => "data",
        }
    }

    /// As Prometheus' functions take numbers: numbers, texts of numbers, durations.
    pub(super) fn number(&self) -> Result<f64, String> {
        match self {
            Self::Float(number) => Ok(*number),
            Self::Int(number) => Ok(*number as f64),
            Self::Duration(seconds) => Ok(*seconds),
            Self::Str(text) => {
                crate::promql::parse_value(text).ok_or_else(|| format!("{text:?} is not a number"))
            }
            other => Err(format!("can't convert {} to a number", other.kind())),
        }
    }

    pub(super) fn str(&self) -> Result<&str, String> {
        match self {
            Self::Str(text) => Ok(text),
            other => Err(format!("wrong type for value; expected string; got {}", other.kind())),
        }
    }

    /// As `%v` prints it; at the top, an absent value is `<no value>`.
    pub(super) fn print(&self, at_top: bool) -> String {
        match self {
            Self::Nil if at_top => "<no value>".into(),
            Self::Nil => "<nil>".into(),
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => go_general(*number, None),
            Self::Str(text) => text.to_string(),
            Self::Map(map) => {
                let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Args(values) => {
                let pairs = values.iter().enumerate();
                let pairs: Vec<String> =
                    pairs.map(|(i, value)| format!("arg{i}:{}", value.print(false))).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Sample(sample) => {
                let labels: BTreeMap<String, String> =
                    sample.0.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                format!("&{{{} {}}}", Self::Map(Rc::new(labels)).print(false), go_general(sample.1, None))
            }
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(|value| value.print(false)).collect();
                format!("[{}]", values.join(" "))
            }
            Self::Time(t_ms) => super::humanize::go_time(*t_ms),
            Self::Duration(seconds) => super::humanize::go_duration(*seconds),
            Self::Root => "<data>".into(),
        }
    }

    /// `.name` of this value.
    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Map(map) => Ok(Self::text(map.get(name).map_or("", String::as_str))),
            Self::Args(values) => {
                let index = name.strip_prefix("arg").and_then(|index| index.parse::<usize>().ok());
                Ok(index.and_then(|index| values.get(index).cloned()).unwrap_or(Self::Nil))
            }
            Self::Sample(sample) => match name {
                "Labels" => Ok(labels_value(&sample.0)),
                "Value" => Ok(Self::Float(sample.1)),
                _ => Err(format!("can't evaluate field {name} in a sample; it has Labels and Value")),
            },
            Self::Nil => Err(format!("nil pointer evaluating .{name}")),
            other => Err(format!("can't evaluate field {name} in type {}", other.kind())),
        }
    }
}

pub(super) fn labels_value(labels: &Labels) -> Value {
    Value::Map(Rc::new(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}
