//! Appending and reading through the public interface, with cAdvisor-shaped series: numbers to look at
//! before and after a change. Never a timed test.
//!
//! `cargo bench -p binnacle-tsdb -- [SERIES [ROUNDS]]`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark")]

use std::time::{Duration, Instant};

use binnacle_proto::Labels;
use binnacle_tsdb::{
    Config, Db, Engine, Guard, GuardLimits, Hints, MatchTest, Matcher, Points, QueryOptions, Sample, Select,
    SeriesRef, Source, Value,
};

/// Series of a container.
const METRICS: usize = 20;
/// Samples of a request.
const REQUEST: usize = 10_000;
const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000;
/// Range queries over the last hour, a step of a minute.
const QUERIES: [&str; 3] = [
    "sum by (namespace) (rate(container_metric_00_total[5m]))",
    "sum by (pod) (rate(container_metric_00_total[5m])) / on (pod) sum by (pod) (container_metric_04_total)",
    "max by (node) (max_over_time(container_metric_04_total[10m]))",
];
/// How often a query is asked.
const REPEAT: usize = 200;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let (series, rounds) = (numbers.next().unwrap_or(100_000), numbers.next().unwrap_or(240));
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dir: dir.path().to_owned(), retention: Duration::ZERO, ..Config::default() };
    let db = Db::open(config.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    println!("{series} series, {rounds} rounds; resident {} MiB at start", resident_mib());

    let refs = timed("resolve new", series, || {
        (0..series).map(|i| db.resolve_cached(&block(i), || Ok(labels(i))).unwrap()).collect::<Vec<_>>()
    });
    let blocks: Vec<Vec<u8>> = (0..1000).map(block).collect();
    timed("resolve again by block", 1000 * 1000, || {
        for block in std::iter::repeat_n(&blocks, 1000).flatten() {
            db.resolve_cached(block, || unreachable!("known")).unwrap();
        }
    });
    println!("  resident {} MiB", resident_mib());
    timed("append", series * rounds, || {
        for round in 0..rounds {
            append(&runtime, &db, &refs, round);
            if round % 20 == 19 {
                db.maintain(START_MS + round as i64 * STEP_MS).unwrap();
            }
        }
    });
    let stats = db.stats();
    println!(
        "  resident {} MiB, head {} bytes for {} samples, wal {} bytes in {} records, {} syncs, {} flushes, {:.2} bytes a sample in chunks of {:.0}",
        resident_mib(),
        stats.head_chunk_bytes,
        stats.head_samples,
        stats.wal_bytes,
        stats.wal_records,
        stats.wal_syncs,
        stats.flushes,
        stats.chunk_bytes_written as f64 / stats.chunk_samples_written.max(1) as f64,
        stats.chunk_samples_written as f64 / stats.chunks_written.max(1) as f64,
    );
    let end_ms = START_MS + rounds as i64 * STEP_MS;
    for _ in 0..2 {
        read(&db, "one metric, all time", &equal("container_metric_00_total"), START_MS, end_ms);
        read(&db, "one metric, 5 min", &equal("container_metric_00_total"), end_ms - 300_000, end_ms);
        read(&db, "container_.+, 5 min", &regex("container_.+"), end_ms - 300_000, end_ms);
    }
    for query in QUERIES {
        ask(&db, query, end_ms);
    }
    drop(db);
    let db = timed("open after a crash", 1, || Db::open(config.clone()).unwrap());
    println!("  resident {} MiB", resident_mib());
    timed("close", 1, || db.close().unwrap());
    let stats = db.stats();
    println!(
        "  {:.2} bytes a sample in chunks of {:.0}",
        stats.chunk_bytes_written as f64 / stats.chunk_samples_written.max(1) as f64,
        stats.chunk_samples_written as f64 / stats.chunks_written.max(1) as f64,
    );
    drop(db);
    println!(
        "  {:.2} bytes a sample on disk, all files",
        disk_bytes(dir.path()) as f64 / (series * rounds) as f64
    );
    let db = timed("open after a close", 1, || Db::open(config).unwrap());
    timed("resolve after a restart", series / 10, || {
        (0..series).step_by(10).for_each(|i| _ = db.resolve(&labels(i)).unwrap());
    });
    read(&db, "one metric, all time", &equal("container_metric_00_total"), START_MS, end_ms);
    read(&db, "one metric, 5 min", &equal("container_metric_00_total"), end_ms - 300_000, end_ms);
    read(&db, "container_.+, 5 min", &regex("container_.+"), end_ms - 300_000, end_ms);
}

fn ask(db: &Db, query: &str, end_ms: i64) {
    let engine = Engine::default();
    timed(query, REPEAT, || {
        for _ in 0..REPEAT {
            let limits = GuardLimits { max_samples: u64::MAX, ..GuardLimits::default() };
            let options = QueryOptions { guard: Guard::new(limits, Instant::now()), lookback: None };
            let answer = engine.range(db, query, end_ms - 3_000_000, end_ms, 60_000, &options).unwrap();
            assert!(matches!(answer.value, Value::Matrix(series) if !series.is_empty()));
        }
    });
}

