//! Words of LogQL with their places.

use super::units::{parse_bytes, parse_duration_ns};
use crate::Error;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name or keyword.
    Name(String),
    /// A quoted string, unescaped.
    Text(String),
    /// A plain number.
    Number(f64),
    /// A duration in nanoseconds, with its text.
    Duration(i64),
    /// A size in bytes.
    Bytes(u64),
    /// A flag such as `--strict`.
    Flag(String),
    /// Punctuation.
    Mark(&'static str),
    /// The end.
    End,
}

/// Punctuation, longest first.
const MARKS: [&str; 33] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", "<=", ">=", "{", "}", "(", ")", "[", "]", ",", "|", "=",
    "<", ">", "+", "-", "*", "/", "%", "^", "@", ":", ";", "!", "&", "$",
];

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Text(text) => write!(f, "string {}", super::quote(text)),
            Self::Number(number) => write!(f, "number {number}"),
            Self::Duration(_) => write!(f, "duration"),
            Self::Bytes(_) => write!(f, "size"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Mark(mark) => write!(f, "{mark}"),
            Self::End => write!(f, "end of query"),
        }
    }
}

/// Cuts `text` into words, each with the byte where it begins.
pub(super) fn lex(text: &str) -> Result<Vec<(Token, usize)>, Error> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let start = at;
        let token = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '#' => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '"' | '`' => {
                let (value, len) =
                    string(rest).map_err(|(offset, message)| error_at(text, at + offset, message))?;
                at += len;
                Token::Text(value)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                at += len;
                Token::Name(rest[..len].to_owned())
            }
            c if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) => {
                let len = number_len(rest);
                at += len;
                let word = &rest[..len];
                number(word)
                    .ok_or_else(|| error_at(text, start, &format!("bad number or duration {word:?}")))?
            }
            '-' if rest.starts_with("--") && rest[2..].starts_with(|c: char| c.is_ascii_lowercase()) => {
                let len = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
                at += len;
                Token::Flag(rest[..len].to_owned())
            }
            _ => {
                let mark = MARKS.iter().find(|mark| rest.starts_with(**mark));
                let mark =
                    mark.ok_or_else(|| error_at(text, start, &format!("unexpected character {c:?}")))?;
                at += mark.len();
                Token::Mark(mark)
            }
        };
        out.push((token, start));
    }
    out.push((Token::End, text.len()));
    Ok(out)
}

/// Where a number with its unit ends: letters belong to it, and a sign after an exponent.
fn number_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut len = 0;
    while len < bytes.len() {
        let byte = bytes[len];
        let in_word = byte.is_ascii_alphanumeric() || byte == b'.' || byte >= 0x80;
        let signed_exponent = (byte == b'-' || byte == b'+')
            && len > 1
            && matches!(bytes[len - 1], b'e' | b'E')
            && bytes[..len - 1].iter().all(|b| b.is_ascii_digit() || *b == b'.')
            && bytes.get(len + 1).is_some_and(u8::is_ascii_digit);
        if !in_word && !signed_exponent {
            break;
        }
        len += 1;
    }
    while !rest.is_char_boundary(len) {
        len += 1;
    }
    len
}

fn number(word: &str) -> Option<Token> {
    if let Ok(value) = word.parse::<f64>() {
        return Some(Token::Number(value));
    }
    if let Some(hex) = word.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(|value| Token::Number(value as f64));
    }
    if let Some(ns) = parse_duration_ns(word) {
        return Some(Token::Duration(ns));
    }
    parse_bytes(word).map(Token::Bytes)
}

/// Reads a quoted string at the start of `rest`: its value and length.
fn string(rest: &str) -> Result<(String, usize), (usize, &'static str)> {
    let quote = rest.as_bytes()[0];
    let body = &rest[1..];
    if quote == b'`' {
        let end = body.find('`').ok_or((0, "this string does not end"))?;
        return Ok((body[..end].to_owned(), end + 2));
    }
    let mut out: Vec<u8> = Vec::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let value = String::from_utf8(out).map_err(|_| (0, "this string is not valid UTF-8"))?;
                return Ok((value, at + 2));
            }
            '\n' => return Err((0, "this string does not end on its line")),
            '\\' => {
                let (_, escape) = chars.next().ok_or((0, "this string does not end"))?;
                let bad = (at + 1, "unknown escape in a string");
                match escape {
                    'n' => out.push(b'\n'),
                    't' => out.push(b'\t'),
                    'r' => out.push(b'\r'),
                    'a' => out.push(7),
                    'b' => out.push(8),
                    'f' => out.push(12),
                    'v' => out.push(11),
                    '\\' | '"' | '\'' => out.push(escape as u8),
                    'x' => out.push(digits(&mut chars, 2, 16).ok_or(bad)? as u8),
                    'u' | 'U' => {
                        let code = digits(&mut chars, if escape == 'u' { 4 } else { 8 }, 16).ok_or(bad)?;
                        let c = char::from_u32(code).ok_or(bad)?;
                        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    '0'..='3' => {
                        let rest = digits(&mut chars, 2, 8).ok_or(bad)?;
                        out.push(((escape as u32 - '0' as u32) * 64 + rest) as u8);
                    }
                    _ => return Err(bad),
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err((0, "this string does not end"))
}

fn digits(chars: &mut std::str::CharIndices<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0u32, |value, _| {
        let digit = chars.next()?.1.to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })
}

/// A parse error at a byte of the text.
pub(super) fn error_at(text: &str, at: usize, message: &str) -> Error {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Error::Parse { line, column, message: format!("syntax error: {message}") }
}
