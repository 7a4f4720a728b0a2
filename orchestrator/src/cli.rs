//! The command line: the server, and what people ask of it over HTTP.

mod check;
mod client;
mod logs;
mod plot;
mod query;
mod serve;
mod table;
mod test;
mod time;
mod top;
mod why;

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
    /// Evaluate PromQL on the server.
    Query(query::Args),
    /// Show log lines.
    Logs(logs::Args),
    /// Show what nodes or pods use now.
    Top(top::Args),
    /// Say why the server decided as it did.
    Why(why::Args),
    /// Check files before the server reads them.
    #[command(subcommand)]
    Check(check::Args),
    /// Run unit tests of rule files.
    #[command(subcommand)]
    Test(test::Args),
}

/// Where the server is; part of every command that asks it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerUrl {
    /// URL of the server.
    #[arg(long, value_name = "URL", env = "BINNACLE_SERVER", default_value = "http://127.0.0.1:9090")]
    server: String,
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
        Command::Test(args) => test::run(args),
        Command::Query(args) => ask(|now_ms| query::run(args, now_ms)),
        Command::Logs(args) => ask(|now_ms| logs::run(args, now_ms)),
        Command::Top(args) => ask(|now_ms| top::run(args, now_ms)),
        Command::Why(args) => ask(|now_ms| why::run(args, now_ms)),
    }
}

/// Runs a command that asks a server.
fn ask<F>(command: impl FnOnce(i64) -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command(crate::Clock::System.now_ms()))
}

/// Paths of a `check`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Files {
    /// Files to check.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}
