//! A coarse view of a query's tokens: enough to bound a query before the parser sees it, and to say
//! where each node of the tree stands in the text (the parser's tree has no positions).

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier or keyword.
    Word,
    /// A number or a duration.
    Number,
    /// A quoted string.
    Text,
    /// An operator, bracket, comma, colon.
    Mark,
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Byte offset in the query.
    pub(super) start: usize,
}

/// Splits a query; never fails: what the grammar does not allow is the parser's to refuse.
pub(super) fn tokens(query: &str) -> Vec<Token<'_>> {
    let bytes = query.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    let mut braces = 0usize;
    while at < bytes.len() {
        let start = at;
        let byte = bytes[at];
        let kind = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'#' => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                continue;
            }
            b'"' | b'\'' | b'`' => {
                at = end_of_string(bytes, at);
                Kind::Text
            }
            b'0'..=b'9' => {
                at = end_of_number(bytes, at);
                Kind::Number
            }
            b'.' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                at = end_of_number(bytes, at);
                Kind::Number
            }
            _ if byte.is_ascii_alphabetic()
                || byte == b'_'
                || (byte == b':' && braces == 0 && is_word_colon(bytes, at)) =>
            {
                while at < bytes.len() && is_word(bytes[at], braces == 0) {
                    at += 1;
                }
                Kind::Word
            }
            _ => {
                let two = bytes.get(at..at + 2).unwrap_or_default();
                at += if matches!(two, b"==" | b"!=" | b">=" | b"<=" | b"=~" | b"!~") { 2 } else { 1 };
                while !query.is_char_boundary(at) {
                    at += 1;
                }
                match byte {
                    b'{' => braces += 1,
                    b'}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                Kind::Mark
            }
        };
        found.push(Token { kind, text: &query[start..at], start });
    }
    found
}

fn is_word(byte: u8, colon: bool) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || (colon && byte == b':')
}

/// A colon begins a metric name when a letter follows and it does not separate a subquery's range from
/// its step, which is where a number, bracket or space stands before it.
fn is_word_colon(bytes: &[u8], at: usize) -> bool {
    let next = bytes.get(at + 1).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_' || *b == b':');
    let separates = bytes[..at].iter().rev().find(|b| !b.is_ascii_whitespace());
    next && !separates.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b')')
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() {
        if bytes[at] == b'\\' && quote != b'`' {
            at += 1;
        } else if bytes[at] == quote {
            return at + 1;
        }
        at += 1;
    }
    bytes.len()
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let hex = bytes[start] == b'0' && matches!(bytes.get(start + 1), Some(b'x' | b'X'));
    let mut at = start;
    while at < bytes.len() {
        let exponent = !hex && matches!(bytes[at], b'e' | b'E');
        let signed = exponent && matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        if signed {
            at += 2;
        } else if bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'.' | b'_') {
            at += 1;
        } else {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(query: &str) -> Vec<&str> {
        tokens(query).iter().map(|token| token.text).collect()
    }

    #[test]
    fn queries_split_into_tokens() {
        assert_eq!(
            texts("a:b{c=~\"x\\\"y\"}[5m:1m]"),
            ["a:b", "{", "c", "=~", "\"x\\\"y\"", "}", "[", "5m", ":", "1m", "]"]
        );
        assert_eq!(texts("1e-3+.5 # no\n>=bool 0x1F"), ["1e-3", "+", ".5", ">=", "bool", "0x1F"]);
        assert_eq!(texts("{[5m]:a"), ["{", "[", "5m", "]", ":", "a"]);
        assert_eq!(texts("é \"unended"), ["é", "\"unended"]);
    }
}
