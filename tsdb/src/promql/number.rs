//! Numbers as PromQL writes and reads them: Go's float syntax.

/// Prints a value without an exponent and with as few digits as identify it: `NaN`, `+Inf`, `-Inf`,
/// `0.1`, `100000`. The same text as Go's `strconv.FormatFloat(v, 'f', -1, 64)`, which is what
/// `count_values`, templates and bucket labels use.
pub fn format_value(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

/// Prints a value as the HTTP API's JSON does: like [`format_value`], but with an exponent for what is
/// smaller than 1e-6 or not smaller than 1e21 (`1e-07`, `1e+21`).
pub fn format_value_json(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 || (1e-6..1e21).contains(&size) {
        return format_value(value);
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        // Go writes a sign and at least two digits.
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}

/// Reads a number as Go's `strconv.ParseFloat` does for what appears in `le` labels: decimal with
/// optional exponent, `Inf`, `NaN` in any case. `None` for anything else.
pub fn parse_value(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => Some(f64::NAN),
        digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_go_prints_them() {
        for (value, plain, json) in [
            (0.1, "0.1", "0.1"),
            (-0.0, "-0", "-0"),
            (1e5, "100000", "100000"),
            (1e21, "1000000000000000000000", "1e+21"),
            (2.5e-7, "0.00000025", "2.5e-07"),
            (1e-100, &format!("0.{}1", "0".repeat(99)), "1e-100"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!(format_value(value), plain);
            assert_eq!(format_value_json(value), json);
        }
    }

    #[test]
    fn bucket_bounds_are_read_as_go_reads_them() {
        assert_eq!(parse_value("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse_value("-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_value("1e-3"), Some(0.001));
        assert_eq!(parse_value(".5"), Some(0.5));
        assert_eq!(parse_value(""), None);
        assert_eq!(parse_value("Hello World"), None);
    }
}
