//! `binnacle test`: runs unit tests of rule files, in the format of promtool.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use super::Files;

/// Kinds of tests.
#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Run test files as promtool takes them: rule_files, input_series, alert_rule_test, promql_expr_test.
    Rules(Rules),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rules {
    #[command(flatten)]
    files: Files,
    /// Run only tests whose name matches this regular expression; may be given several times.
    #[arg(long, value_name = "REGEX")]
    run: Vec<String>,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args::Rules(Rules { files, run }) = args;
    let only = if run.is_empty() {
        None
    } else {
        let pattern = run.iter().map(|one| format!("(?:{one})")).collect::<Vec<_>>().join("|");
        Some(regex::Regex::new(&pattern).context("--run")?)
    };
    let mut has_failed = false;
    for file in files.files {
        let report = binnacle_tsdb::rules::unit_test(&file, only.as_ref());
        for note in &report.notes {
            eprintln!("{}: note: {note}", file.display());
        }
        for failure in &report.failures {
            eprintln!("{failure}");
        }
        has_failed |= !report.failures.is_empty();
        let verdict = if report.failures.is_empty() { "ok" } else { "FAILED" };
        let left_out = match report.left_out {
            0 => String::new(),
            count => format!(", {count} left out"),
        };
        let (tests, failures) = (report.tests, report.failures.len());
        println!("{}: {verdict}: {tests} tests run, {failures} failures{left_out}", file.display());
    }
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
