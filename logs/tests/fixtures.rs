//! A store of the first release, checked in, opens, holds what it held, and goes on.
//!
//! `database-1.zst` is a compressed list of files: length of the name, name, length, bytes; lengths as
//! 32-bit little-endian integers. What RocksDB does not need to open is left out. The run that misses it
//! writes it and fails, so that somebody looks at it and checks it in.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use binnacle_logs::{Appended, Block, Config, Db, Direction, LogQuery, Position, Record, Value};
use binnacle_proto::Labels;

const NOW_MS: i64 = 1_700_000_000_000;
const NOW: i64 = NOW_MS * 1_000_000;
const LINES: i64 = 300;

fn packed() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures", "database-1.zst"].iter().collect()
}

fn config(dir: &Path) -> Config {
    Config { dir: dir.to_owned(), reserve_bytes: 0, ..Config::default() }
}

fn labels(app: &str) -> Labels {
    Labels::from_pairs([("app", app), ("namespace", "fixture")]).unwrap()
}

/// Record `i` of the stream that is pushed: every tenth has metadata.
fn pushed(i: i64) -> Record {
    let metadata = match i % 10 {
        0 => Labels::from_pairs([("trace_id", format!("{i:016x}"))]).unwrap(),
        _ => Labels::empty(),
    };
    let line = format!("level={} number={i} \u{e9}", ["info", "warn"][(i % 2) as usize]);
    Record { time_ns: NOW + i * 1_000_000, line: line.into_bytes(), metadata, end: 0 }
}

/// Record `i` of the stream that an agent reads.
fn read(i: i64) -> Record {
    let line = format!("read {i}").into_bytes();
    Record { time_ns: NOW + i * 1_000_000, line, metadata: Labels::empty(), end: (i as u64 + 1) * 10 }
}

fn blocks(from: i64, to: i64) -> Vec<Block> {
    let position = Position { node: "n-1".into(), source: "s-1".into(), end: to as u64 * 10 };
    vec![
        Block { labels: labels("pushed"), position: None, records: (from..to).map(pushed).collect() },
        Block { labels: labels("read"), position: Some(position), records: (from..to).map(read).collect() },
    ]
}

async fn write() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("logs");
    let db = Db::open(config(&live)).unwrap();
    db.append(blocks(0, 200), NOW_MS).await.unwrap();
    db.seal_all().unwrap();
    db.maintain(NOW_MS).unwrap();
    // The last third stays in the write-ahead family.
    db.append(blocks(200, LINES), NOW_MS).await.unwrap();
    db.close().unwrap();
    drop(db);
    let mut files = Vec::new();
    let mut names: Vec<String> = std::fs::read_dir(&live)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in names.iter().filter(|name| !name.starts_with("LOG") && !name.starts_with("OPTIONS")) {
        let bytes = std::fs::read(live.join(name)).unwrap();
        for part in [name.as_bytes(), &bytes] {
            files.extend_from_slice(&(part.len() as u32).to_le_bytes());
            files.extend_from_slice(part);
        }
    }
    std::fs::write(packed(), zstd::encode_all(files.as_slice(), 19).unwrap()).unwrap();
    panic!(
        "there was no {}: it has been written; look whether it should be, and check it in",
        packed().display()
    );
}

fn unpack(into: &Path) {
    let files = zstd::decode_all(std::fs::read(packed()).unwrap().as_slice()).unwrap();
    let mut rest = files.as_slice();
    let mut take = || {
        let (len, tail) = rest.split_first_chunk::<4>().unwrap();
        let (taken, tail) = tail.split_at(u32::from_le_bytes(*len) as usize);
        rest = tail;
        (taken, tail.is_empty())
    };
    loop {
        let (name, _) = take();
        let (bytes, is_last) = take();
        std::fs::write(into.join(std::str::from_utf8(name).unwrap()), bytes).unwrap();
        if is_last {
            return;
        }
    }
}

fn entries(db: &Db, text: &str) -> Vec<(i64, String, Labels)> {
    let query = LogQuery {
        text: text.into(),
        start_ns: NOW - 1,
        end_ns: NOW + 1_000_000_000_000,
        step_ns: 0,
        limit: 5000,
        direction: Direction::Forward,
    };
    let Value::Streams(streams) = db.query(&query).unwrap().value else { panic!("not lines") };
    let mut found: Vec<_> = streams
        .into_iter()
        .flat_map(|stream| stream.entries)
        .map(|entry| (entry.time_ns, String::from_utf8(entry.line).unwrap(), entry.metadata))
        .collect();
    found.sort();
    found
}

fn want(record: impl Fn(i64) -> Record, numbers: impl Iterator<Item = i64>) -> Vec<(i64, String, Labels)> {
    let row = |record: Record| (record.time_ns, String::from_utf8(record.line).unwrap(), record.metadata);
    numbers.map(record).map(row).collect()
}

#[tokio::test]
async fn a_store_of_the_first_release_opens() {
    if !packed().exists() {
        write().await;
    }
    let dir = tempfile::tempdir().unwrap();
    unpack(dir.path());
    let db = Db::open(config(dir.path())).unwrap();
    let check = |db: &Db| {
        assert_eq!(entries(db, r#"{app="pushed"}"#), want(pushed, 0..LINES));
        assert_eq!(entries(db, r#"{app="read"}"#), want(read, 0..LINES));
        // By the filters, by a field, by metadata.
        assert_eq!(entries(db, r#"{namespace="fixture"} |= "read 77""#), want(read, 77..78));
        assert!(entries(db, r#"{namespace="fixture"} |= "needle""#).is_empty());
        let warnings = want(pushed, (0..LINES).filter(|i| i % 2 == 1));
        assert_eq!(entries(db, r#"{app="pushed"} | logfmt | level="warn" | drop level, number"#), warnings);
        let traced = entries(db, r#"{app="pushed"} | trace_id="0000000000000014""#);
        assert_eq!(traced, want(pushed, 20..21));
    };
    check(&db);
    let stats = db.stats();
    assert_eq!((stats.streams, stats.damaged_blocks), (2, 0));
    assert!(stats.open_bytes > 0, "some of it is in the write-ahead family only");
    // What is known is known wherever it lies, and it goes on.
    let again = db.append(blocks(0, LINES), NOW_MS).await.unwrap();
    assert_eq!(again, Appended { stored: 0, repeated: 2 * LINES as u64, refused: 0 });
    db.append(blocks(LINES, LINES + 1), NOW_MS).await.unwrap();
    assert_eq!(entries(&db, r#"{app="read"}"#).len() as i64, LINES + 1);
    db.seal_all().unwrap();
    db.close().unwrap();
    drop(db);
    let db = Db::open(config(dir.path())).unwrap();
    assert_eq!(entries(&db, r#"{app="pushed"}"#), want(pushed, 0..LINES + 1));
    assert_eq!(db.stats().open_bytes, 0);
}
