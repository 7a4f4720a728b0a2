//! Durations, quantities and lists as people write them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::Capacity;

/// Bytes by suffix, the longer suffixes first.
const BYTE_UNITS: [(&str, f64); 12] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("k", 1e3),
    ("K", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("", 1.0),
];

/// `250ms`, `10s`, `1.5m`, `2h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("{text:?} is not a duration like 10s or 250ms")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a duration like 10s or 250ms"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|e| format!("{text:?}: {e}"))
}

/// `2` cores or `500m` thousandths of a core.
pub(crate) fn parse_cpu(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(number) => (number, 1.0),
        None => (text, 1000.0),
    };
    parse_positive(number, factor).ok_or_else(|| format!("{text:?} is not a number of cores like 2 or 500m"))
}

/// `2Gi`, `512Mi`, `1G`, `1048576`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let unit = BYTE_UNITS.iter().find_map(|(suffix, f)| Some((text.strip_suffix(suffix)?, f)));
    unit.and_then(|(number, factor)| parse_positive(number, *factor))
        .ok_or_else(|| format!("{text:?} is not a size like 512Mi or 2G"))
}

fn parse_positive(number: &str, factor: f64) -> Option<u64> {
    let value = number.parse::<f64>().ok()? * factor;
    (1.0..=9e18).contains(&value).then_some(value.round() as u64)
}

/// `cpu=1,memory=2Gi`, either part alone too.
pub(crate) fn parse_capacity(text: &str) -> Result<Capacity, String> {
    let mut capacity = Capacity::default();
    for (name, value) in parse_pairs(text)? {
        match name.as_str() {
            "cpu" => capacity.cpu_millis = Some(parse_cpu(&value)?),
            "memory" => capacity.memory_bytes = Some(parse_bytes(&value)?),
            _ => return Err(format!("{name:?} is not a resource: cpu or memory")),
        }
    }
    Ok(capacity)
}

/// `a=1,b=2`.
pub(crate) fn parse_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

/// A quantity may be a TOML string or a whole number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Number(u64),
    Fraction(f64),
}

impl Written {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
        }
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
}

pub(super) fn optional_cpu<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    parse_cpu(&Written::deserialize(from)?.text()).map(Some).map_err(D::Error::custom)
}

pub(super) fn optional_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    parse_bytes(&Written::deserialize(from)?.text()).map(Some).map_err(D::Error::custom)
}
