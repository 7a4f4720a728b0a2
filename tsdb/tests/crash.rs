//! Kills the process under load with `SIGKILL`, again and again over one database, and compares what
//! is found with what had been acknowledged: nothing lost, nothing twice, nothing made up. Everything is
//! compared after each kill, so a new database takes over before the comparison outlasts the load.
//!
//! `BINNACLE_CRASH_ROUNDS` sets the number of kills (10), `BINNACLE_CRASH_SEED` when they come.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test without the harness")]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use binnacle_proto::Labels;
use binnacle_tsdb::{
    Config, Db, Engine, Error, Guard, GuardLimits, Hints, MatchTest, Matcher, Points, QueryOptions, Sample,
    Select, Source, Value,
};

const CHILD: &str = "BINNACLE_CRASH_CHILD";
const WORKERS: u64 = 16;
/// Series that a worker appends to in every batch.
const SERIES: u64 = 20;
/// Batches after which a worker starts a new set of series.
const GENERATION: u64 = 40;
/// Large, so that days are over, and sealed, while the test runs.
const STEP_MS: i64 = 300_000;
/// Kills that one database goes through.
const ROUNDS_A_DATABASE: u64 = 25;
/// A late sample lies so far before its batch; between the samples of others.
const LATE_MS: i64 = STEP_MS * 15 / 2;
const HOUR_MS: i64 = 3_600_000;
/// Until a refused batch is sent again.
const WAIT: Duration = Duration::from_millis(5);

fn main() {
    if let Ok(dir) = std::env::var(CHILD) {
        write_until_killed(Path::new(&dir));
        return;
    }
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let rounds = number("BINNACLE_CRASH_ROUNDS", 10);
    let mut seed = number("BINNACLE_CRASH_SEED", 0x9e37_79b9_7f4a_7c15);
    println!("crash test: {rounds} rounds, seed {seed}");
    let mut dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut batches, mut samples, mut found_now) = (0, 0, 0);
    for round in 0..rounds {
        if round % ROUNDS_A_DATABASE == 0 {
            batches += std::mem::take(&mut acknowledged).values().sum::<u64>();
            samples += std::mem::take(&mut found_now);
            dir = tempfile::tempdir().unwrap();
        }
        // xorshift: when to kill need not be hard to guess.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        kill_one(dir.path(), Duration::from_millis(20 + seed % 400), &mut acknowledged);
        found_now = verify(dir.path(), &mut acknowledged, round);
    }
    batches += acknowledged.values().sum::<u64>();
    samples += found_now;
    assert!(batches > rounds, "too little was acknowledged to show anything: {batches} batches");
    let rolled_up = rolled_up(dir.path());
    assert!(rounds < 10 || rolled_up > 0, "no day was sealed");
    println!(
        "crash test: ok, {rounds} kills, {batches} batches acknowledged, {samples} samples found, none lost, none twice; {rolled_up} series answered from rollups"
    );
}

/// How many series of all time a query answers from rollups.
fn rolled_up(dir: &Path) -> usize {
    let db = Db::open(config(dir)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a guard needs an instant")]
    let guard = Guard::new(GuardLimits::default(), Instant::now());
    let options = QueryOptions { guard, lookback: None };
    let at_ms = 100_000 * HOUR_MS;
    let (_, plan) =
        Engine::default().explain_instant(&db, "count_over_time(m[100000h])", at_ms, &options).unwrap();
    plan.rollup_series
}

fn config(dir: &Path) -> Config {
    Config {
        dir: dir.to_owned(),
        retention: Duration::ZERO,
        future_window: Duration::ZERO,
        // Small, so that flushes are always under way when the end comes.
        head_bytes: 64 << 10,
        flush_after: Duration::ZERO,
        write_buffer_bytes: 1 << 20,
        min_free_bytes: 0,
        ..Config::default()
    }
}

fn labels(worker: u64, batch: u64, series: u64) -> Labels {
    Labels::from_pairs([
        ("__name__", "m".to_owned()),
        ("worker", worker.to_string()),
        ("generation", (batch / GENERATION).to_string()),
        ("series", series.to_string()),
    ])
    .unwrap()
}

fn value(worker: u64, series: u64, t_ms: i64) -> f64 {
    (worker * 1_000_003 + series * 7919) as f64 + t_ms as f64 / 8.0
}

/// What a batch holds: labels, time, value.
fn batch(worker: u64, number: u64) -> Vec<(Labels, i64, f64)> {
    let t_ms = number as i64 * STEP_MS;
    let mut samples: Vec<_> = (0..SERIES)
        .map(|series| (labels(worker, number, series), t_ms, value(worker, series, t_ms)))
        .collect();
    if number % GENERATION > 10 {
        let late_ms = t_ms - LATE_MS;
        samples.push((labels(worker, number, 0), late_ms, value(worker, 0, late_ms)));
    }
    samples
}

/// The child: appends as fast as it can and prints each batch when it is acknowledged.
fn write_until_killed(dir: &Path) {
    // A worker that panics would end alone and unseen.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let db = Db::open(config(dir)).unwrap();
    let next = |worker| found(&db, worker).keys().map(|(number, _)| number + 1).max().unwrap_or(0);
    let starts: Vec<u64> = (0..WORKERS).map(next).collect();
    print_line("ready");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let newest_ms = Arc::new(AtomicI64::new(0));
    runtime.block_on(async {
        for (worker, start) in starts.into_iter().enumerate() {
            let (db, worker, newest_ms) = (db.clone(), worker as u64, newest_ms.clone());
            tokio::spawn(async move {
                for number in start.. {
                    let appended = loop {
                        let samples: Vec<Sample> = batch(worker, number)
                            .into_iter()
                            .map(|(labels, t_ms, value)| Sample {
                                series: db.resolve(&labels).unwrap(),
                                t_ms,
                                value,
                            })
                            .collect();
                        match db.append(samples, 0).await {
                            // The head is full and small: its flush comes first.
                            Err(Error::Unavailable { .. }) => tokio::time::sleep(WAIT).await,
                            // Hours pass in a moment here: what was resolved just now may have left as idle.
                            Ok(appended) if appended.unknown_series > 0 => {}
                            appended => break appended.unwrap(),
                        }
                    };
                    let refused = appended.out_of_bounds + appended.conflicting;
                    assert_eq!(refused, 0, "worker {worker}, batch {number}: {appended:?}");
                    print_line(&format!("{worker} {number}"));
                    newest_ms.fetch_max(number as i64 * STEP_MS, Ordering::Relaxed);
                }
            });
        }
        tokio::task::spawn_blocking(move || {
            // Days are sealed as soon as the fastest worker has left them; the others still write there.
            loop {
                db.maintain(newest_ms.load(Ordering::Relaxed) + HOUR_MS).unwrap();
            }
        })
        .await
        .unwrap();
    });
}

/// One write to the pipe, so that a line is there as a whole or not at all.
fn print_line(line: &str) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn kill_one(dir: &Path, after: Duration, acknowledged: &mut BTreeMap<u64, u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (ready, is_ready) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            if line == "ready" {
                ready.send(()).unwrap();
            } else {
                lines.push(line);
            }
        }
        lines
    });
    is_ready.recv_timeout(Duration::from_secs(60)).expect("the child opens the database");
    let _ = is_ready.recv_timeout(after);
    assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    for line in reader.join().unwrap() {
        let (worker, number) = line.split_once(' ').unwrap();
        let (worker, number): (u64, u64) = (worker.parse().unwrap(), number.parse().unwrap());
        let next = acknowledged.entry(worker).or_default();
        *next = (*next).max(number + 1);
    }
}

