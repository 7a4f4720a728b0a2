//! `detected_level`: how serious an entry is, from its labels, fields or text.

use std::borrow::Cow;

use super::fields::Fields;
use super::{json, logfmt};

/// Name of the label.
pub(crate) const DETECTED_LEVEL: &str = "detected_level";

/// Labels and fields that say it, first come first.
const NAMES: [&str; 8] =
    ["level", "LEVEL", "Level", "severity", "SEVERITY", "Severity", "lvl", "severity_text"];

/// The level of a line: one of `trace debug info warn error critical fatal unknown`.
pub(super) fn detect(fields: &Fields<'_>, line: &str) -> &'static str {
    for name in NAMES {
        let value = fields.get(name);
        if !value.is_empty() {
            return normal(value).unwrap_or("unknown");
        }
    }
    let text = line.trim_start();
    let mut found = None;
    let is_level = |name: &str| NAMES.iter().any(|level| name.eq_ignore_ascii_case(level));
    if text.starts_with('{') {
        let wanted = |name: &str, parent: bool| !parent && is_level(name);
        let parsed =
            json::flatten(text, &wanted, &mut |_, value: Cow<'_, str>| found = found.or(normal(&value)));
        if parsed.is_some() && found.is_some() {
            return found.unwrap_or("unknown");
        }
    } else if text.contains('=') {
        let each = |key: &str, value: Option<Cow<'_, str>>| {
            if let Some(value) = value
                && found.is_none()
                && is_level(key)
            {
                found = normal(&value);
            }
        };
        if logfmt::pairs(text, false, each).is_ok()
            && let Some(level) = found
        {
            return level;
        }
    }
    words(text)
}

/// The level that a value names.
fn normal(value: &str) -> Option<&'static str> {
    const LEVELS: [(&str, &[&str]); 7] = [
        ("trace", &["trace", "trc"]),
        ("debug", &["debug", "dbg"]),
        ("info", &["info", "inf", "information"]),
        ("warn", &["warn", "wrn", "warning"]),
        ("error", &["error", "err"]),
        ("critical", &["critical"]),
        ("fatal", &["fatal"]),
    ];
    let value = value.trim();
    LEVELS
        .iter()
        .find(|(_, names)| names.iter().any(|name| value.eq_ignore_ascii_case(name)))
        .map(|(level, _)| *level)
}

/// The first level named as a word of a text.
fn words(text: &str) -> &'static str {
    let head: &str = text.get(..256).unwrap_or(text);
    head.split(|c: char| !c.is_ascii_alphanumeric()).find_map(normal).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_then_fields_then_words() {
        let level = |line: &str| detect(&Fields::default(), line);
        assert_eq!(level(r#"{"msg":"x","level":"WARNING"}"#), "warn");
        assert_eq!(level("ts=1 lvl=err msg=info"), "error");
        assert_eq!(level("2024-01-01 ERROR something"), "error");
        assert_eq!(level("all is well"), "unknown");
        let labels = binnacle_proto::Labels::from_pairs([("level", "debug")]).unwrap();
        let mut fields = Fields::default();
        fields.reset(&labels, None);
        assert_eq!(detect(&fields, "ERROR"), "debug");
    }
}
