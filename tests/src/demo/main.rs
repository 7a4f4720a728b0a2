//! `make demo`: the whole platform on one machine, watched through its public interfaces.

mod checks;
mod procs;
mod run;
mod screen;
mod stage;
mod workload;

use clap::{Parser, Subcommand};

/// Runs Binnacle on this machine with real workloads and says what was observed.
#[derive(Parser)]
#[command(name = "binnacle-demo", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a server and two agents, apply the manifests, watch, clean up.
    Run(run::Args),
    /// What the demo's containers run.
    #[command(subcommand)]
    Workload(workload::Workload),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    match Args::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Workload(workload) => workload.run().map(|()| std::process::ExitCode::SUCCESS),
    }
}
