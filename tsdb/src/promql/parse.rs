//! From text to the parser's tree, within bounds, and back to text.

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::{Expr, VectorSelector};

use super::mistake::placed;
use super::tokens::{Kind, Token, tokens};
use crate::Error;
use crate::select::{MatchTest, Matcher};

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 64 << 10;
/// Most nested brackets, operators and calls of a query; bounds the stack of everything that walks it.
pub const MAX_QUERY_DEPTH: usize = 400;
/// Longest range, step or offset in seconds: about 292 years, as Prometheus has it.
const MAX_SECONDS: f64 = 9_223_372_036.0;

/// Parses a query after checking its bounds.
pub(super) fn parse(query: &str) -> Result<Expr, Error> {
    check_bounds(query)?;
    promql_parser::parser::parse(query).map_err(|reason| Error::Parse(placed(query, &reason)))
}

/// Parses the selector of a `match[]` parameter: matchers only, no range, offset or function.
///
/// # Errors
/// [`Error::Parse`] when it is not such a selector.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    match parse(text)? {
        Expr::VectorSelector(selector) if selector.offset.is_none() && selector.at.is_none() => {
            selector_matchers(&selector)
        }
        _ => Err(Error::Parse(format!("{text:?} is not a plain series selector such as up{{job=\"node\"}}"))),
    }
}

/// The conditions of every selector of a query, in the order they stand.
///
/// # Errors
/// [`Error::Parse`] when the query cannot be parsed.
pub(crate) fn selectors(query: &str) -> Result<Vec<Vec<Matcher>>, Error> {
    fn walk(expr: &Expr, found: &mut Vec<Vec<Matcher>>) -> Result<(), Error> {
        match expr {
            Expr::VectorSelector(selector) => found.push(selector_matchers(selector)?),
            Expr::MatrixSelector(range) => found.push(selector_matchers(&range.vs)?),
            Expr::Aggregate(node) => {
                walk(&node.expr, found)?;
                if let Some(parameter) = &node.param {
                    walk(parameter, found)?;
                }
            }
            Expr::Unary(node) => walk(&node.expr, found)?,
            Expr::Binary(node) => {
                walk(&node.lhs, found)?;
                walk(&node.rhs, found)?;
            }
            Expr::Paren(node) => walk(&node.expr, found)?,
            Expr::Subquery(node) => walk(&node.expr, found)?,
            Expr::Call(node) => {
                for argument in &node.args.args {
                    walk(argument, found)?;
                }
            }
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(&parse(query)?, &mut found)?;
    Ok(found)
}

/// Prints a query in its normal form, broken into lines when it is long.
///
/// # Errors
/// [`Error::Parse`] when the query cannot be parsed.
pub fn format_query(query: &str) -> Result<String, Error> {
    Ok(parse(query)?.prettify())
}

/// The conditions of a selector, its name included.
pub(super) fn selector_matchers(selector: &VectorSelector) -> Result<Vec<Matcher>, Error> {
    let mut matchers = Vec::new();
    if let Some(name) = &selector.name {
        matchers.push(Matcher { name: "__name__".to_owned(), test: MatchTest::Equal(name.clone()) });
    }
    matchers.extend(matchers_of(&selector.matchers)?);
    Ok(matchers)
}

/// The conditions inside the braces of a selector.
fn matchers_of(matchers: &Matchers) -> Result<Vec<Matcher>, Error> {
    if !matchers.or_matchers.is_empty() {
        return Err(Error::Parse(
            "unexpected \"or\" in label matching: PromQL has no alternatives there".into(),
        ));
    }
    let regex = |pattern: &str| {
        Matcher::anchored(pattern)
            .or_else(|_| Matcher::anchored(&escape_braces(pattern)))
            .map_err(|why| Error::Parse(format!("error parsing regexp {pattern:?}: {why}")))
    };
    let convert = |matcher: &promql_parser::label::Matcher| {
        let test = match &matcher.op {
            MatchOp::Equal => MatchTest::Equal(matcher.value.clone()),
            MatchOp::NotEqual => MatchTest::NotEqual(matcher.value.clone()),
            MatchOp::Re(_) => MatchTest::Regex(regex(&matcher.value)?),
            MatchOp::NotRe(_) => MatchTest::NotRegex(regex(&matcher.value)?),
        };
        Ok(Matcher { name: matcher.name.clone(), test })
    };
    matchers.matchers.iter().map(convert).collect()
}

/// Escapes the braces that do not begin a repetition: Go's syntax takes `a{b}` literally.
fn escape_braces(pattern: &str) -> String {
    let mut escaped = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(at) = rest.find(['\\', '{']) {
        escaped.push_str(&rest[..at]);
        let tail = &rest[at..];
        if tail.starts_with('\\') {
            // `\p{L}` and `\x{1F}` keep their braces.
            let braced = ["\\p{", "\\P{", "\\x{"].iter().any(|class| tail.starts_with(class));
            let taken = tail.chars().take(if braced { 3 } else { 2 }).map(char::len_utf8).sum();
            escaped.push_str(&tail[..taken]);
            rest = &tail[taken..];
        } else {
            escaped.push_str(if is_repetition(tail) { "{" } else { "\\{" });
            rest = &tail[1..];
        }
    }
    escaped.push_str(rest);
    escaped
}

fn is_repetition(tail: &str) -> bool {
    let Some((inside, _)) = tail[1..].split_once('}') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        Some((from, to)) => digits(from) && (to.is_empty() || digits(to)),
        None => digits(inside),
    }
}

/// Refuses what the parser would take too long for, or not survive.
fn check_bounds(query: &str) -> Result<(), Error> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(Error::Parse(format!(
            "the query has {} bytes; max_query_bytes is {MAX_QUERY_BYTES}",
            query.len()
        )));
    }
    let tokens = tokens(query);
    let too_deep = || {
        Error::Parse(format!("the query nests or chains too deeply; max_query_depth is {MAX_QUERY_DEPTH}"))
    };
    let (mut open, mut operators) = (0usize, vec![0usize]);
    for (i, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => {
                open += 1;
                operators.push(0);
            }
            ")" | "]" | "}" => {
                open = open.saturating_sub(1);
                if operators.len() > 1 {
                    operators.pop();
                }
            }
            "," if token.kind == Kind::Mark => {
                if let Some(last) = operators.last_mut() {
                    *last = 0;
                }
            }
            "and" | "or" | "unless" | "atan2" => {
                if let Some(last) = operators.last_mut() {
                    *last += 1;
                }
            }
            _ if token.kind == Kind::Mark && token.text != ":" => {
                if let Some(last) = operators.last_mut() {
                    *last += 1;
                }
            }
            _ => {}
        }
        if open + operators.iter().sum::<usize>() > MAX_QUERY_DEPTH {
            return Err(too_deep());
        }
        check_seconds(&tokens[..i], token)?;
    }
    Ok(())
}

