//! The course of the demo: start, watch, say what was seen, clear.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::checks::Checks;
use crate::screen;
use crate::stage::{self, NODES, Stage};
use binnacle_tests::client::Client;

#[derive(clap::Args)]
pub struct Args {
    /// End after so many seconds with a verdict; 0: run until Ctrl-C.
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Folder with the manifests and `binnacle.toml`.
    #[arg(long, default_value = "deploy/demo")]
    manifests: PathBuf,
    /// Address of the server's HTTP interface.
    #[arg(long, default_value = "127.0.0.1:9090")]
    http: String,
    /// Address of the server's gRPC interface.
    #[arg(long, default_value = "127.0.0.1:9091")]
    grpc: String,
    /// Leave the data and the logs in /tmp/binnacle-demo.
    #[arg(long)]
    keep_files: bool,
}

/// How often the screen gets a line.
const SCREEN_EVERY: Duration = Duration::from_secs(4);
/// How often the world is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the server may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

pub async fn run(args: Args) -> Result<ExitCode> {
    let mut stage = Stage::prepare(&args.http, &args.grpc)?;
    let seen = play(&args, &mut stage).await;
    stage.clear(args.keep_files || seen.is_err()).await?;
    if seen.is_err() {
        eprintln!("the logs are in {}", stage::log_path("server").display());
    }
    let complete = seen?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether everything was observed; always true without a time limit.
async fn play(args: &Args, stage: &mut Stage) -> Result<bool> {
    let client = Client::new(&format!("http://{}", args.http))?;
    stage.start_server(&args.manifests)?;
    wait_ready(&client, stage).await?;
    for node in NODES {
        stage.start_agent(node)?;
    }
    screen::welcome(&args.http);

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let end = (args.seconds > 0).then(|| Duration::from_secs(args.seconds));
    let begun = Instant::now();
    let mut checks = Checks::new();
    let mut shown: Option<Instant> = None;
    loop {
        if end.is_some_and(|end| begun.elapsed() >= end) {
            let verdicts = checks.verdicts(&client).await;
            return Ok(screen::summary(&verdicts));
        }
        stage.check_alive()?;
        checks.observe(&client).await?;
        if shown.is_none_or(|at| at.elapsed() >= SCREEN_EVERY) {
            screen::line(begun.elapsed(), &client).await?;
            shown = Some(Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    println!("\nending …");
    if end.is_some() {
        bail!("interrupted before the {} s were over: no verdict", args.seconds);
    }
    Ok(true)
}

async fn wait_ready(client: &Client, stage: &mut Stage) -> Result<()> {
    let begun = Instant::now();
    while !client.ready().await {
        stage.check_alive()?;
        if begun.elapsed() > READY_WITHIN {
            bail!("the server was not ready within {READY_WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.check_alive().context("right after it became ready")
}
