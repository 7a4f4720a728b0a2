//! `| logfmt`: `key=value` pairs.

use std::borrow::Cow;

/// Calls `each` with every pair; a key without `=` has no value. Malformed parts are skipped, or end
/// it with an error when `strict`.
pub(super) fn pairs<'a>(
    text: &'a str,
    strict: bool,
    mut each: impl FnMut(&'a str, Option<Cow<'a, str>>),
) -> Result<(), String> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] <= b' ' {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && bytes[at] > b' ' && bytes[at] != b'=' && bytes[at] != b'"' {
            at += 1;
        }
        let key = &text[start..at];
        match bytes.get(at) {
            Some(b'=') if key.is_empty() => {
                if strict {
                    return Err(format!("logfmt syntax error at pos {} : unexpected '='", at + 1));
                }
                at = skip_word(bytes, at);
            }
            Some(b'"') => {
                if strict {
                    return Err(format!("logfmt syntax error at pos {} : unexpected '\"'", at + 1));
                }
                at = skip_word(bytes, at);
            }
            Some(b'=') => {
                at += 1;
                if bytes.get(at) == Some(&b'"') {
                    match quoted(text, at) {
                        Some((value, end)) => {
                            each(key, Some(value));
                            at = end;
                        }
                        None if strict => {
                            return Err(format!(
                                "logfmt syntax error at pos {} : unterminated quoted value",
                                at + 1
                            ));
                        }
                        None => at = bytes.len(),
                    }
                } else {
                    let start = at;
                    while at < bytes.len() && bytes[at] > b' ' && bytes[at] != b'=' && bytes[at] != b'"' {
                        at += 1;
                    }
                    if at < bytes.len() && bytes[at] > b' ' {
                        if strict {
                            let found = bytes[at] as char;
                            return Err(format!(
                                "logfmt syntax error at pos {} : unexpected '{found}'",
                                at + 1
                            ));
                        }
                        at = skip_word(bytes, at);
                    } else {
                        each(key, Some(Cow::Borrowed(&text[start..at])));
                    }
                }
            }
            _ => each(key, None),
        }
    }
    Ok(())
}

fn skip_word(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] > b' ' {
        at += 1;
    }
    at
}

/// Reads a quoted value that begins at `at`: its value and where it ends.
fn quoted(text: &str, at: usize) -> Option<(Cow<'_, str>, usize)> {
    let body = &text[at + 1..];
    let first = memchr::memchr2(b'"', b'\\', body.as_bytes())?;
    if body.as_bytes()[first] == b'"' {
        return Some((Cow::Borrowed(&body[..first]), at + first + 2));
    }
    let mut out = String::from(&body[..first]);
    let mut chars = body[first..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(out), at + first + offset + 2)),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'u' => {
                    let mut code = 0;
                    for _ in 0..4 {
                        code = code * 16 + chars.next()?.1.to_digit(16)?;
                    }
                    out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, strict: bool) -> Result<Vec<(String, Option<String>)>, String> {
        let mut out = Vec::new();
        pairs(text, strict, |key, value| out.push((key.to_owned(), value.map(Cow::into_owned))))?;
        Ok(out)
    }

    #[test]
    fn pairs_bare_keys_and_quotes() {
        let got = of(r#"level=info msg="a \"b\" c" empty= flag  d=1ms"#, true).unwrap();
        let want: Vec<(String, Option<String>)> = [
            ("level", Some("info")),
            ("msg", Some("a \"b\" c")),
            ("empty", Some("")),
            ("flag", None),
            ("d", Some("1ms")),
        ]
        .map(|(k, v)| (k.to_owned(), v.map(str::to_owned)))
        .into();
        assert_eq!(got, want);
    }

    #[test]
    fn malformed_parts_are_skipped_or_refused() {
        let got = of(r#"a=1 =x b"c d=2 e="open"#, false).unwrap();
        assert_eq!(got.len(), 2);
        for text in ["=x", r#"b"c"#, r#"e="open"#, "a=b=c"] {
            assert!(of(text, true).is_err(), "{text}");
        }
    }
}
