//! A Prometheus of our own: started, fed and asked.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::generate::Query;
use super::samples::{Dataset, END_MS, START_MS};
use crate::metrics_server::peer_program;
use crate::remote_write::{SeriesSamples, send};

/// Samples of this much time go into one request: the head refuses what is an hour behind.
const SLICE_MS: i64 = 600_000;

/// Looks for a Prometheus 3: `PROMETHEUS_BIN`, or what `tests/peers.sh` has fetched.
pub fn find() -> Option<PathBuf> {
    std::env::var_os("PROMETHEUS_BIN").map(PathBuf::from).or_else(|| peer_program("prometheus"))
}

/// A running Prometheus; it ends when this is dropped.
pub struct Peer {
    _child: Child,
    _folder: tempfile::TempDir,
    base: String,
    http: reqwest::Client,
}

impl Peer {
    /// Starts it on a free port of the loopback, with a folder that goes away with it.
    pub async fn start(binary: &std::path::Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("binnacle-differential-").tempdir()?;
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, "global: {}\n")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args([
                "--web.enable-remote-write-receiver",
                "--log.level=error",
                "--storage.tsdb.retention.time=100y",
            ])
            .arg("--enable-feature=promql-experimental-functions")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let http = crate::client::http_client(Duration::from_secs(60), None)?;
        let peer = Self { _child: child, _folder: folder, base: format!("http://127.0.0.1:{port}"), http };
        for _ in 0..300 {
            let ready = peer.http.get(format!("{}/-/ready", peer.base)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(peer);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{} does not become ready", binary.display())
    }

    /// Its version.
    pub async fn version(&self) -> Result<String> {
        let answer = self.http.get(format!("{}/api/v1/status/buildinfo", self.base)).send().await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(answer["data"]["version"].as_str().unwrap_or_default().to_owned())
    }

    /// Sends all samples by remote write.
    pub async fn load(&self, dataset: &Dataset) -> Result<()> {
        let mut from_ms = START_MS;
        while from_ms <= END_MS + SLICE_MS {
            let slice = |(labels, samples): &SeriesSamples| {
                let within = samples.iter().filter(|(t_ms, _)| (from_ms..from_ms + SLICE_MS).contains(t_ms));
                (labels.clone(), within.copied().collect::<Vec<_>>())
            };
            let series: Vec<SeriesSamples> =
                dataset.0.iter().map(slice).filter(|(_, samples)| !samples.is_empty()).collect();
            send(&self.http, &self.base, &series).await?;
            from_ms += SLICE_MS;
        }
        Ok(())
    }

    /// Its answer to a query, as it stands in JSON; errors are answers too.
    pub async fn ask(&self, query: &Query) -> Result<Value> {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let mut form = vec![("query", query.expr.clone())];
        let path = match query.range {
            None => {
                form.push(("time", seconds(query.start_ms)));
                "query"
            }
            Some((end_ms, step_ms)) => {
                form.push(("start", seconds(query.start_ms)));
                form.push(("end", seconds(end_ms)));
                form.push(("step", seconds(step_ms)));
                "query_range"
            }
        };
        let answer = self.http.post(format!("{}/api/v1/{path}", self.base)).form(&form).send().await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}
