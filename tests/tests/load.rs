//! A hundred dashboards ask while samples come in, and queries of death are cut: the server goes on.
//!
//! `BINNACLE_LOAD_SECONDS` is the length of each of the two halves of the load, 8 by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use binnacle_proto::Labels;
use binnacle_tests::client::http_client;
use binnacle_tests::metrics_server::now_ms;
use binnacle_tests::process::Server;
use binnacle_tests::remote_write::{SeriesSamples, send};
use binnacle_tests::usage::Memory;

const SERIES: usize = 2_000;
const SENDERS: usize = 2;
const DASHBOARDS: usize = 100;
/// A dashboard is drawn anew so often.
const REFRESH: Duration = Duration::from_secs(10);
/// Time between two samples of a series.
const STEP_MS: i64 = 15_000;

/// The panels of a dashboard.
const PANELS: [&str; 5] = [
    "sum by (job) (rate(load_requests_total[5m]))",
    "topk(5, rate(load_requests_total[5m]))",
    "avg by (instance) (load_requests_total{job=\"job3\"})",
    "max_over_time(load_requests_total{job=\"job7\"}[2m])",
    "sum(rate(load_requests_total{instance=~\"host1.*\"}[5m])) / count(load_requests_total)",
];

/// Limits that the test sets; memory must stay below all of them together.
const CONFIG: &str = "
[http]
query_concurrency = 8
query_queue_seconds = 8
query_max_bytes = 67108864
query_max_samples = 20000000
query_timeout_seconds = 8

[tsdb]
head_bytes = 67108864
block_cache_bytes = 33554432
write_buffer_bytes = 33554432
";
/// Queries, head, caches, bodies in flight (256 MiB by default), the log store, code and stacks.
const BUDGET_BYTES: u64 = (8 * 64 + 64 + 32 + 32 + 256 + 256) << 20;

#[expect(clippy::disallowed_methods, reason = "measures what the server needs")]
fn now() -> Instant {
    Instant::now()
}

