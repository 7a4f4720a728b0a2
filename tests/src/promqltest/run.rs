//! Runs a script and reports.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use binnacle_tsdb::{Answer, Engine, Error, Guard, GuardLimits, QueryOptions, RowPoint, SeriesRow};

use super::compare::{annotations, instant_answer, middle_of_range, range_answer};
use super::load::Store;
use super::script::{Eval, What, When, parse};
use super::skips::Skips;

/// What became of a script's evaluations.
#[derive(Debug, Default)]
pub struct FileReport {
    /// Name of the script.
    pub script: String,
    /// Evaluations that yielded what they must.
    pub passed: usize,
    /// Those that did not, with line and reason.
    pub failed: Vec<String>,
    /// Evaluations on the list of skips that indeed do not pass, counted by reason.
    pub skipped: BTreeMap<String, usize>,
    /// Evaluations on the list of skips by their line that pass all the same.
    pub needless: Vec<String>,
}

impl FileReport {
    /// One line for people.
    pub fn line(&self) -> String {
        let skipped: usize = self.skipped.values().sum();
        let reasons: Vec<String> =
            self.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
        format!(
            "{:<28} {:>4} passed, {} failed, {} skipped{}",
            self.script,
            self.passed,
            self.failed.len(),
            skipped,
            reasons
        )
    }
}

/// Runs one script against a store.
///
/// # Errors
/// When the script cannot be read or parsed, or the store refuses to load or clear.
pub fn run_file(path: &Path, store: &mut dyn Store, skips: &Skips) -> Result<FileReport, String> {
    let script = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
    let commands = parse(&text).map_err(|why| format!("{script}: {why}"))?;
    let mut report = FileReport { script, ..FileReport::default() };
    store.clear()?;
    for command in commands {
        match command.what {
            What::Clear => store.clear()?,
            What::Load { step_ms, rows } => load(store, step_ms, &rows)?,
            What::Eval(eval) => {
                let outcome = evaluate(store, &eval);
                let place = format!("{}:{}", report.script, command.line);
                match (skips.reason(&report.script, command.line), outcome) {
                    (None, Ok(())) => report.passed += 1,
                    (None, Err(why)) => report.failed.push(format!("{place} {}\n      {why}", eval.expr)),
                    (Some((_, true)), Ok(())) => report.needless.push(format!("{place} {}", eval.expr)),
                    (Some((_, false)), Ok(())) => report.passed += 1,
                    (Some((reason, _)), Err(_)) => *report.skipped.entry(reason.to_owned()).or_default() += 1,
                }
            }
        }
    }
    Ok(report)
}

fn load(store: &mut dyn Store, step_ms: i64, rows: &[SeriesRow]) -> Result<(), String> {
    for (number, row) in rows.iter().enumerate() {
        // Of a series that a load names twice, the last row stands.
        if rows[number + 1..].iter().any(|later| later.labels == row.labels) {
            continue;
        }
        let at = |(i, point): (usize, &RowPoint)| match point {
            RowPoint::Float(value) => Some((i as i64 * step_ms, *value)),
            // Native histograms cannot be stored yet; what depends on them is on the list of skips.
            RowPoint::None | RowPoint::Histogram => None,
        };
        let samples: Vec<(i64, f64)> = row.points.iter().enumerate().filter_map(at).collect();
        store.append(&row.labels, &samples)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the deadline of a test counts from now")]
fn options() -> QueryOptions {
    QueryOptions { guard: Guard::new(GuardLimits::default(), Instant::now()), lookback: None }
}

fn evaluate(store: &dyn Store, eval: &Eval) -> Result<(), String> {
    let engine = Engine::default();
    let expected = &eval.expected;
    match eval.when {
        When::Instant { at_ms } => {
            let answer = engine.instant(store.source(), &eval.expr, at_ms, &options());
            let Some(answer) = succeeded(eval, answer)? else { return Ok(()) };
            annotations(expected, &answer)?;
            instant_answer(expected, &answer, at_ms)?;
            as_range(store, eval, at_ms)
        }
        When::Range { start_ms, end_ms, step_ms } => {
            let answer = engine.range(store.source(), &eval.expr, start_ms, end_ms, step_ms, &options());
            let Some(answer) = succeeded(eval, answer)? else { return Ok(()) };
            annotations(expected, &answer)?;
            range_answer(expected, &answer, (start_ms, end_ms, step_ms))
        }
    }
}

/// The answer, unless failure was expected and came.
fn succeeded(eval: &Eval, answer: Result<Answer, Error>) -> Result<Option<Answer>, String> {
    match (answer, &eval.expected.fail) {
        (Ok(answer), None) => Ok(Some(answer)),
        (Ok(answer), Some(_)) => Err(format!("should have failed, yields {:?}", answer.value)),
        (Err(why), None) => Err(format!("failed: {why}")),
        (Err(why), Some(messages)) => {
            let why = why.to_string();
            if messages.iter().all(|message| message.matches(&why)) {
                Ok(None)
            } else {
                Err(format!("failed with another message: {why}"))
            }
        }
    }
}

/// An instant evaluation must yield the same as the middle step of a range.
fn as_range(store: &dyn Store, eval: &Eval, at_ms: i64) -> Result<(), String> {
    let depends = ["start()", "end()", "range()", "step()"].iter().any(|call| eval.expr.contains(call));
    let expected = &eval.expected;
    if depends || expected.ordered || expected.string.is_some() || expected.range.is_some() {
        return Ok(());
    }
    let (start_ms, end_ms) = (at_ms - 60_000, at_ms + 60_000);
    let answer =
        match Engine::default().range(store.source(), &eval.expr, start_ms, end_ms, 60_000, &options()) {
            Ok(answer) => answer,
            // A range selector alone cannot be asked for over a range.
            Err(Error::BadInput(why)) if why.contains("invalid expression type") => return Ok(()),
            Err(why) => return Err(format!("as a range: failed: {why}")),
        };
    middle_of_range(expected, &answer, at_ms).map_err(|why| format!("as a range: {why}"))
}
