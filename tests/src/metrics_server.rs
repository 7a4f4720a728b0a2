//! The Prometheus API in the test's own process, on a free port, and other people's programs beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use binnacle_tsdb::http::{Api, ApiConfig, Clock, ServerInfo, router};
use binnacle_tsdb::rules::{Handle, Manager, RulesConfig};
use binnacle_tsdb::{Config, Db, Engine, EngineConfig, GuardLimits};
use serde_json::Value;

pub use crate::process::until;

/// A database behind its HTTP API.
pub struct MetricsServer {
    /// The database.
    pub db: Db,
    /// The API.
    pub api: Api,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    http: reqwest::Client,
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

/// The machine's clock in milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "programs of others go by the machine's clock")]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn clock() -> Clock {
    Arc::new(now_ms)
}

impl MetricsServer {
    /// Starts one with an empty database.
    ///
    /// # Errors
    /// When the database cannot be opened or no port is free.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("binnacle-test-").tempdir()?;
        let db = Db::open(Config { dir: folder.path().join("tsdb"), ..Config::default() })?;
        let config = ApiConfig { enable_admin_api: true, ..ApiConfig::default() };
        let info = ServerInfo { start_ms: now_ms(), ..ServerInfo::default() };
        let api = Api::new(db.clone(), Engine::new(EngineConfig::default()), config, info, clock());
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = router(api.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self {
            db,
            api,
            url,
            http: crate::client::http_client(Duration::from_secs(60), None)?,
            folder,
            task,
        })
    }

    /// A folder for the files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs rules over the database and shows them in the API.
    ///
    /// # Errors
    /// What is wrong with the rule files.
    pub fn run_rules(&self, config: RulesConfig) -> Result<Handle> {
        let engine = Engine::new(EngineConfig::default());
        let manager = Manager::new(self.db.clone(), engine, GuardLimits::default(), config, clock());
        let handle = manager.run(std::future::pending()).map_err(|findings| {
            anyhow::anyhow!(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        self.api.set_rules(handle.clone());
        Ok(handle)
    }

    /// The JSON answer to a request of path and query.
    ///
    /// # Errors
    /// When there is no JSON answer.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url)).query(parameters);
        Ok(request.send().await?.json().await?)
    }

    /// As [`Self::get`], posted as a form.
    ///
    /// # Errors
    /// When there is no JSON answer.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Value> {
        Ok(self.http.post(format!("{}{path}", self.url)).form(form).send().await?.json().await?)
    }

    /// A count of `binnacle_notifications_…_total`, of a receiver by its number.
    pub fn notifications(&self, what: &str, receiver: usize) -> Option<u64> {
        let metrics = self.api.metrics_text();
        let begin = format!("binnacle_notifications_{what}_total{{receiver=\"{receiver}\"");
        let line = metrics.lines().find(|line| line.starts_with(&begin))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The value of the only element of an instant vector, when there is one.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn number(&self, expr: &str) -> Result<Option<f64>> {
        let answer = self.get("/api/v1/query", &[("query", expr)]).await?;
        let text = answer["data"]["result"][0]["value"][1].as_str();
        Ok(text.and_then(|text| text.parse().ok()))
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A program of somebody else's; killed when dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it with its output in a file of `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(path: &Path, args: &[String], folder: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        let mut command = Command::new(path);
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {}", path.display()))?;
        Ok(Self { child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of a program, or `None` after saying visibly what is skipped.
pub fn program_or_skip(name: &str, package: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: needs {name} (Debian package {package})\n"),
        );
    }
    found
}

/// The path of a program that `tests/peers.sh` has fetched.
pub fn peer_program(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folder = std::env::var_os("BINNACLE_PEERS").map_or(home.join(".cache/binnacle-peers"), PathBuf::from);
    Some(folder.join("usr/bin").join(name)).filter(|program| program.is_file())
}

/// As [`peer_program`], or `None` after saying visibly what is skipped.
pub fn peer_or_skip(name: &str) -> Option<PathBuf> {
    let found = peer_program(name);
    if found.is_none() {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: needs a current {name} (fetched by tests/peers.sh)\n"),
        );
    }
    found
}

/// A port that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
