//! Looking at lines without being told what they are: fields, and patterns of a text.

use std::borrow::Cow;

use super::{json, logfmt};

/// Calls `each` with parser, name and value of the fields of a line that is JSON or logfmt.
pub(crate) fn field_pairs(line: &str, each: &mut dyn FnMut(&'static str, &str, &str)) {
    let text = line.trim_start();
    if text.starts_with('{') {
        let mut found = Vec::new();
        let parsed = json::flatten(text, &|_, _| true, &mut |name, value| found.push((name, value)));
        if parsed.is_some() {
            found.iter().for_each(|(name, value)| each("json", name, value));
        }
        return;
    }
    // Malformed parts are skipped, so there is no error to see.
    let _ = logfmt::pairs(text, false, |key, value| {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        let name = json::sanitize(Cow::Borrowed(key));
        if !name.is_empty() {
            each("logfmt", &name, &value);
        }
    });
}

/// The text with everything that varies, words with digits, as `<_>`.
pub(crate) fn mask(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for (index, word) in line.split_whitespace().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let (key, value) = match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => (Some(key), value),
            _ => (None, word),
        };
        if let Some(key) = key {
            out.push_str(key);
            out.push('=');
        }
        let varies = value.bytes().any(|b| b.is_ascii_digit());
        out.push_str(if varies { "<_>" } else { value });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_digits_vary() {
        assert_eq!(mask("GET /a/17 took 12ms id=4f  ok=yes"), "GET <_> took <_> id=<_> ok=yes");
        assert_eq!(mask("plain words"), mask("plain  words"));
    }

    #[test]
    fn fields_of_json_and_logfmt() {
        let of = |line: &str| {
            let mut out = Vec::new();
            field_pairs(line, &mut |parser, name, value| out.push(format!("{parser} {name} {value}")));
            out
        };
        assert_eq!(of(r#"{"a":{"b":1}}"#), ["json a_b 1"]);
        assert_eq!(of("x=1 y= z"), ["logfmt x 1"]);
        assert_eq!(of(r#"{"a":"#), [""; 0]);
    }
}
