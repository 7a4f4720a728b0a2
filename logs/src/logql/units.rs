//! Durations and sizes as Go's and humans' text write them.

/// Reads a Go duration such as `1h30m`, `1.5s`, `-2ms`, extended by `d`, `w` and `y`; nanoseconds.
pub(crate) fn parse_duration_ns(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    let mut exact = 0i64;
    let mut is_exact = true;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit_ns = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            "y" => 31_536_000_000_000_000i64,
            _ => return None,
        };
        match number
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(unit_ns))
            .and_then(|n| exact.checked_add(n))
        {
            Some(sum) => exact = sum,
            None => is_exact = false,
        }
        total += number.parse::<f64>().ok()? * unit_ns as f64;
        rest = tail;
    }
    if !is_exact && total >= i64::MAX as f64 {
        return None;
    }
    let ns = if is_exact { exact } else { total.round() as i64 };
    Some(if negative { -ns } else { ns })
}

/// Reads a size such as `5MB`, `1.5 KiB` or `42`; bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "p" | "pb" => 1_000_000_000_000_000,
        "e" | "eb" => 1_000_000_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        "pi" | "pib" => 1 << 50,
        "ei" | "eib" => 1 << 60,
        _ => return None,
    };
    let number: f64 = number.replace(',', "").parse().ok()?;
    let bytes = number * factor as f64;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them_and_days() {
        let cases = [
            ("5m", 300_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("250ms", 250_000_000),
            ("1d", 86_400_000_000_000),
            ("0", 0),
            ("-2us", -2000),
        ];
        for (text, ns) in cases {
            assert_eq!(parse_duration_ns(text), Some(ns), "{text}");
        }
        for text in ["", "5", "m", "5x", "1h30", "."] {
            assert_eq!(parse_duration_ns(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_in_thousands_and_powers_of_two() {
        for (text, bytes) in
            [("42", 42), ("5MB", 5_000_000), ("1.5KiB", 1536), ("2 kb", 2000), ("1gib", 1 << 30)]
        {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "x", "5QB", "MB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }
}
