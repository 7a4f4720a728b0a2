//! The databases that take part, each started alone in a folder of its own.

use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Binnacle,
    /// The same server, loaded as agents load it.
    BinnacleGrpc,
    VictoriaMetrics,
    Prometheus,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binnacle => "binnacle",
            Self::BinnacleGrpc => "binnacle-grpc",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Prometheus => "prometheus",
        })
    }
}

/// A binary that was found.
pub struct Contender {
    pub kind: Kind,
    binary: PathBuf,
}

/// A contender that runs.
pub struct Running {
    pub kind: Kind,
    binary: PathBuf,
    child: Child,
    folder: tempfile::TempDir,
    http: String,
    grpc: String,
}

/// How long a start may take, replay included.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// How long an orderly stop may take.
const STOPPED_WITHIN: Duration = Duration::from_secs(120);

impl Contender {
    /// Looks beside this program for Binnacle, in `peers` for the others.
    pub fn find(kind: Kind, peers: Option<&Path>) -> Result<Option<Self>> {
        let beside = std::env::current_exe()?.parent().context("no folder")?.to_owned();
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let peers = peers.map_or_else(|| home.join(".cache/binnacle-peers"), Path::to_owned);
        let binary = match kind {
            Kind::Binnacle | Kind::BinnacleGrpc => beside.join("binnacle"),
            peer => peers.join("usr/bin").join(peer.to_string()),
        };
        Ok(binary.exists().then_some(Self { kind, binary }))
    }

    pub async fn start(self) -> Result<Running> {
        let folder = tempfile::Builder::new().prefix("binnacle-bench-").tempdir()?;
        let http = format!("127.0.0.1:{}", free_port()?);
        let grpc = format!("127.0.0.1:{}", free_port()?);
        let child = spawn(self.kind, &self.binary, folder.path(), &http, &grpc)?;
        let mut running = Running { kind: self.kind, binary: self.binary, child, folder, http, grpc };
        running.wait_ready().await?;
        Ok(running)
    }
}

impl Running {
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the contender has ended")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// `SIGKILL`, start again; how long until it answers that it is ready.
    pub async fn kill_and_restart(&mut self) -> Result<Duration> {
        self.child.kill().await?;
        self.restart().await
    }

    /// `SIGTERM`, so that it writes what it has in memory, and start again.
    pub async fn stop_and_restart(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).context("no process")?,
            rustix::process::Signal::TERM,
        )?;
        tokio::time::timeout(STOPPED_WITHIN, self.child.wait()).await.context("it does not stop")??;
        self.restart().await?;
        Ok(())
    }

    async fn restart(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.child = spawn(self.kind, &self.binary, self.folder.path(), &self.http, &self.grpc)?;
        self.wait_ready().await?;
        Ok(begun.elapsed())
    }

    pub async fn stop(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let path = if self.kind == Kind::VictoriaMetrics { "/health" } else { "/-/ready" };
        let http = binnacle_tests::client::http_client(Duration::from_secs(600), None)?;
        let begun = Instant::now();
        loop {
            let answer = http.get(self.url(path)).timeout(Duration::from_secs(5)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("{} ended at its start: {status}\n{log}", self.kind);
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("{} was not ready within {READY_WITHIN:?}", self.kind);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn spawn(kind: Kind, binary: &Path, folder: &Path, http: &str, grpc: &str) -> Result<Child> {
    let data = folder.join("data");
    let data = data.display();
    let mut command = Command::new(binary);
    match kind {
        Kind::Binnacle | Kind::BinnacleGrpc => {
            command.args(["server", "--data-dir", &data.to_string(), "--http", http, "--grpc", grpc]);
        }
        Kind::VictoriaMetrics => {
            command.args([format!("-storageDataPath={data}"), format!("-httpListenAddr={http}")]);
            command.args(["-retentionPeriod=1y", "-search.disableCache"]);
        }
        Kind::Prometheus => {
            let config = folder.join("prometheus.yml");
            std::fs::write(&config, "global: {}\n")?;
            command.arg(format!("--config.file={}", config.display()));
            command.args([format!("--storage.tsdb.path={data}"), format!("--web.listen-address={http}")]);
            command.arg("--web.enable-remote-write-receiver");
        }
    }
    let log = std::fs::File::create(folder.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().with_context(|| format!("cannot start {}", binary.display()))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
