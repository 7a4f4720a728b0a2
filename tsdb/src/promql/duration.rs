//! Durations as Prometheus writes them: `1h30m`, `500ms`, `2w`.

use std::fmt::Write;
use std::time::Duration;

use crate::Error;

/// Units from large to small, in milliseconds. A year has 365 days, a week 7, a day 24 hours.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration: numbers with units, each unit at most once and from large to small, or `0`.
///
/// # Errors
/// [`Error::BadInput`] with the text when it is not a duration or longer than about 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let refuse = |why: &str| {
        Error::BadInput(format!(
            "not a valid duration string: {text:?}: {why}; write it like 5m, 1h30m or 500ms"
        ))
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(refuse("it is empty"));
    }
    let (mut rest, mut unit_at, mut total_ms) = (text, 0, 0u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| refuse("a number is missing or too large"))?;
        let Some(found) = UNITS[unit_at..].iter().position(|(name, _)| *name == unit) else {
            return Err(refuse("units are y, w, d, h, m, s, ms, in this order"));
        };
        let part = number.checked_mul(UNITS[unit_at + found].1);
        total_ms = part.and_then(|ms| total_ms.checked_add(ms)).unwrap_or(u64::MAX);
        // The bound of Go's time.Duration: 2^63 ns.
        if total_ms > (i64::MAX / 1_000_000) as u64 {
            return Err(refuse("it is out of range"));
        }
        unit_at += found + 1;
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration as [`parse_duration`] reads it; what is below a millisecond is dropped.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        // 90d reads better than 12w6d: years and weeks only when they fit exactly.
        let exact_only = matches!(unit, "y" | "w");
        if rest < unit_ms || (exact_only && !rest.is_multiple_of(unit_ms)) {
            continue;
        }
        let _ = write!(text, "{}{unit}", rest / unit_ms);
        rest %= unit_ms;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [("5m", 300_000), ("1h30m", 5_400_000), ("500ms", 500), ("2w", 14 * 86_400_000)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms));
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(format_duration(Duration::from_secs(90 * 86_400)), "90d");
        assert_eq!(parse_duration("0").unwrap(), Duration::ZERO);
    }

    #[test]
    fn wrong_durations_are_refused() {
        for text in ["", "5", "m", "1m1h", "1m1m", "1.5h", "-1m", "5 m", "9999999999y", "1µs"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