/// Plain numbers where a duration belongs must be a sane count of seconds.
fn check_seconds(before: &[Token<'_>], token: &Token<'_>) -> Result<(), Error> {
    let previous = |back: usize| before.len().checked_sub(back).map(|at| before[at].text).unwrap_or_default();
    let after_offset = previous(1).eq_ignore_ascii_case("offset")
        || (matches!(previous(1), "+" | "-") && previous(2).eq_ignore_ascii_case("offset"));
    if !(matches!(previous(1), "[" | ":") || after_offset) {
        return Ok(());
    }
    // Hexadecimal and octal numbers are integers of 64 bits and cannot exceed what the parser survives.
    match token.text.parse::<f64>() {
        Ok(seconds) if !(seconds.is_finite() && seconds <= MAX_SECONDS) => {
            Err(Error::Parse(format!("duration out of range: {}", token.text)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_matchers() {
        let matchers = parse_selector(r#"up{job=~"a|b", x!=""}"#).unwrap();
        assert_eq!(matchers.len(), 3);
        assert!(matchers[1].matches_value("b"));
        assert!(!matchers[1].matches_value("ab"));
        let quoted = parse_selector(r#"{"my.metric", "a.b"="c"}"#).unwrap();
        assert!(
            matches!(&quoted[0], Matcher { name, test: MatchTest::Equal(v) } if name == "__name__" && v == "my.metric")
        );
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in
            ["", "up offset 5m", "rate(up[5m])", "1", "{}", r#"{a=~".*"}"#, "up[5m]", r#"{a="b" or c="d"}"#]
        {
            assert!(parse_selector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn braces_that_are_no_repetition_are_taken_literally() {
        assert!(parse_selector(r#"{a=~"x{y}z{2}"}"#).unwrap()[0].matches_value("x{y}zz"));
    }

    #[test]
    fn queries_beyond_the_bounds_are_refused() {
        let chain = vec!["1"; MAX_QUERY_DEPTH + 10].join("+");
        let nest = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
        let long = format!("{{a=\"{}\"}}", "x".repeat(MAX_QUERY_BYTES));
        for query in [chain.as_str(), &nest, &long, "a[NaN]", "a[1e300]", "a offset Inf", "a[5m:1e99]"] {
            assert!(matches!(parse(query), Err(Error::Parse(_))), "{query:.40}");
        }
        assert!(parse(&vec!["a"; 300].join(" or ")).is_ok());
    }
}
