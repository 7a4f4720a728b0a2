//! Numbers as expositions write them, and as label values of buckets and quantiles are normalised.

/// Reads a number as Go's `ParseFloat` does, without its hexadecimal forms and underscores.
pub(super) fn parse(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is = |word: &str| digits.eq_ignore_ascii_case(word);
    let value = if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        digits.parse().ok()?
    } else if is("inf") || is("infinity") {
        f64::INFINITY
    } else if is("nan") && digits.len() == text.len() {
        // Only without a sign.
        return Some(f64::NAN);
    } else {
        return None;
    };
    Some(if text.starts_with('-') { -value } else { value })
}

/// The canonical form of OpenMetrics: shortest digits, always with a point or an exponent.
pub(super) fn canonical(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's shortest `%g` writes an exponent below -4 and from 6 on.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5e3", 1500.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-Inf", f64::NEG_INFINITY),
            ("+infinity", f64::INFINITY),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        assert!(parse("nan").unwrap().is_nan());
        for text in ["", "-", "0x1p3", "1_000", "e5", "one", "+NaN", "1e", "1 "] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn canonical_numbers_are_those_of_go() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.25, "0.25"),
            (-3.0, "-3.0"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "+Inf"),
            (2.5e-7, "2.5e-07"),
        ] {
            assert_eq!(canonical(value), text, "{value}");
        }
    }
}
