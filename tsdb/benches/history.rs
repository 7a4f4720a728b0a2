//! Long ranges over samples and over rollups, and what a million dead series cost: numbers to look at
//! before and after a change. Never a timed test.
//!
//! `cargo bench -p binnacle-tsdb --bench history -- [SERIES [DAYS [DEAD_SERIES]]]`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark")]

use std::path::Path;
use std::time::{Duration, Instant};

use binnacle_proto::Labels;
use binnacle_tsdb::{Config, Db, Engine, Guard, GuardLimits, QueryOptions, Sample};

const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const START_MS: i64 = 19_600 * DAY_MS;
/// Series that die together.
const GENERATION: usize = 10_000;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    long_range(number(0, 100), number(1, 30) as i64);
    dead_series(number(2, 1_000_000));
}

fn config(dir: &Path) -> Config {
    Config {
        dir: dir.to_owned(),
        retention: Duration::ZERO,
        future_window: Duration::ZERO,
        max_series_per_namespace: 0,
        ..Config::default()
    }
}

fn long_range(series: usize, days: i64) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refs: Vec<_> = (0..series)
        .map(|i| {
            let name = if i % 2 == 0 { "requests_total" } else { "memory_bytes" };
            let pod = format!("pod-{i}");
            let labels = [("__name__", name), ("namespace", ["a", "b", "c"][i % 3]), ("pod", pod.as_str())];
            db.resolve(&Labels::from_pairs(labels).unwrap()).unwrap()
        })
        .collect();
    let mut values = vec![0u64; series];
    let hours = days * 24;
    timed("append", || {
        for hour in 0..hours {
            let mut samples = Vec::new();
            for (i, series) in refs.iter().enumerate() {
                for step in 0..HOUR_MS / STEP_MS {
                    let t_ms = START_MS + hour * HOUR_MS + step * STEP_MS;
                    let noise = mix(i as u64, t_ms as u64);
                    values[i] =
                        if i % 2 == 0 { values[i] + noise % 1000 } else { (25_000 + noise % 200) * 4096 };
                    samples.push(Sample { series: *series, t_ms, value: values[i] as f64 });
                }
            }
            runtime.block_on(db.append(samples, START_MS + hour * HOUR_MS)).unwrap();
            if hour % 4 == 3 {
                // Flushes what is older than two hours; does not seal, because the clock stands.
                db.maintain(START_MS + hour * HOUR_MS - 1000 * DAY_MS).unwrap();
            }
        }
    });
    db.close().unwrap();
    drop(db);
    let db = Db::open(config(dir.path())).unwrap();
    let samples = (series as i64 * hours * (HOUR_MS / STEP_MS)) as f64;
    let queries = [
        "sum by (namespace) (rate(requests_total[1h]))",
        "max by (namespace) (max_over_time(memory_bytes[1h]))",
        "sum by (namespace) (avg_over_time(memory_bytes[1d]))",
        "sum by (namespace) (rate(requests_total[5m]))",
    ];
    let ask = |what: &str| {
        for query in queries {
            range(&db, what, query, days);
        }
    };
    ask("samples");
    let before = db.stats();
    timed("seal", || {
        let mut sealed = u64::MAX;
        while sealed != db.stats().days_sealed || sealed < days as u64 {
            sealed = db.stats().days_sealed;
            db.maintain(START_MS + (days + 2) * DAY_MS).unwrap();
        }
    });
    let stats = db.stats();
    println!(
        "  {:.2} bytes a sample in table files before, {:.2} after, of which rollups {:.2}; {} chunks merged into {}",
        before.disk_bytes as f64 / samples,
        stats.disk_bytes as f64 / samples,
        stats.rollup_bytes as f64 / samples,
        stats.chunks_merged,
        stats.chunks_merged_into,
    );
    ask("rollups");
}

fn range(db: &Db, what: &str, query: &str, days: i64) {
    let (mut walls, mut samples, mut rollup) = (Vec::new(), 0, None);
    for _ in 0..5 {
        let limits = GuardLimits { max_samples: u64::MAX, ..GuardLimits::default() };
        let options = QueryOptions { guard: Guard::new(limits, Instant::now()), lookback: None };
        let begun = Instant::now();
        let (start_ms, end_ms) = (START_MS + DAY_MS, START_MS + days * DAY_MS);
        let (_, plan) =
            Engine::default().explain_range(db, query, start_ms, end_ms, HOUR_MS, &options).unwrap();
        walls.push(begun.elapsed().as_secs_f64() * 1e3);
        (samples, rollup) = (plan.samples, plan.inputs[0].rollup);
    }
    walls.sort_by(f64::total_cmp);
    println!("{what}: {query}: {:.1} ms (median of 5), {samples} read, rollup {rollup:?}", walls[2]);
}

fn dead_series(number: usize) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    println!("before any series: resident {} MiB", resident_mib());
    timed("a life and death of all series", || {
        for generation in 0..number / GENERATION {
            let now_ms = START_MS + generation as i64 * HOUR_MS / 8;
            let samples = (0..GENERATION).map(|i| Sample {
                series: db.resolve(&labels(generation, i)).unwrap(),
                t_ms: now_ms,
                value: i as f64,
            });
            runtime.block_on(db.append(samples.collect(), now_ms)).unwrap();
            db.maintain(now_ms).unwrap();
        }
    });
    let stats = db.stats();
    println!(
        "  {} series created, {} in memory, {} left it; resident {} MiB, {:.0} bytes a dead series on disk",
        stats.series_created,
        stats.head_series,
        stats.series_evicted,
        resident_mib(),
        stats.disk_bytes as f64 / number as f64,
    );
    // The last ones go as well.
    let end_ms = START_MS + (number / GENERATION) as i64 * HOUR_MS / 8;
    for hour in 1..6 {
        db.maintain(end_ms + hour * HOUR_MS).unwrap();
    }
    println!("  {} in memory after the last died; resident {} MiB", db.stats().head_series, resident_mib());
    drop(db);
    let db = timed("open", || Db::open(config(dir.path())).unwrap());
    println!("  {} in memory, resident {} MiB", db.stats().head_series, resident_mib());
}

fn labels(generation: usize, i: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("container_metric_{:02}_total", i % 20)),
        ("id", format!("/kubepods/burstable/pod{generation:08x}/{:064x}", i / 20)),
        ("namespace", format!("ns-{}", i % 17)),
        ("pod", format!("app-{generation}-{:05x}", i / 20)),
        ("container", "app".to_owned()),
        ("node", format!("node-{}", i % 30)),
        ("job", "kubelet".to_owned()),
    ])
    .unwrap()
}

fn mix(a: u64, b: u64) -> u64 {
    let mut x = (a << 24 ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = run();
    println!("{what}: {:.2} s", started.elapsed().as_secs_f64());
    result
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
