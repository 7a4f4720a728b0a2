//! The binary `binnacle`: parses the command line, sets up logging, runs.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = binnacle::cli::Args::parse();
    let filter = EnvFilter::try_from_env("BINNACLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    if args.log_json() {
        log.json().init();
    } else {
        log.with_target(false).init();
    }
    match binnacle::cli::run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("binnacle: {error:#}");
            ExitCode::FAILURE
        }
    }
}
