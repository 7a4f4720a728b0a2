//! Says where in a query a mistake is: the parser's messages have no positions.

use super::tokens::{Kind, Token, tokens};

/// The parser's message as Prometheus words it, behind line and column where they can be told.
pub(super) fn placed(query: &str, reason: &str) -> String {
    let found = tokens(query);
    if found.is_empty() {
        return "unknown position: parse error: no expression found in input".to_owned();
    }
    let (at, reason) = explained(query, &found, reason);
    match at {
        Some(at) => {
            let before = &query[..at.min(query.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{line}:{column}: parse error: {reason}")
        }
        None => format!("unknown position: parse error: {reason}"),
    }
}

fn explained(query: &str, found: &[Token<'_>], reason: &str) -> (Option<usize>, String) {
    let end = query.trim_end().len();
    if reason.starts_with("unclosed") {
        return (Some(end), reason.to_owned());
    }
    let named = reason.split_once('\'').and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
    if let Some(name) = named {
        let at = found.iter().position(|token| token.text == name);
        if reason.starts_with("unknown function") {
            return (at.map(|at| found[at].start), format!("unknown function with name {name:?}"));
        }
        if let Some(types) = reason.strip_prefix("expected type ") {
            // The argument stands behind the name and its bracket.
            let argument = at.and_then(|at| found.get(at + 2)).map(|token| token.start);
            let words = types.split(' ').map(|word| match word {
                "matrix" => "range vector".to_owned(),
                "vector" => "instant vector".to_owned(),
                word => word.replace('\'', "\""),
            });
            let words: Vec<String> = words.collect();
            return (argument, format!("expected type {}", words.join(" ")));
        }
        return (at.map(|at| found[at].start), reason.to_owned());
    }
    if reason == "invalid promql query" {
        return syntax(found, end);
    }
    (None, reason.to_owned())
}

/// The first place at which brackets or operators do not fit, for a message that says nothing.
fn syntax(found: &[Token<'_>], end: usize) -> (Option<usize>, String) {
    let mut open = Vec::new();
    for (i, token) in found.iter().enumerate() {
        let unexpected = || (Some(token.start), format!("unexpected {:?}", token.text));
        match token.text {
            "(" | "[" | "{" => open.push(token.text),
            ")" | "]" | "}" => {
                let fits = matches!(
                    (open.pop(), token.text),
                    (Some("("), ")") | (Some("["), "]") | (Some("{"), "}")
                );
                if !fits {
                    return unexpected();
                }
            }
            _ => {}
        }
        let operand = |token: &Token<'_>| matches!(token.kind, Kind::Number | Kind::Text);
        if i > 0 && open.is_empty() && operand(token) && operand(&found[i - 1]) {
            return unexpected();
        }
        let is_operator = |token: &Token<'_>| {
            token.kind == Kind::Mark
                && matches!(token.text, "*" | "/" | "%" | "^" | "==" | "!=" | ">" | "<" | ">=" | "<=")
        };
        if is_operator(token) && (i == 0 || is_operator(&found[i - 1])) && !open.contains(&"{") {
            return unexpected();
        }
    }
    let last = found.last().map(|token| token.text).unwrap_or_default();
    let is_open_ended = !open.is_empty()
        || matches!(
            last,
            "+" | "-" | "*" | "/" | "%" | "^" | "==" | "!=" | ">" | "<" | ">=" | "<=" | "@" | ","
        )
        || ["and", "or", "unless", "atan2", "offset", "by", "without", "on", "ignoring", "bool"]
            .iter()
            .any(|word| last.eq_ignore_ascii_case(word));
    if is_open_ended {
        return (Some(end), "unexpected end of input".to_owned());
    }
    (None, "the expression is not PromQL".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::promql::format_query;

    #[test]
    fn mistakes_are_worded_and_placed_as_in_prometheus() {
        for (query, want) in [
            ("", "unknown position: parse error: no expression found in input"),
            ("sum(", "1:5: parse error: unclosed left parenthesis"),
            ("m1 +", "1:5: parse error: unexpected end of input"),
            ("a +\n  nosuch(m1)", "2:3: parse error: unknown function with name \"nosuch\""),
            (
                "rate(m1)",
                "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
            ),
            ("a * / b", "1:5: parse error: unexpected \"/\""),
            ("sum by (a", "1:10: parse error: "),
        ] {
            let error = format_query(query).unwrap_err().to_string();
            assert!(error.starts_with(want), "{query}: {error}");
        }
    }
}
