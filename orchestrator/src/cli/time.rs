//! Times and durations as people type and read them.

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A duration as Prometheus writes it (`90s`, `1h30m`, `2d`), or a number of seconds; milliseconds.
pub(super) fn parse_duration(text: &str) -> anyhow::Result<i64> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
        && seconds > 0.0
    {
        return Ok((seconds * 1000.0) as i64);
    }
    let mut rest = text;
    let mut total_ms: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit_ms: i64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => bail!("{text:?} is not a duration; write e.g. 30s, 5m, 1h30m, 2d"),
        };
        let number: i64 = number.parse().with_context(|| format!("{text:?} is not a duration"))?;
        let part = number.checked_mul(unit_ms).and_then(|part| total_ms.checked_add(part));
        total_ms = part.with_context(|| format!("{text:?} is too long"))?;
        rest = tail;
    }
    if total_ms <= 0 {
        bail!("{text:?} is not a duration; write e.g. 30s, 5m, 1h30m, 2d");
    }
    Ok(total_ms)
}

/// RFC 3339 or Unix seconds; milliseconds since the epoch.
pub(super) fn parse_time(text: &str) -> anyhow::Result<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        if !seconds.is_finite() || seconds.abs() > 1e12 {
            bail!("{text:?} is out of range");
        }
        return Ok((seconds * 1000.0).round() as i64);
    }
    let time: Timestamp =
        text.parse().with_context(|| format!("{text:?} is neither RFC 3339 nor Unix seconds"))?;
    Ok(time.as_millisecond())
}

/// `2026-01-31 12:00:05.250`, local time.
pub(super) fn format_time(t_ms: i64) -> String {
    match Timestamp::from_millisecond(t_ms) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => t_ms.to_string(),
    }
}

/// `12:00:05`, local time.
pub(super) fn format_clock(t_ms: i64) -> String {
    match Timestamp::from_millisecond(t_ms) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string(),
        Err(_) => t_ms.to_string(),
    }
}

/// `3m12s`: how long something is ago, in its two largest units.
pub(super) fn format_age(age_ms: i64) -> String {
    let seconds = age_ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m{}s", seconds / 60, seconds % 60),
        7200..=172_799 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(parse_duration("15s").unwrap(), 15_000);
        assert_eq!(parse_duration("1h30m").unwrap(), 5_400_000);
        assert_eq!(parse_duration("250ms").unwrap(), 250);
        assert_eq!(parse_duration("0.5").unwrap(), 500);
        for wrong in ["", "x", "5q", "-5s", "h", "99999999999999999999s", "9999999999999y", "0s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(parse_time("1.5").unwrap(), 1_500);
        assert_eq!(parse_time("1970-01-01T00:00:02Z").unwrap(), 2_000);
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("inf").is_err());
    }

    #[test]
    fn ages_have_two_units() {
        assert_eq!(format_age(90_000), "90s");
        assert_eq!(format_age(192_000), "3m12s");
        assert_eq!(format_age(90_000_000), "25h0m");
        assert_eq!(format_age(200_000_000), "2d7h");
    }
}
