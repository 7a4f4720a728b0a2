//! Kubernetes quantities: `100m`, `1.5`, `128Mi`, `2e3`.

/// The amount in thousandths, rounded up as Kubernetes does.
///
/// # Errors
/// When the text is not a quantity or does not fit; the error is a phrase for a message.
pub fn milli(text: &str) -> Result<i64, String> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let wrong = || format!("{text:?} is not a quantity");
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(wrong());
    }
    // Longer ones would not change the thousandths of any amount that fits, or do not fit.
    if whole.len() > 19 || fraction.len() > 12 {
        return Err(format!("{text:?} has too many digits"));
    }
    let (multiply, divide) = scale(suffix).ok_or_else(wrong)?;
    let mantissa: i128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let divisor = divide * 10i128.pow(fraction.len() as u32);
    let scaled = mantissa.checked_mul(multiply * 1000).ok_or_else(|| format!("{text:?} is too large"))?;
    let rounded = if negative { -(scaled / divisor) } else { (scaled + divisor - 1) / divisor };
    i64::try_from(rounded).map_err(|_| format!("{text:?} is too large"))
}

/// The amount in whole units, rounded up; not negative.
///
/// # Errors
/// As [`milli`], and when the amount is negative.
pub fn units(text: &str) -> Result<u64, String> {
    let milli = milli(text)?;
    u64::try_from(milli).map(|m| m.div_ceil(1000)).map_err(|_| format!("{text:?} is negative"))
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    let exponent = |text: &str| -> Option<(i128, i128)> {
        let power: i32 = text.parse().ok()?;
        let factor = 10i128.pow(power.unsigned_abs().min(18));
        if power.abs() > 18 {
            None
        } else if power < 0 {
            Some((1, factor))
        } else {
            Some((factor, 1))
        }
    };
    Some(match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        other => return exponent(other.strip_prefix(['e', 'E'])?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, want) in [
            ("0", 0),
            ("1", 1000),
            ("100m", 100),
            ("0.1", 100),
            (".5", 500),
            ("1.5", 1500),
            ("1500u", 2),
            ("1n", 1),
            ("2e3", 2_000_000),
            ("5E-1", 500),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("128Mi", 134_217_728_000),
            ("-1", -1000),
            ("+2", 2000),
        ] {
            assert_eq!(milli(text), Ok(want), "{text}");
        }
        assert_eq!(units("1500m"), Ok(2));
        assert_eq!(units("2Gi"), Ok(2 << 30));
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in
            ["", "m", "1 Gi", "1GiB", "1.2.3", "--1", "1e", "1e99", "0x10", "9999999999999999999E", "1-2"]
        {
            assert!(milli(text).is_err(), "{text}");
        }
        assert!(units("-1").is_err());
    }
}