/// Samples of a worker by batch and series; panics on one that no batch contains.
fn found(db: &Db, worker: u64) -> HashMap<(u64, u64), u64> {
    #[expect(clippy::disallowed_methods, reason = "a guard needs an instant")]
    let guard = Guard::new(GuardLimits::default(), Instant::now());
    let matcher = Matcher { name: "worker".into(), test: MatchTest::Equal(worker.to_string()) };
    let select =
        Select { matchers: vec![matcher], start_ms: i64::MIN, end_ms: i64::MAX, hints: Hints::default() };
    let selected = db.select(&select, &guard).unwrap();
    assert_eq!(selected.warnings, Vec::<String>::new());
    let mut samples = HashMap::new();
    for (at, labels) in selected.series.iter().enumerate() {
        let series: u64 = labels.get("series").unwrap().parse().unwrap();
        let mut points = Points::default();
        selected.reader.read(at, &guard, &mut points).unwrap();
        assert!(points.timestamps.is_sorted_by(|a, b| a < b), "{labels} has a time twice");
        for (t_ms, have) in points.timestamps.iter().zip(&points.values) {
            assert_eq!(*have, value(worker, series, *t_ms), "{labels} at {t_ms}");
            let late = *t_ms % STEP_MS != 0;
            let number = (if late { *t_ms + LATE_MS } else { *t_ms }) as u64 / STEP_MS as u64;
            *samples.entry((number, if late { SERIES } else { series })).or_default() += 1;
        }
    }
    samples
}

/// Number of samples of a worker by the rollups of days that have some.
fn summed_up(db: &Db, worker: u64) -> usize {
    #[expect(clippy::disallowed_methods, reason = "a guard needs an instant")]
    let guard = Guard::new(GuardLimits::default(), Instant::now());
    let end_ms = db.stats().head_max_ms.unwrap_or(0).max(100_000 * STEP_MS) / HOUR_MS * HOUR_MS + HOUR_MS;
    let expr = format!("sum(count_over_time(m{{worker=\"{worker}\"}}[{}h]))", end_ms / HOUR_MS);
    // The first sample is at the epoch, where such a range is open.
    let first = format!("count(m{{worker=\"{worker}\"}} @ 0)");
    let options = QueryOptions { guard, lookback: Some(Duration::from_millis(1)) };
    [expr, first]
        .iter()
        .map(|expr| match Engine::default().instant(db, expr, end_ms, &options).unwrap().value {
            Value::Vector(found) => found.first().map_or(0.0, |sample| sample.value) as usize,
            other => panic!("{other:?}"),
        })
        .sum()
}

/// Compares, and takes what was on its way as acknowledged if it is there: as a whole or not at all.
/// Returns the number of samples found.
fn verify(dir: &Path, acknowledged: &mut BTreeMap<u64, u64>, round: u64) -> usize {
    let db = Db::open(config(dir)).unwrap();
    assert_eq!(db.stats().wal_corrupt, 0);
    let mut number = 0;
    for worker in 0..WORKERS {
        let samples = found(&db, worker);
        number += samples.len();
        assert_eq!(summed_up(&db, worker), samples.len(), "round {round}: worker {worker} in rollups");
        let next = acknowledged.entry(worker).or_default();
        let newest = samples.keys().map(|(number, _)| *number).max();
        assert!(newest.is_none_or(|newest| newest <= *next), "round {round}: {newest:?} after {next}");
        *next = newest.map_or(*next, |newest| (newest + 1).max(*next));
        for batch_number in 0..*next {
            for at in 0..batch(worker, batch_number).len() as u64 {
                let times = samples.get(&(batch_number, at)).copied().unwrap_or(0);
                assert_eq!(times, 1, "round {round}: worker {worker} batch {batch_number} sample {at}");
            }
        }
    }
    number
}