/// As a sender would repeat it.
fn block(i: usize) -> Vec<u8> {
    labels(i).to_string().into_bytes()
}

fn labels(i: usize) -> Labels {
    let (container, metric) = (i / METRICS, i % METRICS);
    let id = format!(
        "/kubepods/burstable/pod{container:032x}/{:064x}",
        container.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    );
    Labels::from_pairs([
        ("__name__", format!("container_metric_{metric:02}_total")),
        ("id", id),
        ("name", format!("k8s_app_{container:08x}")),
        ("image", format!("registry.example/team-{}/app:v1.{}", container % 20, container % 7)),
        ("namespace", format!("ns-{}", container % 20)),
        ("pod", format!("app-{}-{container:05x}", container % 50)),
        ("container", format!("app-{}", container % 50)),
        ("node", format!("node-{}", container % 30)),
        ("job", "kubelet".to_owned()),
    ])
    .unwrap()
}

/// CPU seconds with nanoseconds, pages, bytes, packets, rare counters, constants.
fn value(i: usize, round: usize) -> f64 {
    let (r, noise) = (round as u64, mix(i as u64, round as u64));
    match i % METRICS {
        0..3 => (r * 3_000_000_000 + noise % 400_000_000) as f64 / 1e9,
        3..8 => (4096 * (20_000 + noise % 200)) as f64,
        8..12 => (r * 150_000 + noise % 20_000) as f64,
        12..15 => (r * 90 + noise % 30) as f64,
        15..18 => (r / 50) as f64,
        _ => (i % 1000) as f64,
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let mut x = (a << 24 ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn append(runtime: &tokio::runtime::Runtime, db: &Db, refs: &[SeriesRef], round: usize) {
    let now_ms = START_MS + round as i64 * STEP_MS;
    let mut requests = Vec::new();
    for (request, refs) in refs.chunks(REQUEST).enumerate() {
        let samples = refs.iter().enumerate().map(|(at, series)| {
            let i = request * REQUEST + at;
            // Each container is scraped at a time of its own, with some jitter.
            let t_ms = now_ms + (mix((i / METRICS) as u64, round as u64) % 8) as i64;
            Sample { series: *series, t_ms, value: value(i, round) }
        });
        requests.push(samples.collect::<Vec<_>>());
    }
    // Two connections.
    let mut connections = [Vec::new(), Vec::new()];
    for (at, request) in requests.into_iter().enumerate() {
        connections[at % 2].push(request);
    }
    runtime.block_on(async {
        let tasks = connections.map(|requests| {
            let db = db.clone();
            tokio::spawn(async move {
                for samples in requests {
                    let number = samples.len() as u64;
                    assert_eq!(db.append(samples, now_ms).await.unwrap().stored, number);
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn equal(metric: &str) -> Matcher {
    Matcher { name: "__name__".into(), test: MatchTest::Equal(metric.into()) }
}

fn regex(pattern: &str) -> Matcher {
    Matcher { name: "__name__".into(), test: MatchTest::Regex(Matcher::anchored(pattern).unwrap()) }
}

fn read(db: &Db, what: &str, matcher: &Matcher, start_ms: i64, end_ms: i64) {
    let guard = Guard::new(GuardLimits { max_samples: u64::MAX, ..GuardLimits::default() }, Instant::now());
    let select = Select { matchers: vec![matcher.clone()], start_ms, end_ms, hints: Hints::default() };
    let started = Instant::now();
    let selected = db.select(&select, &guard).unwrap();
    let select_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut points = Points::default();
    let mut samples = 0;
    for at in 0..selected.series.len() {
        points.clear();
        selected.reader.read(at, &guard, &mut points).unwrap();
        samples += points.len();
    }
    let total_ms = started.elapsed().as_secs_f64() * 1e3;
    println!(
        "read {what}: {} series, {samples} samples, select {select_ms:.2} ms, read {:.2} ms ({:.1} ns a sample)",
        selected.series.len(),
        total_ms - select_ms,
        (total_ms - select_ms) * 1e6 / samples.max(1) as f64,
    );
}

fn timed<T>(what: &str, number: usize, run: impl FnOnce() -> T) -> T {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let result = run();
    let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{what}: {wall:.3} s, {cpu:.2} CPU s, {:.0} ns CPU each, {:.2} M per CPU second",
        cpu * 1e9 / number as f64,
        number as f64 / cpu.max(1e-9) / 1e6
    );
    result
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn disk_bytes(dir: &std::path::Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let data = entry.metadata().unwrap();
        bytes += if data.is_dir() { disk_bytes(&entry.path()) } else { data.len() };
    }
    bytes
}
