//! Line filters: exact matching of a line, and which text a block must hold for any line to match.

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::ip::IpMatcher;
use super::pattern::Pattern;
use crate::block::Filter;
use crate::logql::{FilterOp, FilterText, LineFilter};
use crate::matcher::REGEX_SIZE_LIMIT;

/// Builds a regex with a bounded size.
pub(super) fn regex(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(REGEX_SIZE_LIMIT).build();
    built.map_err(|err| format!("bad regex {text:?}: {err}"))
}

/// Whether `text` is a regex that can be had; answers its number of named groups.
pub(crate) fn check_regex(text: &str) -> Result<usize, String> {
    Ok(regex(text)?.capture_names().flatten().count())
}

enum Test {
    Text(Box<Finder<'static>>),
    Regex(Regex),
    Pattern(Pattern),
    Ip(IpMatcher),
}

/// A line filter ready to run.
pub(crate) struct LineTest {
    tests: Vec<Test>,
    negated: bool,
    /// Text that the filter needs; see [`LineTest::rules_out`].
    needles: Option<Vec<Vec<Vec<u8>>>>,
}

impl LineTest {
    /// Prepares a filter that the parser has accepted.
    pub fn new(filter: &LineFilter) -> Result<Self, String> {
        let negated = matches!(filter.op, FilterOp::NotContains | FilterOp::NotRegex | FilterOp::NotPattern);
        let mut tests = Vec::new();
        let mut needles = Some(Vec::new());
        for text in &filter.texts {
            let (test, needed) = match (filter.op, text) {
                (_, FilterText::Ip(text)) => (Test::Ip(IpMatcher::new(text)?), Vec::new()),
                (FilterOp::Contains | FilterOp::NotContains, FilterText::Text(text)) => (
                    Test::Text(Box::new(Finder::new(text.as_bytes()).into_owned())),
                    vec![text.as_bytes().to_vec()],
                ),
                (FilterOp::Regex | FilterOp::NotRegex, FilterText::Text(text)) => {
                    (Test::Regex(regex(text)?), literals(text))
                }
                (FilterOp::Pattern | FilterOp::NotPattern, FilterText::Text(text)) => {
                    let pattern = Pattern::new(text, false)?;
                    let literals = pattern.literals().map(<[u8]>::to_vec).collect();
                    (Test::Pattern(pattern), literals)
                }
            };
            tests.push(test);
            match &mut needles {
                Some(all) if !needed.is_empty() => all.push(needed),
                _ => needles = None,
            }
        }
        Ok(Self { tests, negated, needles: needles.filter(|_| !negated) })
    }

    /// Whether a line passes.
    #[inline]
    pub fn passes(&self, line: &[u8]) -> bool {
        self.tests.iter().any(|test| test.finds(line)) != self.negated
    }

    /// The text to search whole buffers for, when that is all there is to the filter.
    pub fn finder(&self) -> Option<&Finder<'static>> {
        match self.tests.as_slice() {
            [Test::Text(finder)]
                if !self.negated && !finder.needle().contains(&b'\n') && !finder.needle().is_empty() =>
            {
                Some(finder)
            }
            _ => None,
        }
    }

    /// Whether no line of a block with this filter can pass.
    pub fn rules_out(&self, block: &Filter<'_>) -> bool {
        let Some(alternatives) = &self.needles else { return false };
        !alternatives.iter().any(|all| all.iter().all(|needle| block.may_hold(needle)))
    }

    /// Whether [`LineTest::rules_out`] can ever say yes.
    pub fn is_selective(&self) -> bool {
        self.needles.as_ref().is_some_and(|all| all.iter().flatten().any(|needle| needle.len() >= 3))
    }
}

impl Test {
    #[inline]
    fn finds(&self, line: &[u8]) -> bool {
        match self {
            Self::Text(finder) => finder.find(line).is_some(),
            Self::Regex(regex) => regex.is_match(line),
            Self::Pattern(pattern) => pattern.is_match(line),
            Self::Ip(ip) => ip.finds(line),
        }
    }
}

/// Texts each of which must be in any match of a regex, ASCII case aside.
fn literals(text: &str) -> Vec<Vec<u8>> {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(text);
    let mut out = Vec::new();
    if let Ok(hir) = parsed {
        let mut open = Vec::new();
        collect(&hir, &mut open, &mut out);
        close(&mut open, &mut out);
    }
    out
}

/// Adds what `hir` must match to `open`, the literal that is being put together; moves it to `out`
/// where it cannot be continued.
fn collect(hir: &Hir, open: &mut Vec<u8>, out: &mut Vec<Vec<u8>>) {
    match hir.kind() {
        HirKind::Literal(literal) => open.extend_from_slice(&literal.0),
        HirKind::Capture(capture) => collect(&capture.sub, open, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| collect(part, open, out)),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            collect(&repetition.sub, open, out);
            close(open, out);
        }
        HirKind::Class(class) => match either_case(class) {
            Some(byte) => open.push(byte),
            None => close(open, out),
        },
        HirKind::Look(_) | HirKind::Empty => {}
        HirKind::Repetition(_) | HirKind::Alternation(_) => close(open, out),
    }
}

fn close(open: &mut Vec<u8>, out: &mut Vec<Vec<u8>>) {
    if !open.is_empty() {
        out.push(std::mem::take(open));
    }
}

/// The letter in lower case, when the class is one ASCII letter in both cases.
fn either_case(class: &Class) -> Option<u8> {
    let Class::Unicode(class) = class else { return None };
    let [upper, lower] = class.ranges() else { return None };
    let (upper, lower) = (upper.start(), lower.start())
        .eq(&(upper.end(), lower.end()))
        .then_some((upper.start(), lower.start()))?;
    (lower.is_ascii_lowercase() && upper == lower.to_ascii_uppercase()).then_some(lower as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        literals(text).into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    #[test]
    fn literals_that_a_regex_must_match() {
        assert_eq!(of("error"), ["error"]);
        assert_eq!(of("a.*bc+d"), ["a", "bc", "d"]);
        assert_eq!(of("(foo)?bar"), ["bar"]);
        assert_eq!(of("foo|bar"), [""; 0]);
        assert_eq!(of("(?i)eroor"), ["eroor"]);
        assert_eq!(of("x(ab){2}y"), ["xab", "y"]);
        assert_eq!(of("^status=[45]..$"), ["status="]);
    }
}
