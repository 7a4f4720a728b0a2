//! The notation of series and their points in test scripts and in promtool's unit tests.

use binnacle_proto::{Labels, STALE_NAN, is_classic_name};

use super::number::parse_value;

/// Most points of one row.
const MAX_POINTS: usize = 10_000_000;

/// A series and its points, one a step.
#[derive(Debug, Clone)]
pub struct SeriesRow {
    /// The series.
    pub labels: Labels,
    /// Its points.
    pub points: Vec<RowPoint>,
}

/// A point of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RowPoint {
    /// `_`
    None,
    /// A number, or the staleness marker for `stale`.
    Float(f64),
    /// `{{…}}`: a native histogram; its contents are not looked at.
    Histogram,
}

/// Reads one number.
fn number(text: &str) -> Result<f64, String> {
    let digits = if text.contains('_') { text.replace('_', "") } else { text.to_owned() };
    parse_value(&digits)
        .ok_or_else(|| format!("{text:?} is not a number, \"_\", \"stale\" or an expansion like 1+2x3"))
}

/// Reads `series points…`.
///
/// # Errors
/// What cannot be read.
pub fn parse_series_row(line: &str) -> Result<SeriesRow, String> {
    let (series, points) = split_series(line);
    Ok(SeriesRow { labels: parse_series(series)?, points: parse_points(points)? })
}

/// Cuts a line behind the series: after the closing brace, or after the name.
fn split_series(line: &str) -> (&str, &str) {
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let rest = &line[name_end..];
    if !rest.trim_start().starts_with('{') || rest.trim_start().starts_with("{{") {
        return line.split_at(name_end);
    }
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '}') => return line.split_at(name_end + at + 1),
            _ => {}
        }
    }
    (line, "")
}

/// Reads labels as PromQL writes them: `name{a="b"}` or `{"name", a="b"}`.
pub(crate) fn parse_series(text: &str) -> Result<Labels, String> {
    let refuse = |why: &str| format!("cannot read the series {text:?}: {why}");
    let (name, braces) = match text.find('{') {
        Some(at) => {
            let inside = text[at + 1..].trim_end().strip_suffix('}');
            (text[..at].trim(), inside.ok_or_else(|| refuse("a closing brace is missing"))?)
        }
        None => (text.trim(), ""),
    };
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        if !is_classic_name(name, true) {
            return Err(refuse("the name has other characters than [a-zA-Z0-9_:]; such names are quoted"));
        }
        pairs.push(("__name__".to_owned(), name.to_owned()));
    }
    let mut rest = braces.trim();
    while !rest.is_empty() {
        let is_quoted = rest.starts_with(['"', '\'', '`']);
        let (label, tail) = if is_quoted {
            quoted(rest)?
        } else {
            let end = rest.find('=').ok_or_else(|| refuse("a label has no value"))?;
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        if !is_quoted && !is_classic_name(&label, false) {
            return Err(refuse("labels are written name=\"value\""));
        }
        rest = tail.trim_start();
        if let Some(tail) = rest.strip_prefix('=') {
            let (value, tail) = quoted(tail.trim_start())?;
            pairs.push((label, value));
            rest = tail.trim_start();
        } else {
            pairs.push(("__name__".to_owned(), label));
        }
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start(),
            None if rest.is_empty() => {}
            None => return Err(refuse("a comma is missing between labels")),
        }
    }
    Labels::from_pairs(pairs).map_err(|why| why.to_string())
}

/// Reads a quoted string; returns what follows as well.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
    let quote = quote.ok_or_else(|| format!("expected a quoted string at {text:?}"))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            let value = promql_parser::util::unquote_string(&text[..=at])?;
            return Ok((value, &text[at + 1..]));
        }
    }
    Err(format!("unended string: {text:?}"))
}

/// Reads points, one a step.
pub(crate) fn parse_points(text: &str) -> Result<Vec<RowPoint>, String> {
    let mut points = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = token_end(rest);
        let (token, tail) = rest.split_at(end);
        expand(token, &mut points)?;
        rest = tail.trim_start();
    }
    Ok(points)
}

