//! `binnacle test rules`: unit tests of rule files, in the format of promtool.
//!
//! ```text
//! test file ─► file (YAML) ─► bench (rules over samples in memory, step by step) ─► check ─► findings
//! ```

mod bench;
mod check;
mod file;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::file::{Finding, Language, load};

/// What became of the tests of one file.
#[derive(Debug, Clone, Default)]
pub struct UnitReport {
    /// Tests that were run.
    pub tests: usize,
    /// Tests left out because their name does not match.
    pub left_out: usize,
    /// What is not as it should be, with the line of the expectation; empty when all is well.
    pub failures: Vec<Finding>,
    /// What a person should know although nothing failed.
    pub notes: Vec<String>,
}

/// Runs the tests of `file`; with `only`, those whose name matches it. Blocks until they are done.
///
/// Native histograms are refused, in series and in expectations.
pub fn unit_test(file: &Path, only: Option<&regex::Regex>) -> UnitReport {
    let mut report = UnitReport::default();
    let read = match file::read(file) {
        Ok(read) => read,
        Err(failures) => {
            report.failures = failures;
            return report;
        }
    };
    let files = rule_files(file, &read.rule_files, &mut report);
    let groups = match load(&files, Language::PromQl) {
        Ok(groups) => groups,
        Err(failures) => {
            report.failures.extend(failures);
            return report;
        }
    };
    if !report.failures.is_empty() {
        return report;
    }
    let order: HashMap<&str, usize> =
        read.group_order.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut groups = groups;
    // Groups that are not named come first, in the order of their files.
    groups.sort_by_key(|group| order.get(group.name.as_str()).map_or(0, |at| at + 1));
    for test in &read.tests {
        if only.is_some_and(|only| !only.is_match(&test.name)) {
            report.left_out += 1;
            continue;
        }
        report.tests += 1;
        let found = check::run(test, &groups, read.evaluation_interval_ms, read.fuzzy);
        report.failures.extend(found.into_iter().map(|(line, message)| Finding {
            file: file.to_owned(),
            line,
            message: if test.name.is_empty() { message } else { format!("test {:?}: {message}", test.name) },
        }));
    }
    report
}

/// The rule files that patterns name; relative ones start at the folder of the test file.
fn rule_files(file: &Path, patterns: &[String], report: &mut UnitReport) -> Vec<PathBuf> {
    let base = file.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    for pattern in patterns {
        let path = base.join(pattern);
        let found: Result<Vec<PathBuf>, String> = glob::glob(&path.to_string_lossy())
            .map_err(|error| error.to_string())
            .and_then(|paths| paths.map(|path| path.map_err(|error| error.to_string())).collect());
        match found {
            Ok(found) if found.is_empty() => {
                report.notes.push(format!("rule_files: no file is named like {pattern}"));
            }
            Ok(found) => {
                files.extend(found.into_iter().filter(|found| !files.contains(found)).collect::<Vec<_>>())
            }
            Err(reason) => report.failures.push(Finding {
                file: file.to_owned(),
                line: 0,
                message: format!("rule_files: {pattern:?}: {reason}"),
            }),
        }
    }
    files
}

#[cfg(test)]
mod tests;
