//! The command line: the server, and what people ask of it over HTTP.

mod check;
mod client;
mod logs;
mod node;
mod plot;
mod query;
mod serve;
mod table;
mod test;
mod time;
mod token;
mod top;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::authority::Authority;
use crate::config::Config;

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
    /// Make, list and revoke tokens with which agents join.
    #[command(subcommand)]
    Token(token::Args),
    /// List nodes that have joined, and throw them out.
    #[command(subcommand)]
    Node(node::Args),
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
    /// Authority (PEM) that signed the server's certificate, beside those that the system trusts; the
    /// server's own is DATA_DIR/tls/authority.pem.
    #[arg(long, value_name = "FILE", env = "BINNACLE_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// File with the bearer token that the server wants.
    #[arg(long, value_name = "FILE", env = "BINNACLE_BEARER_TOKEN_FILE")]
    bearer_token_file: Option<PathBuf>,
}

/// Where the server's authority is: the commands about tokens and nodes work on its files.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DataDir {
    /// Config file of the server.
    #[arg(long, value_name = "FILE", env = "BINNACLE_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder of the server.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDir {
    /// Opens the authority that is there.
    fn authority(&self, now_ms: i64) -> anyhow::Result<Authority> {
        let data_dir = self.folder()?;
        if !Authority::is_in(&data_dir) {
            bail!(
                "the server of {} has no authority: no token was made, nobody has joined",
                data_dir.display()
            );
        }
        Ok(Authority::open(&data_dir, now_ms)?)
    }

    /// Opens the authority; makes it when the server has not been started yet.
    fn authority_or_new(&self, now_ms: i64) -> anyhow::Result<Authority> {
        Ok(Authority::open(&self.folder()?, now_ms)?)
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        let config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        if config.tls.ca_file.is_some() {
            bail!("the server's certificates come from elsewhere (tls.ca_file): it has no tokens");
        }
        let data_dir = self.data_dir.clone().unwrap_or(config.server.data_dir);
        if !data_dir.is_dir() {
            bail!(
                "there is no data folder {}: name the server's with --data-dir or --config",
                data_dir.display()
            );
        }
        Ok(data_dir)
    }
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
        Command::Token(args) => token::run(args, crate::Clock::System.now_ms()),
        Command::Node(args) => node::run(args, crate::Clock::System.now_ms()),
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
