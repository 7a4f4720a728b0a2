//! Durations and sizes as Prometheus writes them.

use std::fmt::Write as _;
use std::time::Duration;

/// Units of a duration in milliseconds, in the order in which they may be written.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration, in milliseconds: a scrape less often than once a year is a mistake.
const MAX_MS: u64 = 366 * 86_400_000;

/// `1m30s`, `250ms`, `0`; at most a year.
pub(in crate::scrape) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration like 15s or 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut next, mut total) = (text, 0, 0u64);
    while !rest.is_empty() || next == 0 {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let at = UNITS.iter().skip(next).position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        next += at + 1;
        let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(UNITS[next - 1].1));
        total = ms.and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        rest = tail;
    }
    if total > MAX_MS {
        return Err(format!("{text:?} is longer than a year"));
    }
    Ok(Duration::from_millis(total))
}

/// A duration as Prometheus writes it: years, weeks and days only where they fit exactly.
pub(super) fn show(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, ms) in UNITS {
        let is_exact_only = matches!(unit, "y" | "w" | "d");
        if rest >= ms && (!is_exact_only || rest.is_multiple_of(ms)) {
            let _ = write!(text, "{}{unit}", rest / ms);
            rest %= ms;
        }
    }
    text
}

/// `10MB`, `512KiB`, `1000B`, `0`: in Prometheus all of them count in powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size like 512KB or 10MB");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let shift = match unit {
        "" if number.parse() == Ok(0u64) => 0,
        "B" => 0,
        "KB" | "KiB" => 10,
        "MB" | "MiB" => 20,
        "GB" | "GiB" => 30,
        "TB" | "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok((number * (1u64 << shift) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        for (text, ms) in [("15s", 15_000), ("1m30s", 90_000), ("250ms", 250), ("1h1ms", 3_600_001), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "15", "s", "1s1m", "1.5s", "-1s", "1s ", "99999999999999999y", "2y", "288230376151711744ms"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        for (ms, text) in
            [(1500, "1s500ms"), (90_000, "1m30s"), (172_800_000, "2d"), (90_000_000, "25h"), (0, "0s")]
        {
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
        for (text, bytes) in [("0", 0), ("100B", 100), ("1KB", 1024), ("1.5MiB", 1_572_864)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "MB", "1mb"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
