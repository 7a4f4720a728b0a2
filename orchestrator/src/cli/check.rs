//! `binnacle check`: says what is wrong with files, with file, line and field.

use std::process::ExitCode;

use clap::Subcommand;

use super::Files;
use crate::config::Config;

/// Kinds of files.
#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Check config files of the server.
    Config(Files),
    /// Check Prometheus rule files.
    Rules(Files),
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut wrong = 0;
    match args {
        Args::Rules(Files { files }) => {
            let (rules, findings) = binnacle_tsdb::rules::check(&files);
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
