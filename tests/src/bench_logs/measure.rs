//! The server's numbers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use binnacle_tests::client::http_client;
use binnacle_tests::process::Server;
use binnacle_tests::usage::{Memory, cpu_seconds, disk_bytes};
use tokio::time::Instant;

use crate::data::{NEEDLE, NOWHERE, Shape};
use crate::load::{self, Sent};

/// What is open is sealed at this age in the second run, in seconds.
const SEAL_SECONDS: u64 = 1;
/// How long that may take.
const SEALED_WITHIN: Duration = Duration::from_secs(600);

/// The server's numbers.
pub struct Numbers {
    pub sent: Sent,
    pub ingest_wall_seconds: f64,
    pub ingest_cpu_seconds: f64,
    /// Of sealing what was still open at the end: after a restart, its replay included.
    pub seal_cpu_seconds: f64,
    pub peak_mib: f64,
    pub resident_after_queries_mib: f64,
    /// All that the store has on disk when everything is sealed and the server has stopped.
    pub stored_bytes: u64,
    /// Blocks and filters alone, without what RocksDB keeps beside them.
    pub block_bytes: f64,
    pub queries: Vec<Query>,
}

/// One query: medians of its repetitions.
pub struct Query {
    pub name: &'static str,
    pub wall_ms: f64,
    pub cpu_ms: f64,
    /// Sealed blocks opened, and ruled out by their filters.
    pub blocks: (u64, u64),
}

/// What is asked: its name, the expression, whether for lines, whether an empty answer is right.
fn queries() -> Vec<(&'static str, String, bool, bool)> {
    let counted = |filter: &str| format!(r#"count_over_time({{namespace=~".+"}} {filter} [SPAN])"#);
    vec![
        ("one needle", format!(r#"{{namespace=~".+"}} |= "{NEEDLE}""#), true, false),
        ("a word that is nowhere", format!(r#"{{namespace=~".+"}} |= "{NOWHERE}""#), true, true),
        ("levels of JSON", format!("sum by (level) ({})", counted(r#"| json | __error__="""#)), false, false),
        ("count by app", format!("sum by (app) ({})", counted("")), false, false),
        ("regex", format!("sum({})", counted(r#"|~ "status[=\":]+5..""#)), false, false),
        ("the last 1,000 lines", r#"{namespace=~".+"}"#.to_owned(), true, false),
    ]
}

pub async fn run(shape: &Shape, now_ns: i64, repeat: usize) -> Result<Numbers> {
    let folder = tempfile::Builder::new().prefix("binnacle-bench-").tempdir()?;
    let config = folder.path().join("binnacle.toml");
    std::fs::write(&config, "")?;
    let mut server = Server::start(["--config".to_owned(), config.display().to_string()]).await?;
    let pid = server.pid().context("no server")?;
    let (begun, before) = (Instant::now(), cpu_seconds(pid)?);
    let sent = load::load(&server.http_url(), shape).await?;
    let ingest_wall_seconds = begun.elapsed().as_secs_f64();
    let ingest_cpu_seconds = cpu_seconds(pid)? - before;
    let peak_mib = Memory::of(pid)?.peak_mib();

    // What the load has left to do is its cost, too; and blocks are what queries of old lines look at.
    std::fs::write(&config, format!("[logs]\nmax_open_seconds = {SEAL_SECONDS}\n"))?;
    server.stop().await?;
    server.start_again().await?;
    let begun = Instant::now();
    while metric(&server, "binnacle_logs_open_bytes").await? > 0.0 {
        if begun.elapsed() > SEALED_WITHIN {
            bail!("not all is sealed within {SEALED_WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let seal_cpu_seconds = cpu_seconds(server.pid().context("no server")?)?;
    let mut answered = Vec::new();
    for (name, text, is_lines, may_be_empty) in queries() {
        let text = text.replace("SPAN", &format!("{}s", (now_ns - shape.start_ns) / 1_000_000_000 + 60));
        let asked = Asked { name, text, is_lines, may_be_empty };
        answered.push(query(&server, &asked, shape, now_ns, repeat).await?);
    }
    let resident_after_queries_mib = Memory::of(server.pid().context("no server")?)?.resident_mib();
    let block_bytes = metric(&server, "binnacle_logs_disk_bytes").await?;
    server.stop().await?;
    let stored_bytes = disk_bytes(&server.data_dir().join("logs"))?;
    Ok(Numbers {
        sent,
        ingest_wall_seconds,
        ingest_cpu_seconds,
        seal_cpu_seconds,
        peak_mib,
        resident_after_queries_mib,
        stored_bytes,
        block_bytes,
        queries: answered,
    })
}

/// A metric without labels.
pub async fn metric(server: &Server, name: &str) -> Result<f64> {
    let http = http_client(Duration::from_secs(60), None)?;
    let text = http.get(format!("{}/metrics", server.http_url())).send().await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

struct Asked {
    name: &'static str,
    text: String,
    is_lines: bool,
    may_be_empty: bool,
}

async fn query(server: &Server, asked: &Asked, shape: &Shape, now_ns: i64, repeat: usize) -> Result<Query> {
    let http = http_client(Duration::from_secs(600), None)?;
    let pid = server.pid().context("no server")?;
    let mut parameters = vec![("query", asked.text.clone())];
    let path = if asked.is_lines {
        parameters.extend([("start", shape.start_ns.to_string()), ("end", now_ns.to_string())]);
        parameters.push(("limit", "1000".to_owned()));
        "/loki/api/v1/query_range"
    } else {
        parameters.push(("time", now_ns.to_string()));
        "/loki/api/v1/query"
    };
    let (mut walls, mut blocks) = (Vec::new(), (0, 0));
    let cpu_before = cpu_seconds(pid)?;
    for _ in 0..repeat.max(1) {
        let begun = Instant::now();
        let answer = http.get(format!("{}{path}", server.http_url())).query(&parameters).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        walls.push(begun.elapsed().as_secs_f64() * 1000.0);
        if !status.is_success() || body.contains("\"result\":[]") != asked.may_be_empty {
            bail!("{}: {}: {status}: {}", asked.name, asked.text, body.get(..500).unwrap_or(&body));
        }
        let body: serde_json::Value = serde_json::from_str(&body)?;
        let own = &body["data"]["stats"]["binnacle"];
        let count = |name: &str| own[name].as_u64().unwrap_or_default();
        blocks = (count("blocksOpened"), count("blocksRuledOut"));
    }
    let cpu_ms = (cpu_seconds(pid)? - cpu_before) * 1000.0 / walls.len() as f64;
    walls.sort_by(f64::total_cmp);
    Ok(Query { name: asked.name, wall_ms: walls[walls.len() / 2], cpu_ms, blocks })
}
