//! Runs one test and compares what came of it with what is expected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use binnacle_proto::Labels;

use super::bench::Bench;
use super::file::{AlertCase, Fired, QueryCase, Test};
use crate::promql::{format_duration, format_value};
use crate::rules::file::GroupSpec;

/// What failed: the line of the expectation (0: none of its own) and what is wrong.
pub(super) fn run(
    test: &Test,
    groups: &[GroupSpec],
    evaluation_interval_ms: i64,
    fuzzy: bool,
) -> Vec<(u64, String)> {
    let mut bench = Bench::new(test, groups, evaluation_interval_ms);
    let mut alerts: Vec<&AlertCase> = test.alerts.iter().collect();
    alerts.sort_by_key(|case| case.at_ms);
    let moments = alerts.iter().map(|case| case.at_ms).chain(test.queries.iter().map(|case| case.at_ms));
    let last_ms = moments.max().unwrap_or(0);
    let mut failures = Vec::new();
    let mut alerts = alerts.into_iter().peekable();
    let mut at_ms = 0;
    while at_ms <= last_ms {
        if let Err(errors) = bench.step(at_ms) {
            let after = elapsed(at_ms);
            failures.extend(errors.into_iter().map(|error| (0, format!("at {after}: {error}"))));
            return failures;
        }
        // Alerts between two evaluations are those of the one before.
        while let Some(case) = alerts.next_if(|case| case.at_ms < at_ms + evaluation_interval_ms) {
            failures.extend(alert(case, &bench));
        }
        at_ms += evaluation_interval_ms;
    }
    failures.extend(test.queries.iter().filter_map(|case| query(case, &bench, fuzzy)));
    failures
}

fn alert(case: &AlertCase, bench: &Bench) -> Option<(u64, String)> {
    let got = bench.firing(&case.alert);
    let mut expected = case.expected.clone();
    expected.sort();
    if got == expected {
        return None;
    }
    let show = |fired: &Fired| {
        format!("labels {} annotations {}", braced(&fired.labels), braced(&fired.annotations))
    };
    let shown = difference(expected.iter().map(show).collect(), got.iter().map(show).collect());
    let message =
        format!("alert {:?} at {}: other alerts fire than expected{shown}", case.alert, elapsed(case.at_ms));
    Some((case.line, message))
}

fn query(case: &QueryCase, bench: &Bench, fuzzy: bool) -> Option<(u64, String)> {
    let head = format!("expr {:?} at {}", case.expr, elapsed(case.at_ms));
    let got = match bench.query(&case.expr, case.at_ms) {
        Ok(got) => got,
        Err(reason) => return Some((case.line, format!("{head}: {reason}"))),
    };
    let mut expected = case.expected.clone();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let same = |(a, b): (&(Labels, f64), &(Labels, f64))| a.0 == b.0 && is_equal(a.1, b.1, fuzzy);
    if got.len() == expected.len() && got.iter().zip(&expected).all(same) {
        return None;
    }
    let show = |(labels, value): &(Labels, f64)| {
        let note = if value.is_nan() { " (NaN equals nothing, not even NaN)" } else { "" };
        format!("{labels} {}{note}", format_value(*value))
    };
    let shown = difference(expected.iter().map(show).collect(), got.iter().map(show).collect());
    Some((case.line, format!("{head}: other samples than expected{shown}")))
}

/// With `fuzzy`, numbers may differ in the last bit.
fn is_equal(a: f64, b: f64, fuzzy: bool) -> bool {
    a == b || (fuzzy && (a.next_up() == b || a.next_down() == b))
}

fn elapsed(ms: i64) -> String {
    format_duration(Duration::from_millis(ms.unsigned_abs()))
}

fn braced(pairs: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A line for each entry: `-` only expected, `+` only found, both in order.
fn difference(expected: Vec<String>, mut got: Vec<String>) -> String {
    let mut text = String::new();
    for one in expected {
        let found = got.iter().position(|have| *have == one && !one.contains("NaN"));
        let mark = match found {
            Some(at) => {
                got.remove(at);
                ' '
            }
            None => '-',
        };
        let _ = write!(text, "\n    {mark} {one}");
    }
    for one in got {
        let _ = write!(text, "\n    + {one}");
    }
    text
}
