//! `binnacle check`: says what is wrong with files, with file, line and field.

use std::process::ExitCode;

use clap::Subcommand;

use super::Files;
use crate::config::Config;
use crate::server::CheckOnly;

/// Kinds of files.
#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Check config files of the server.
    Config(Files),
    /// Check Prometheus rule files, or with --logql those of logs (rules.log_files).
    Rules(RuleFiles),
}

/// Rule files and what their expressions are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RuleFiles {
    /// The expressions are LogQL, not PromQL.
    #[arg(long)]
    logql: bool,
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut wrong = 0;
    match args {
        Args::Rules(RuleFiles { logql, files: Files { files } }) => {
            let logs: Option<&dyn binnacle_tsdb::rules::LogQueries> = logql.then_some(&CheckOnly);
            let (rules, findings) = binnacle_tsdb::rules::check(&files, logs);
            for finding in &findings {
                eprintln!("{finding}");
            }
            wrong += findings.len();
            println!("{} files, {rules} rules in order, {} findings", files.len(), findings.len());
        }
        Args::Config(Files { files }) => {
            for file in files {
                match Config::load(&file) {
                    Ok(_) => println!("{}: ok", file.display()),
                    Err(error) => {
                        wrong += 1;
                        eprintln!("{error}");
                    }
                }
            }
        }
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
