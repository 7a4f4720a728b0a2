//! Parses a script into commands.

use binnacle_tsdb::{SeriesRow, parse_series_row, parse_value};

/// A command and the line it begins on, from 1.
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) what: What,
}

pub(super) enum What {
    /// Adds samples, one every `step_ms` from 0.
    Load { step_ms: i64, rows: Vec<SeriesRow> },
    /// Forgets all samples.
    Clear,
    /// Evaluates and compares.
    Eval(Box<Eval>),
}

/// An evaluation and what it must yield.
pub(super) struct Eval {
    pub(super) expr: String,
    pub(super) when: When,
    pub(super) expected: Expected,
}

/// When an evaluation takes place, in milliseconds.
#[derive(Clone, Copy)]
pub(super) enum When {
    Instant { at_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

#[derive(Default)]
pub(super) struct Expected {
    pub(super) ordered: bool,
    pub(super) fail: Option<Vec<Message>>,
    pub(super) warn: Option<Vec<Message>>,
    pub(super) info: Option<Vec<Message>>,
    pub(super) no_warn: bool,
    pub(super) no_info: bool,
    pub(super) string: Option<String>,
    /// Start, end and step of an expected range vector.
    pub(super) range: Option<(i64, i64, i64)>,
    pub(super) scalar: Option<f64>,
    pub(super) rows: Vec<SeriesRow>,
}

/// An expected message.
pub(super) enum Message {
    Any,
    Exactly(String),
    Matching(regex::Regex),
}

impl Message {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(want) => want == text,
            Self::Matching(regex) => regex.is_match(text),
        }
    }
}

/// Parses a whole script. An error names the line.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (line, head) = (at + 1, lines[at]);
        at += 1;
        if head.is_empty() || head.starts_with('#') {
            continue;
        }
        let begin = at;
        while at < lines.len() && !lines[at].is_empty() && !lines[at].starts_with('#') && !is_head(lines[at])
        {
            at += 1;
        }
        let what = command(head, &lines[begin..at]).map_err(|why| format!("line {line}: {why}"))?;
        commands.push(Command { line, what });
    }
    Ok(commands)
}

/// Reads a duration or plain seconds, either with a sign, as milliseconds.
fn seconds_ms(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let ms = match digits.parse::<f64>() {
        Ok(seconds) => (seconds * 1000.0).round() as i64,
        Err(_) => {
            let duration = binnacle_tsdb::parse_duration(digits).map_err(|why| why.to_string())?;
            i64::try_from(duration.as_millis()).map_err(|why| why.to_string())?
        }
    };
    Ok(if negative { -ms } else { ms })
}

fn is_head(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    word == "clear"
        || word == "load"
        || word == "load_with_nhcb"
        || word == "eval"
        || word.starts_with("eval_")
}

fn command(head: &str, body: &[&str]) -> Result<What, String> {
    let (word, rest) = head.split_once(char::is_whitespace).unwrap_or((head, ""));
    match word {
        "clear" => Ok(What::Clear),
        "load" | "load_with_nhcb" => {
            let rows = body.iter().map(|line| parse_series_row(line)).collect::<Result<_, _>>()?;
            Ok(What::Load { step_ms: seconds_ms(rest.trim())?, rows })
        }
        _ if word == "eval" || word.starts_with("eval_") => {
            let (expr, when) = evaluation(rest.trim())?;
            let mut expected = Expected::default();
            match word {
                "eval_fail" => expected.fail = Some(Vec::new()),
                "eval_warn" => expected.warn = Some(Vec::new()),
                "eval_info" => expected.info = Some(Vec::new()),
                "eval_ordered" => expected.ordered = true,
                _ => {}
            }
            for line in body {
                expectation(line, &mut expected)?;
            }
            Ok(What::Eval(Box::new(Eval { expr, when, expected })))
        }
        _ => Err(format!("unknown command {word:?}")),
    }
}

fn evaluation(rest: &str) -> Result<(String, When), String> {
    let mut words = rest.splitn(2, char::is_whitespace);
    let kind = words.next().unwrap_or_default();
    let mut rest = words.next().unwrap_or_default().trim();
    let mut word = |wanted: &str| -> Result<i64, String> {
        let tail =
            rest.strip_prefix(wanted).ok_or_else(|| format!("expected {wanted:?} before {rest:?}"))?.trim();
        let (time, tail) = tail.split_once(char::is_whitespace).ok_or("a time is missing")?;
        rest = tail.trim();
        seconds_ms(time)
    };
    match kind {
        "instant" => {
            let at_ms = word("at")?;
            Ok((rest.to_owned(), When::Instant { at_ms }))
        }
        "range" => {
            let (start_ms, end_ms, step_ms) = (word("from")?, word("to")?, word("step")?);
            Ok((rest.to_owned(), When::Range { start_ms, end_ms, step_ms }))
        }
        _ => Err(format!("expected instant or range, not {kind:?}")),
    }
}

fn expectation(line: &str, expected: &mut Expected) -> Result<(), String> {
    if let Some(message) = line.strip_prefix("expected_fail_message") {
        expected.fail.get_or_insert_default().push(Message::Exactly(message.trim().to_owned()));
        return Ok(());
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
        expected.fail.get_or_insert_default().push(Message::Matching(regex(pattern.trim())?));
        return Ok(());
    }
    let Some(rest) = line.strip_prefix("expect ") else {
        if let (true, Ok(number)) = (expected.rows.is_empty(), parse_value(line).ok_or(())) {
            expected.scalar = Some(number);
        } else {
            expected.rows.push(parse_series_row(line)?);
        }
        return Ok(());
    };
    let (kind, tail) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
    match kind {
        "ordered" => expected.ordered = true,
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "fail" => expected.fail.get_or_insert_default().push(message(tail.trim())?),
        "warn" => expected.warn.get_or_insert_default().push(message(tail.trim())?),
        "info" => expected.info.get_or_insert_default().push(message(tail.trim())?),
        "string" => {
            let text = promql_parser::util::unquote_string(tail.trim())?;
            expected.string = Some(text);
        }
        "range" => {
            let words: Vec<&str> = tail.split_whitespace().collect();
            let ["vector", "from", start, "to", end, "step", step] = words[..] else {
                return Err(format!("cannot read {line:?}"));
            };
            expected.range = Some((seconds_ms(start)?, seconds_ms(end)?, seconds_ms(step)?));
        }
        _ => return Err(format!("unknown expectation {kind:?}")),
    }
    Ok(())
}

fn message(tail: &str) -> Result<Message, String> {
    if tail.is_empty() {
        Ok(Message::Any)
    } else if let Some(text) = tail.strip_prefix("msg:") {
        Ok(Message::Exactly(text.trim().to_owned()))
    } else if let Some(pattern) = tail.strip_prefix("regex:") {
        Ok(Message::Matching(regex(pattern.trim())?))
    } else {
        Err(format!("cannot read the message {tail:?}"))
    }
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::Regex::new(pattern).map_err(|why| why.to_string())
}
