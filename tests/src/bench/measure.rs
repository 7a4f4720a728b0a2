//! One contender's numbers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use binnacle_tests::usage::{Memory, content_bytes, cpu_seconds, disk_bytes};
use tokio::time::Instant;

use crate::contender::{Contender, Kind, Running};
use crate::data::{INTERVAL_MS, METRIC_NAMES, Shape};
use crate::{push, write};

/// Evaluation step of the range queries.
const STEP_SECONDS: i64 = 60;
/// How long until all samples can be queried.
const VISIBLE: Duration = Duration::from_secs(3);
/// How long a contender may look for series after a restart before they count as lost.
const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// The query mix: what it is called, the expression, whether it is a range query.
const QUERIES: [(&str, &str, bool); 4] = [
    ("rate by namespace", "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))", true),
    (
        "join by pod",
        "sum by (pod) (rate(container_cpu_usage_seconds_total[5m])) \
         / on (pod) sum by (pod) (container_memory_working_set_bytes)",
        true,
    ),
    ("max over time", "max by (node) (max_over_time(container_memory_working_set_bytes[10m]))", true),
    ("count by regex", r#"count({__name__=~"container_.+"})"#, false),
];

pub struct Row {
    pub kind: Kind,
    pub samples_per_cpu_second: f64,
    pub resident_mib: f64,
    /// Acknowledged, and not there after `SIGKILL`.
    pub lost: f64,
    /// What the files occupy, preallocation and all.
    pub bytes_per_sample: f64,
    /// The lengths of the files.
    pub content_per_sample: f64,
    /// Compressed, where the way of loading tells it.
    pub wire_bytes_per_sample: Option<f64>,
    pub restart: Duration,
    pub queries: Vec<Query>,
}

pub struct Query {
    pub name: &'static str,
    pub wall_ms: f64,
    pub cpu_ms: f64,
}

/// Takes all numbers of one contender. It may go on merging and flushing for `settle` before its disk use
/// counts.
pub async fn run(contender: Contender, shape: &Shape, repeat: usize, settle: Duration) -> Result<Row> {
    let mut server = contender.start().await?;
    let before = cpu_seconds(server.pid()?)?;
    let wire = match server.kind {
        Kind::BinnacleGrpc => Some(push::load(&server.grpc_url(), shape).await?),
        _ => {
            write::load(&server.url("/api/v1/write"), shape).await?;
            None
        }
    };
    let load_cpu = cpu_seconds(server.pid()?)? - before;
    // VictoriaMetrics shows new series to searches a little after it has taken them.
    tokio::time::sleep(VISIBLE).await;
    let resident_mib = Memory::of(server.pid()?)?.resident_mib();

    let mut queries = Vec::new();
    for (name, expr, range) in QUERIES {
        queries.push(query(&server, name, expr, range, shape, repeat).await?);
    }
    let restart = server.kill_and_restart().await?;
    tokio::time::sleep(VISIBLE).await;
    let left = samples(&server, shape).await?;
    server.stop_and_restart().await?;
    tokio::time::sleep(settle).await;
    let data = server.folder().join("data");
    let (stored, content) = (disk_bytes(&data)?, content_bytes(&data)?);
    let kind = server.kind;
    server.stop().await?;
    Ok(Row {
        kind,
        samples_per_cpu_second: shape.samples() as f64 / load_cpu,
        resident_mib,
        lost: shape.samples() as f64 - left,
        bytes_per_sample: stored as f64 / left,
        content_per_sample: content as f64 / left,
        wire_bytes_per_sample: wire.map(|bytes| bytes as f64 / shape.samples() as f64),
        restart,
        queries,
    })
}

async fn query(
    server: &Running,
    name: &'static str,
    expr: &str,
    range: bool,
    shape: &Shape,
    repeat: usize,
) -> Result<Query> {
    let http = binnacle_tests::client::http_client(Duration::from_secs(600), None)?;
    let end = shape.end_ms() / 1000;
    let start = shape.start_ms / 1000 + 600;
    let (path, parameters) = if range {
        let step = STEP_SECONDS.to_string();
        let bounds = [("start", start.to_string()), ("end", end.to_string()), ("step", step)];
        ("/api/v1/query_range", bounds.to_vec())
    } else {
        ("/api/v1/query", vec![("time", end.to_string())])
    };
    let mut walls = Vec::new();
    let cpu_before = cpu_seconds(server.pid()?)?;
    for _ in 0..repeat {
        let begun = Instant::now();
        let request = http.get(server.url(path)).query(&[("query", expr)]).query(&parameters);
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() || body.contains("\"result\":[]") {
            bail!("{}: {expr}: {status}: {body}", server.kind);
        }
        walls.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu_ms = (cpu_seconds(server.pid()?)? - cpu_before) * 1000.0 / repeat as f64;
    walls.sort_by(f64::total_cmp);
    Ok(Query { name, wall_ms: walls[walls.len() / 2], cpu_ms })
}

/// How many samples it has.
async fn samples(server: &Running, shape: &Shape) -> Result<f64> {
    let seconds = shape.steps as i64 * INTERVAL_MS / 1000 + 60;
    let mut found = 0.0;
    // Metric by metric: all at once would pass the peers' limits.
    for name in METRIC_NAMES {
        let expr = format!("sum(count_over_time({name}[{seconds}s]))");
        // A contender that has just started may need a while to find its series; what is not found after
        // that is lost.
        let deadline = Instant::now() + FOUND_WITHIN;
        found += loop {
            match count(server, &expr, shape.end_ms()).await? {
                Some(count) => break count,
                None if Instant::now() > deadline => break 0.0,
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
    }
    Ok(found)
}

/// Value of an expression that has one series, or none.
async fn count(server: &Running, expr: &str, time_ms: i64) -> Result<Option<f64>> {
    let http = binnacle_tests::client::http_client(Duration::from_secs(600), None)?;
    let parameters = [("query", expr.to_owned()), ("time", (time_ms / 1000).to_string())];
    let answer = http.get(server.url("/api/v1/query")).query(&parameters).send().await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
    let result = answer["data"]["result"].as_array();
    let result = result.with_context(|| format!("{}: {expr}: {answer}", server.kind))?;
    let Some(first) = result.first() else { return Ok(None) };
    let value = first["value"][1].as_str();
    Ok(Some(value.with_context(|| format!("{}: {expr}: {answer}", server.kind))?.parse()?))
}
