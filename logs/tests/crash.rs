//! `SIGKILL` at any time: what was acknowledged is there after the restart, each record once.
//!
//! The test starts itself as a child that appends numbered lines and prints what was acknowledged.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use binnacle_logs::{Block, Config, Db, Direction, LogQuery, Position, Record, Value};
use binnacle_proto::Labels;

const NOW_MS: i64 = 1_700_000_000_000;
const NOW: i64 = NOW_MS * 1_000_000;
const ROUNDS: u64 = 10;
/// Records of one append, half of them with a position.
const BATCH: u64 = 20;

fn config(dir: &str) -> Config {
    Config {
        dir: dir.into(),
        reserve_bytes: 0,
        block_bytes: 8 << 10,
        open_bytes: 64 << 10,
        ..Config::default()
    }
}

fn blocks(batch: u64) -> Vec<Block> {
    let record = |n: u64| Record {
        time_ns: NOW + n as i64,
        line: format!("number {n} {}", "padding ".repeat(5)).into_bytes(),
        metadata: Labels::empty(),
        end: n + 1,
    };
    let numbers = |half: u64| (batch * BATCH..(batch + 1) * BATCH).filter(move |n| n % 2 == half);
    let labels =
        |kind: &str| Labels::from_pairs([("kind", kind), ("shard", &(batch % 3).to_string())]).unwrap();
    let position = Position { node: "n".into(), source: "s".into(), end: (batch + 1) * BATCH };
    let mut pushed: Vec<Record> = numbers(1).map(record).collect();
    pushed.iter_mut().for_each(|record| record.end = 0);
    vec![
        Block { labels: labels("read"), position: Some(position), records: numbers(0).map(record).collect() },
        Block { labels: labels("push"), position: None, records: pushed },
    ]
}

/// The child: not a test when it is not asked to be.
#[test]
fn child_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var("BINNACLE_LOGS_CRASH_DIR") else { return };
    let first: u64 = std::env::var("BINNACLE_LOGS_CRASH_FIRST").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let db = Db::open(config(&dir)).unwrap();
    let mut out = std::io::stdout();
    for batch in first.. {
        runtime.block_on(db.append(blocks(batch), NOW_MS)).unwrap();
        writeln!(out, "acknowledged {batch}").unwrap();
        out.flush().unwrap();
        if batch % 7 == 0 {
            db.maintain(NOW_MS).unwrap();
        }
    }
}

fn numbers(db: &Db) -> HashMap<u64, u32> {
    let mut seen = HashMap::new();
    let mut from = NOW;
    // In pages: a query answers a bounded number of lines.
    loop {
        let query = LogQuery {
            text: r#"{kind=~"read|push"}"#.into(),
            start_ns: from,
            end_ns: from + 5000,
            step_ns: 0,
            limit: 5000,
            direction: Direction::Forward,
        };
        let Value::Streams(streams) = db.query(&query).unwrap().value else { panic!("not lines") };
        if streams.is_empty() {
            return seen;
        }
        for entry in streams.iter().flat_map(|stream| &stream.entries) {
            let line = String::from_utf8(entry.line.clone()).unwrap();
            *seen.entry(line.split(' ').nth(1).unwrap().parse().unwrap()).or_default() += 1;
        }
        from += 5000;
    }
}

#[test]
fn acknowledged_records_survive_sigkill_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs");
    let mut next = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_appends_until_it_is_killed", "--exact", "--nocapture"])
            .env("BINNACLE_LOGS_CRASH_DIR", &path)
            .env("BINNACLE_LOGS_CRASH_FIRST", next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = None;
        let wanted = 5 + round * 13;
        for line in lines {
            let line = line.unwrap();
            if let Some((_, batch)) = line.split_once("acknowledged ") {
                acknowledged = Some(batch.trim().parse::<u64>().unwrap());
                if acknowledged.is_some_and(|batch| batch >= next + wanted) {
                    // Sometimes at once, sometimes in the middle of the next writes.
                    let pause = std::sync::mpsc::channel::<()>().1;
                    let _ = pause.recv_timeout(Duration::from_micros(round * 700));
                    child.kill().unwrap();
                    break;
                }
            }
        }
        child.wait().unwrap();
        let last = acknowledged.expect("the child has acknowledged something");
        let db = Db::open(config(path.to_str().unwrap())).unwrap();
        let seen = numbers(&db);
        for n in 0..(last + 1) * BATCH {
            assert_eq!(seen.get(&n), Some(&1), "number {n} after round {round}");
        }
        assert!(seen.values().all(|count| *count == 1));
        // The first batch that was not acknowledged is sent again, as an agent would.
        next = last + 1;
    }
}