struct Load {
    url: String,
    start_ms: i64,
    stop: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
    limited: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Sends one sample of each series of a share, as quickly as the server takes them.
async fn ingest(load: Arc<Load>, sender: usize) -> Result<()> {
    let http = http_client(Duration::from_secs(600), None)?;
    let share = SERIES / SENDERS;
    let labels: Vec<Labels> = (0..share)
        .map(|i| {
            let (job, host) = (format!("job{}", i % 20), format!("host{}-{sender}", i));
            Labels::from_pairs([("__name__", "load_requests_total"), ("job", &job), ("instance", &host)])
        })
        .collect::<Result<_, _>>()?;
    let mut step = 0;
    while load.goes_on() {
        let t_ms = load.start_ms + step * STEP_MS;
        ensure!(t_ms < now_ms(), "the samples have reached the present: a shorter run is needed");
        let batch: Vec<SeriesSamples> = labels
            .iter()
            .enumerate()
            .map(|(i, of)| (of.clone(), vec![(t_ms, (step * (i as i64 % 9)) as f64)]))
            .collect();
        send(&http, &load.url, &batch).await?;
        load.sent.fetch_add(share as u64, Ordering::Relaxed);
        step += 1;
    }
    Ok(())
}

/// Draws a dashboard again and again.
async fn watch(load: Arc<Load>, number: usize) -> Result<()> {
    let http = http_client(Duration::from_secs(600), None)?;
    tokio::time::sleep(REFRESH.mul_f64(number as f64 / DASHBOARDS as f64)).await;
    while load.goes_on() {
        let began = now();
        let panels = PANELS.iter().map(|panel| {
            let http = &http;
            let load = &load;
            async move {
                let form = [
                    ("query", (*panel).to_owned()),
                    ("start", (load.start_ms / 1000).to_string()),
                    ("end", (load.start_ms / 1000 + 3600).to_string()),
                    ("step", "15".to_owned()),
                ];
                let answer = http.post(format!("{}/api/v1/query_range", load.url)).form(&form).send().await?;
                let (status, text) = (answer.status(), answer.text().await?);
                if status.is_success() {
                    load.answered.fetch_add(1, Ordering::Relaxed);
                } else {
                    ensure!(text.contains("(limit http."), "{panel}: {status}: {text}");
                    load.limited.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        futures::future::try_join_all(panels).await?;
        let rest = REFRESH.saturating_sub(began.elapsed());
        // In short naps, so that the end of the test is not waited for.
        let until = now() + rest;
        while load.goes_on() && now() < until {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Median of five.
async fn usual_speed(http: &reqwest::Client, url: &str, at: i64) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = now();
        let form = [("query", "sum(rate(load_requests_total[5m]))".to_owned()), ("time", at.to_string())];
        let answer = http.post(format!("{url}/api/v1/query")).form(&form).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[2])
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_queries_of_death_leave_the_server_well() -> Result<()> {
    let seconds = std::env::var("BINNACLE_LOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("binnacle.toml");
    std::fs::write(&config, CONFIG)?;
    let server = Server::start(["--config".to_owned(), config.display().to_string()]).await?;
    let load = Arc::new(Load {
        url: server.http_url(),
        start_ms: now_ms() - 14 * 86_400_000,
        stop: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        limited: AtomicU64::new(0),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        tasks.spawn(ingest(load.clone(), sender));
    }
    let rate = async || {
        let (before, began) = (load.sent.load(Ordering::Relaxed), now());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (load.sent.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alone = rate().await;
    for number in 0..DASHBOARDS {
        tasks.spawn(watch(load.clone(), number));
    }
    let watched = rate().await;
    let pid = server.pid().context("it runs")?;
    let memory = Memory::of(pid)?.resident;
    load.stop.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let (answered, limited) = (load.answered.load(Ordering::Relaxed), load.limited.load(Ordering::Relaxed));
    println!(
        "ingest {alone:.0} samples/s alone, {watched:.0} with {DASHBOARDS} dashboards ({:.0}%); \
         {answered} panels drawn, {limited} refused by a limit; {} MiB resident of {} MiB",
        100.0 * watched / alone,
        memory >> 20,
        BUDGET_BYTES >> 20
    );
    ensure!(answered > 0 && watched > 0.0, "{answered} panels, {watched} samples/s");
    ensure!(memory < BUDGET_BYTES, "{memory} bytes resident");
    queries_of_death(&server, &load).await
}

async fn queries_of_death(server: &Server, load: &Load) -> Result<()> {
    let http = http_client(Duration::from_secs(40), None)?;
    let usual = usual_speed(&http, &load.url, load.start_ms / 1000 + 1200).await?;
    let join: Vec<String> = (0..10).map(|i| format!("(load_requests_total * {i})")).collect();
    let crossed = join.join(" * on (job) group_left () ");
    let (start, end) = (load.start_ms / 1000 - 86_400, load.start_ms / 1000 + 9 * 86_400);
    let mut cut = 0;
    for query in [
        "{__name__=~\".+\"}",
        "sum_over_time({__name__=~\".+\"}[9d])",
        &join.join(" + on (job, instance) "),
        &crossed,
        "max_over_time(rate(load_requests_total[5m])[9d:1s])",
        "max_over_time(sum_over_time(avg_over_time(load_requests_total[1h])[9d:1s])[9d:1s])",
        "quantile_over_time(0.5, load_requests_total[9d])",
        &format!("{{__name__=~\"l({})+.*\"}}", "a|b|c|.*|".repeat(50)),
        &format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        &"load_requests_total or ".repeat(5_000),
    ] {
        let began = now();
        let step = ((end - start) / 10_000).to_string();
        let form = [
            ("query", query.to_owned()),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", step),
        ];
        let answer = http.post(format!("{}/api/v1/query_range", load.url)).form(&form).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        let shown: String = query.chars().take(60).collect();
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(15), "{shown}: took {took:?}");
        let reason: String = text.chars().take(300).collect();
        match status.as_u16() {
            200 => {}
            422 | 503 => {
                // A join that does not fit is the query's own mistake; whatever else is a limit.
                let is_named = text.contains("(limit http.") || text.contains("many-to-many");
                ensure!(is_named, "{shown}: {status}: {reason}");
                cut += 1;
            }
            400 => {
                ensure!(
                    ["max_query", "regexp", "size limit"].iter().any(|part| text.contains(part)),
                    "{shown}: {reason}"
                );
                cut += 1;
            }
            _ => anyhow::bail!("{shown}: {status}: {reason}"),
        }
        println!("{took:>10.1?} {status} {shown} {}", if status == 200 { "" } else { &reason });
        let next = usual_speed(&http, &load.url, load.start_ms / 1000 + 1200).await?;
        ensure!(next < usual * 10 + Duration::from_millis(200), "after {shown}: {next:?}, usual {usual:?}");
    }
    ensure!(cut >= 4, "only {cut} of the queries of death were cut");
    let memory = Memory::of(server.pid().context("it runs")?)?.resident;
    println!("{} MiB resident afterwards", memory >> 20);
    ensure!(memory < BUDGET_BYTES, "{memory} bytes resident");
    Ok(())
}
