//! `binnacle server`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DEFAULT_FILE};

/// Flags override what the config file says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Config file (TOML). Without it everything has its default.
    #[arg(long, value_name = "FILE", env = "BINNACLE_CONFIG")]
    config: Option<PathBuf>,
    /// Folder in which everything is kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the HTTP APIs and the built-in page.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Address for agents.
    #[arg(long, value_name = "ADDRESS")]
    grpc: Option<SocketAddr>,
    /// Folder of Kubernetes manifests to run (Deployments, HorizontalPodAutoscalers).
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Prometheus rule file; may be given several times, and hold `*` in its last part.
    #[arg(long, value_name = "FILE")]
    rules: Vec<String>,
    /// Rule file whose expressions are LogQL; as --rules.
    #[arg(long, value_name = "FILE")]
    log_rules: Vec<String>,
    /// Let other machines connect without TLS, and to HTTP without authentication.
    #[arg(long)]
    insecure: bool,
    /// Allow `POST /-/quit`.
    #[arg(long)]
    enable_quit: bool,
    /// Allow the endpoints that delete and copy data.
    #[arg(long)]
    enable_admin_api: bool,
    /// Write the log as JSON. (BINNACLE_LOG sets levels: `info`, `debug`, `binnacle=debug,warn`.)
    #[arg(long)]
    pub(super) log_json: bool,
    /// Print an annotated config file with all defaults, and end.
    #[arg(long)]
    print_default_config: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.print_default_config {
        print!("{DEFAULT_FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.into_config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("runtime")?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        // Opening the stores may take long: who stops the server then is not made to wait for its end.
        let early = |signal| {
            tracing::info!("{signal}: stopped before everything was open");
            Ok(())
        };
        let handle = tokio::select! {
            handle = crate::server::run(config, shutdown.clone()) => handle?,
            _ = terminate.recv() => return early("SIGTERM"),
            _ = interrupt.recv() => return early("SIGINT"),
        };
        let stop = shutdown.clone();
        let signals = tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
                () = stop.cancelled() => {}
            }
            stop.cancel();
        });
        let result = handle.wait().await;
        signals.abort();
        result?;
        tracing::info!("stopped");
        Ok::<_, anyhow::Error>(())
    })?;
    // Tasks that did not end in time must not keep the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn into_config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        let server = &mut config.server;
        server.data_dir = self.data_dir.unwrap_or(server.data_dir.clone());
        server.http = self.http.unwrap_or(server.http);
        server.grpc = self.grpc.unwrap_or(server.grpc);
        server.insecure |= self.insecure;
        server.enable_quit |= self.enable_quit;
        config.http.enable_admin_api |= self.enable_admin_api;
        config.cluster.manifests = self.manifests.or(config.cluster.manifests);
        config.rules.files.extend(self.rules);
        config.rules.log_files.extend(self.log_rules);
        Ok(config)
    }
}
