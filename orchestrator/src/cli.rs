//! The command line: the server, and what people ask of it over HTTP.

mod check;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Observability-first container platform: metrics, logs and the decisions made because of them.
#[derive(Debug, Parser)]
#[command(name = "binnacle", version, about, max_term_width = 110)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: databases, HTTP APIs, gRPC for agents, controllers.
    Server(serve::Args),
    /// Check files before the server reads them.
    #[command(subcommand)]
    Check(check::Args),
}

impl Args {
    /// Whether logs are wanted as JSON.
    pub fn log_json(&self) -> bool {
        matches!(&self.command, Command::Server(args) if args.log_json)
    }
}

/// Runs a command.
///
/// # Errors
/// Whatever kept it from its end, in words for the user.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Server(args) => serve::run(args),
        Command::Check(args) => check::run(args),
    }
}

/// Paths of a `check`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Files {
    /// Files to check.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}
