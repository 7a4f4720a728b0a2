//! Names as Prometheus 3 gives them by default: underscores for what its names cannot hold, suffixes for
//! unit and type.

/// What decides the suffix of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    Counter,
    Gauge,
    Other,
}

/// OpenTelemetry's units and the words that names have for them.
const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// Units behind a slash.
const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The name of a metric family.
pub(super) fn metric_name(name: &str, unit: &str, kind: NameKind) -> String {
    let mut parts: Vec<&str> = name
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'))
        .filter(|part| !part.is_empty())
        .collect();
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (word(main, &UNITS), word(per, &PER_UNITS));
    if !main.is_empty() && !parts.contains(&main.as_str()) {
        parts.push(&main);
    }
    if !per.is_empty() && !parts.contains(&per.as_str()) {
        parts.extend(["per", &per]);
    }
    let suffix = match kind {
        NameKind::Counter => Some("total"),
        // Some senders count things in units of "1": those are no ratios.
        NameKind::Gauge if unit == "1" => Some("ratio"),
        NameKind::Gauge | NameKind::Other => None,
    };
    if let Some(suffix) = suffix {
        parts.retain(|part| *part != suffix);
        parts.push(suffix);
    }
    let joined = parts.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// The word for a unit; itself, cleaned, when it is not a known one. Notes in braces are no units.
fn word(unit: &str, known: &[(&str, &str)]) -> String {
    let unit = unit.trim();
    if unit.contains(['{', '}']) {
        return String::new();
    }
    let found = known.iter().find(|(name, _)| *name == unit).map_or(unit, |(_, word)| word);
    let parts =
        found.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("_")
}

/// The name of a label.
pub(super) fn label_name(key: &str) -> String {
    let name: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{name}")
    } else if name.starts_with('_') && !name.starts_with("__") {
        format!("key{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_suffixes_for_unit_and_type() {
        for (name, unit, kind, want) in [
            ("http.server.duration", "ms", NameKind::Other, "http_server_duration_milliseconds"),
            ("system.cpu.time", "s", NameKind::Counter, "system_cpu_time_seconds_total"),
            ("requests.total.count", "{request}", NameKind::Counter, "requests_count_total"),
            ("memory_bytes", "By", NameKind::Gauge, "memory_bytes"),
            ("usage", "1", NameKind::Gauge, "usage_ratio"),
            ("usage", "1", NameKind::Counter, "usage_total"),
            ("speed", "m/s", NameKind::Gauge, "speed_meters_per_second"),
            ("speed", "By/{packet}", NameKind::Gauge, "speed_bytes"),
            ("2xx", "", NameKind::Gauge, "_2xx"),
            ("a__b..c", "foo-bar", NameKind::Gauge, "a_b_c_foo_bar"),
        ] {
            assert_eq!(metric_name(name, unit, kind), want, "{name} {unit}");
        }
    }

    #[test]
    fn labels_begin_with_a_letter() {
        for (key, want) in [("host.name", "host_name"), ("1st", "key_1st"), ("_x", "key_x"), ("__x", "__x")] {
            assert_eq!(label_name(key), want);
        }
    }
}
