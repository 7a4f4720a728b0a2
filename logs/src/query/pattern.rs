//! Patterns: literal text with captures `<name>` and wildcards `<_>` between.

use memchr::memmem;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    /// A capture; `None` for `<_>`.
    Capture(Option<String>),
}

/// A pattern ready to run.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

/// Whether `text` is a pattern; with `captures` (as the `pattern` parser wants it) it needs a named
/// one, without (as line filters want it) it may have none.
pub(crate) fn check_pattern(text: &str, captures: bool) -> Result<(), String> {
    Pattern::new(text, captures).map(|_| ())
}

impl Pattern {
    /// Reads a pattern.
    pub fn new(text: &str, captures: bool) -> Result<Self, String> {
        let fail = |why: &str| Err(format!("invalid pattern {text:?}: {why}"));
        if text.is_empty() {
            return fail("empty pattern");
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some((name, tail)) = capture(rest) {
                if matches!(parts.last(), Some(Part::Capture(_))) {
                    return fail("consecutive captures are not allowed");
                }
                let name = (name != "_").then(|| name.to_owned());
                if name.is_some() && parts.iter().any(|part| *part == Part::Capture(name.clone())) {
                    return fail("duplicate capture name");
                }
                parts.push(Part::Capture(name));
                rest = tail;
                continue;
            }
            let c = rest.chars().next().unwrap_or_default();
            let (head, tail) = rest.split_at(c.len_utf8());
            match parts.last_mut() {
                Some(Part::Literal(literal)) => literal.extend_from_slice(head.as_bytes()),
                _ => parts.push(Part::Literal(head.as_bytes().to_vec())),
            }
            rest = tail;
        }
        let named = parts.iter().any(|part| matches!(part, Part::Capture(Some(_))));
        if captures && !named {
            return fail("at least one capture is required");
        }
        if !captures && named {
            return fail("named captures are not allowed in a line filter");
        }
        Ok(Self { parts })
    }

    /// The literal parts.
    pub fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(literal) => Some(literal.as_slice()),
            Part::Capture(_) => None,
        })
    }

    /// Names and texts of the captures found in a line. Literals are found one after the other; what
    /// is before the first must be there, and captures end where the next literal begins.
    pub fn captures<'p, 'a>(&'p self, line: &'a str, mut each: impl FnMut(&'p str, &'a str)) {
        let mut rest = line;
        let mut open: Option<&Option<String>> = None;
        for part in &self.parts {
            match part {
                Part::Capture(name) => open = Some(name),
                Part::Literal(literal) => {
                    let Some(at) = memmem::find(rest.as_bytes(), literal) else {
                        // The rest belongs to the open capture, when one is.
                        if let Some(Some(name)) = open {
                            each(name, rest);
                        }
                        return;
                    };
                    if open.is_none() && at != 0 {
                        return;
                    }
                    if let Some(Some(name)) = open {
                        each(name, &rest[..at]);
                    }
                    open = None;
                    rest = &rest[at + literal.len()..];
                }
            }
        }
        if let Some(Some(name)) = open {
            each(name, rest);
        }
    }

    /// Whether a line has all literals in order, anchored where the pattern begins or ends with one.
    pub fn is_match(&self, line: &[u8]) -> bool {
        let mut rest = line;
        let mut wild = false;
        for (index, part) in self.parts.iter().enumerate() {
            let Part::Literal(literal) = part else {
                wild = true;
                continue;
            };
            if index + 1 == self.parts.len() && wild {
                return rest.ends_with(literal);
            }
            match memmem::find(rest, literal) {
                Some(at) if at == 0 || wild => rest = &rest[at + literal.len()..],
                _ => return false,
            }
            wild = false;
        }
        wild || rest.is_empty()
    }
}

/// A capture at the start of `text`: its name and what follows.
fn capture(text: &str) -> Option<(&str, &str)> {
    let (name, tail) = text.strip_prefix('<')?.split_once('>')?;
    let valid = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    valid.then_some((name, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str, line: &str) -> Vec<(String, String)> {
        let pattern = Pattern::new(pattern, true).unwrap();
        let mut out = Vec::new();
        pattern.captures(line, |name, value| out.push((name.to_owned(), value.to_owned())));
        out
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn captures_end_at_the_next_literal() {
        let line = r#"1.2.3.4 - - [10/Oct] "GET /a HTTP/1.1" 200"#;
        assert_eq!(
            found(r#"<ip> - - <_> "<method> <path> <_>" <status>"#, line),
            pairs(&[("ip", "1.2.3.4"), ("method", "GET"), ("path", "/a"), ("status", "200")])
        );
        assert_eq!(found("level=<level> msg", "x level=a msg"), pairs(&[]));
        assert_eq!(found("<_>level=<level> msg", "x level=a msg"), pairs(&[("level", "a")]));
    }

    #[test]
    fn line_filters_are_anchored_where_they_have_text() {
        let matches =
            |pattern: &str, line: &str| Pattern::new(pattern, false).unwrap().is_match(line.as_bytes());
        assert!(matches("<_>bar<_>", "foobarbaz"));
        assert!(matches("foo<_>", "foobar"));
        assert!(!matches("bar<_>", "foobar"));
        assert!(matches("<_>bar", "foobar"));
        assert!(!matches("<_>foo", "foobar"));
        assert!(matches("foobar", "foobar") && !matches("foo", "foobar"));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["", "<a><b>", "text", "<a> <a>"] {
            assert!(Pattern::new(bad, true).is_err(), "{bad}");
        }
        assert!(Pattern::new("<a> x", false).is_err());
    }
}
