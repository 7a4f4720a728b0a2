//! Measures the log store through its HTTP router: ingest per CPU second, stored size, queries.
//!
//! `cargo run --release -p binnacle-logs --example bench [-- MEGABYTES [STREAMS]]`

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use binnacle_logs::{Config, Db, http};
use prost::Message;
use tower::ServiceExt;

const NOW: i64 = 1_700_000_000_000_000_000;

#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// User and system time of the process in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// Numbers that look random and are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn line(noise: &mut Noise, kind: u64) -> String {
    let (a, b) = (noise.next(), noise.next());
    let level = ["info", "info", "info", "warn", "error", "debug"][(a % 6) as usize];
    let path = ["/api/users", "/api/orders", "/healthz", "/static/app.js", "/api/cart"][(b % 5) as usize];
    let status = [200, 200, 200, 204, 404, 500][(a / 7 % 6) as usize];
    match kind {
        0 => format!(
            r#"{{"level":"{level}","method":"GET","path":"{path}/{}","status":{status},"duration_ms":{},"trace_id":"{a:016x}{b:016x}","msg":"request served"}}"#,
            b % 10_000,
            a % 900
        ),
        1 => format!(
            "level={level} component=scheduler msg=\"pod assigned to node\" pod=web-{:x} node=node-{} took={}ms attempts={}",
            a % 65536,
            b % 50,
            a % 300,
            b % 3
        ),
        _ => format!(
            "10.{}.{}.{} - - \"GET {path}?id={} HTTP/1.1\" {status} {} \"Mozilla/5.0 (X11; Linux x86_64)\"",
            a % 256,
            b % 256,
            a / 256 % 256,
            b % 100_000,
            a % 50_000
        ),
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let megabytes: usize = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(256);
    let streams: u64 = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(100);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let db = Db::open(Config { dir: dir.path().join("logs"), ..Config::default() }).expect("the store opens");
    let router = http::router(
        db.clone(),
        http::Limits::default(),
        Arc::new(|| NOW),
        tokio::runtime::Handle::current(),
    );
    let mut noise = Noise(42);
    let (mut sent, mut lines, mut used, mut wall, mut time) =
        (0usize, 0u64, 0.0, 0.0, NOW - 3_000_000_000_000);
    println!("{megabytes} MB in {streams} streams");
    while sent < megabytes * 1_000_000 {
        // Bodies are made outside of the measurement.
        let mut bodies = Vec::new();
        for _ in 0..16 {
            let mut push = Push::default();
            for _ in 0..20 {
                let id = noise.next() % streams;
                let mut entries = Vec::new();
                for _ in 0..200 {
                    time += 10_000;
                    let mut text = line(&mut noise, id % 3);
                    if lines == 1_000_000 {
                        text.push_str(" needle-in-the-haystack");
                    }
                    sent += text.len();
                    lines += 1;
                    let stamp = Time { seconds: time / 1_000_000_000, nanos: (time % 1_000_000_000) as i32 };
                    entries.push(Entry { timestamp: Some(stamp), line: text });
                }
                push.streams
                    .push(Stream { labels: format!(r#"{{app="app-{}",pod="pod-{id}"}}"#, id % 10), entries });
            }
            let body = snap::raw::Encoder::new().compress_vec(&push.encode_to_vec()).expect("snappy");
            bodies.push(body);
        }
        let (cpu_before, before) = (cpu(), Instant::now());
        let sends = bodies.into_iter().map(|body| {
            let request = Request::post("/loki/api/v1/push").header("content-type", "application/x-protobuf");
            let request = request.body(Body::from(body)).expect("a request");
            let router = router.clone();
            tokio::spawn(async move { router.oneshot(request).await.expect("infallible").status() })
        });
        for send in sends.collect::<Vec<_>>() {
            assert_eq!(send.await.expect("a push"), 204);
        }
        used += cpu() - cpu_before;
        wall += before.elapsed().as_secs_f64();
    }
    let (cpu_before, before) = (cpu(), Instant::now());
    db.seal_all().expect("all sealed");
    db.maintain(NOW / 1_000_000).expect("maintained");
    used += cpu() - cpu_before;
    wall += before.elapsed().as_secs_f64();
    let mb = sent as f64 / 1e6;
    println!("ingest: {lines} lines, {:.1} MB/s per CPU second, {:.1} MB/s wall", mb / used, mb / wall);
    db.close().expect("flushed");
    let stats = db.stats();
    println!(
        "stored: {:.1} MB in {} blocks = {:.1}% of the lines (with filters); peak memory {} MiB",
        stats.disk_bytes as f64 / 1e6,
        stats.sealed_blocks,
        stats.disk_bytes as f64 / sent as f64 * 100.0,
        resident_mib()
    );
    for (name, endpoint, query) in [
        ("needle", "query_range", r#"{app=~".+"} |= "needle-in-the-haystack""#),
        ("word that is nowhere", "query_range", r#"{app=~".+"} |= "xylophone""#),
        (
            "count by level",
            "query",
            r#"sum by (level) (count_over_time({app=~".+"} | json | __error__="" [1h]))"#,
        ),
        ("count", "query", r#"sum by (app) (count_over_time({app=~".+"}[1h]))"#),
        ("regex", "query", r#"sum(count_over_time({app=~".+"} |~ "status=5..|\" 500 " [1h]))"#),
        ("last lines", "query_range", r#"{app=~".+"}"#),
    ] {
        let text: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let path = format!("/loki/api/v1/{endpoint}?query={text}&limit=100");
        let (cpu_before, before) = (cpu(), Instant::now());
        let response =
            router.clone().oneshot(Request::get(path).body(Body::empty()).expect("a request")).await;
        let response = response.expect("infallible");
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let (took, cpu_used) = (before.elapsed().as_secs_f64() * 1e3, cpu() - cpu_before);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let summary = &body["data"]["stats"]["summary"];
        println!(
            "{name}: {status}, {took:.1} ms wall, {cpu_used:.2} s CPU, {} entries, {} lines seen, blocks {}",
            summary["totalEntriesReturned"],
            summary["totalLinesProcessed"],
            body["data"]["stats"]["binnacle"]
        );
    }
}