/// Histograms contain spaces.
fn token_end(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn expand(token: &str, points: &mut Vec<RowPoint>) -> Result<(), String> {
    let (base, times) = split_times(token)?;
    if times.unwrap_or(0) >= MAX_POINTS.saturating_sub(points.len()) {
        return Err(format!("{token:?} expands to more than {MAX_POINTS} points"));
    }
    // `ax3` yields four points, the first as well.
    let count = times.map_or(1, |times| times + 1);
    if base.contains("{{") {
        points.extend(std::iter::repeat_n(RowPoint::Histogram, count));
        return Ok(());
    }
    match base {
        "_" => points.extend(std::iter::repeat_n(RowPoint::None, times.unwrap_or(1))),
        "stale" if times.is_none() => points.push(RowPoint::Float(STALE_NAN)),
        _ => {
            // Added up step by step, so that rounding is the same as in Prometheus' own tests.
            let (mut value, step) = split_step(base)?;
            for _ in 0..count {
                points.push(RowPoint::Float(value));
                value += step;
            }
        }
    }
    Ok(())
}

/// Splits `…x3` off.
fn split_times(token: &str) -> Result<(&str, Option<usize>), String> {
    let behind = token.rfind('}').map_or(0, |at| at + 1);
    match token[behind..].rfind('x') {
        Some(at) if token[behind + at + 1..].bytes().all(|b| b.is_ascii_digit()) => {
            let times = token[behind + at + 1..].parse().map_err(|_| format!("cannot read {token:?}"))?;
            Ok((&token[..behind + at], Some(times)))
        }
        _ => Ok((token, None)),
    }
}

/// Splits `a+b` and `a-b`; the sign of an exponent is none of both.
fn split_step(base: &str) -> Result<(f64, f64), String> {
    let bytes = base.as_bytes();
    let sign = (1..bytes.len())
        .find(|at| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E' | b'+' | b'-'));
    match sign {
        Some(at) => Ok((number(&base[..at])?, number(&base[at..])?)),
        None => Ok((number(base)?, 0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<f64> {
        let float = |point: &RowPoint| if let RowPoint::Float(value) = point { *value } else { f64::NAN };
        parse_points(text).unwrap().iter().map(float).collect()
    }

    #[test]
    fn points_expand_as_in_unit_tests() {
        assert_eq!(floats("1 2 -3"), [1.0, 2.0, -3.0]);
        assert_eq!(floats("0+10x2 1x1 5-2x2"), [0.0, 10.0, 20.0, 1.0, 1.0, 5.0, 3.0, 1.0]);
        assert_eq!(floats("1e+3-1e-1x1"), [1000.0, 999.9]);
        assert_eq!(parse_points("_ _x2 1").unwrap().len(), 4);
        assert_eq!(
            parse_points("{{schema:0 buckets:[1 2]}}x2 {{}}+{{sum:1}}x1").unwrap(),
            [RowPoint::Histogram; 5]
        );
    }

    #[test]
    fn series_are_read_with_and_without_quotes() {
        let row = parse_series_row(r#"{"a.b", "c d"="e}", f="\"g"} 1"#).unwrap();
        assert_eq!(row.labels.metric_name(), Some("a.b"));
        assert_eq!(row.labels.get("c d"), Some("e}"));
        assert_eq!(row.labels.get("f"), Some("\"g"));
        let row = parse_series_row(r#"m{a='}', b=`\}"`, c='\'}'} 1"#).unwrap();
        assert_eq!((row.labels.get("a"), row.labels.get("b")), (Some("}"), Some("\\}\"")));
        assert_eq!((row.labels.get("c"), row.points.len()), (Some("'}"), 1));
        assert_eq!(parse_series_row("up 1").unwrap().labels.to_string(), "up");
        assert_eq!(parse_series_row("x{} 1").unwrap().labels.to_string(), "x");
    }
}
