//! Numbers, durations and times as Go and Prometheus print them for people.

/// `value` with `digits` significant digits (`None`: as many as it takes to read back the same): the
/// decimal digits without trailing zeros, and the exponent of the first.
fn digits_of(value: f64, digits: Option<usize>) -> (String, i32) {
    let text = match digits {
        Some(digits) => format!("{:.*e}", digits.max(1) - 1, value.abs()),
        None => format!("{:e}", value.abs()),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    let kept = digits.trim_end_matches('0');
    (if kept.is_empty() { "0".to_owned() } else { kept.to_owned() }, exponent.parse().unwrap_or(0))
}

/// As Go's `%g`, or `%.<digits>g`.
pub(crate) fn go_general(value: f64, digits: Option<usize>) -> String {
    if let Some(text) = not_finite(value) {
        return text.into();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (shown, exponent) = digits_of(value, digits);
    // The shortest form has an exponent as if it had six digits: 1e+06.
    let mut limit = digits.map_or(6, |digits| i32::try_from(digits.max(1)).unwrap_or(i32::MAX));
    let len = i32::try_from(shown.len()).unwrap_or(i32::MAX);
    if digits.is_some() && limit > len && len > exponent {
        limit = len;
    }
    if exponent < -4 || exponent >= limit {
        let (first, rest) = shown.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{dot}{rest}e{}", exponent_text(exponent));
    }
    if exponent < 0 {
        return format!("{sign}0.{}{shown}", "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0)));
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    if shown.len() <= whole {
        return format!("{sign}{shown}{}", "0".repeat(whole - shown.len()));
    }
    format!("{sign}{}.{}", &shown[..whole], &shown[whole..])
}

/// As Go's `%e` with `decimals` places, or the fewest that read back the same.
pub(super) fn go_scientific(value: f64, decimals: Option<usize>) -> String {
    if let Some(text) = not_finite(value) {
        return text.into();
    }
    let text = match decimals {
        Some(decimals) => format!("{value:.decimals$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{mantissa}e{}", exponent_text(exponent.parse().unwrap_or(0)))
}

/// As Go's `%e` with the fewest digits that read back the same: `1e+00`.
pub(crate) fn go_exponent(value: f64) -> String {
    go_scientific(value, None)
}

fn exponent_text(exponent: i32) -> String {
    format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

pub(super) fn not_finite(value: f64) -> Option<&'static str> {
    if value.is_finite() {
        return None;
    }
    Some(if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    })
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn four(value: f64) -> String {
    go_general(value, Some(4))
}

/// `humanize`: metric prefixes.
pub(super) fn humanize(mut value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for next in LARGE {
            if value.abs() < 1000.0 {
                break;
            }
            prefix = next;
            value /= 1000.0;
        }
    } else {
        (value, prefix) = enlarged(value);
    }
    format!("{}{prefix}", four(value))
}

fn enlarged(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    (value, prefix)
}

/// `humanize1024`: binary prefixes.
pub(super) fn humanize_1024(mut value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    let mut prefix = "";
    for next in LARGE_BINARY {
        if value.abs() < 1024.0 {
            break;
        }
        prefix = next;
        value /= 1024.0;
    }
    format!("{}{prefix}", four(value))
}

/// `humanizeDuration`: seconds.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value == 0.0 {
        return format!("{}s", four(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = enlarged(value);
        return format!("{}{prefix}s", four(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    let whole = value as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", four(value))
    }
}

/// `humanizePercentage`: a ratio.
pub(super) fn humanize_percentage(value: f64) -> String {
    format!("{}%", four(value * 100.0))
}

/// A time as Go prints it: `2006-01-02 15:04:05.123 +0000 UTC`.
pub(super) fn go_time(t_ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(t_ms) else { return format!("{t_ms} ms") };
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
    let mut text = zoned.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let ms = t_ms.rem_euclid(1000);
    if ms != 0 {
        text.push_str(format!(".{ms:03}").trim_end_matches('0'));
    }
    text + " +0000 UTC"
}

/// A duration as Go prints it: `1h0m5.5s`.
pub(super) fn go_duration(seconds: f64) -> String {
    if seconds == 0.0 || !seconds.is_finite() {
        return "0s".into();
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let nanos = (seconds.abs() * 1e9).round();
    for (limit, unit) in [(1e3, "ns"), (1e6, "µs"), (1e9, "ms")] {
        if nanos < limit {
            return format!("{sign}{}{unit}", go_general(nanos / (limit / 1e3), Some(15)));
        }
    }
    let nanos = nanos as u64;
    let (hours, minutes) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60);
    let rest = (nanos % 60_000_000_000) as f64 / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, _) => format!("{sign}{minutes}m{rest}s"),
        _ => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}
