//! The store from outside: append, query, restart, positions, repeats, retention, budgets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use binnacle_logs::{
    Block, Config, Db, Direction, Error, LogQuery, Position, Record, StreamRetention, Value,
};
use binnacle_proto::Labels;

const NOW_MS: i64 = 1_700_000_000_000;
const NOW: i64 = NOW_MS * 1_000_000;

fn config(dir: &tempfile::TempDir) -> Config {
    Config { dir: dir.path().join("logs"), reserve_bytes: 0, ..Config::default() }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

fn record(time_ns: i64, line: &str, end: u64) -> Record {
    Record { time_ns, line: line.as_bytes().to_vec(), metadata: Labels::empty(), end }
}

fn block(app: &str, records: Vec<Record>) -> Block {
    Block { labels: labels(&[("app", app)]), position: None, records }
}

fn lines(db: &Db, text: &str) -> Vec<String> {
    let query = LogQuery {
        text: text.into(),
        start_ns: NOW - 10_000_000_000_000,
        end_ns: NOW + 10_000_000_000_000,
        step_ns: 1_000_000_000,
        limit: 5000,
        direction: Direction::Forward,
    };
    let Value::Streams(streams) = db.query(&query).unwrap().value else { panic!("not lines") };
    let mut entries: Vec<_> = streams.into_iter().flat_map(|stream| stream.entries).collect();
    // Of one instant, any order will do.
    entries.sort_by(|a, b| (a.time_ns, &a.line).cmp(&(b.time_ns, &b.line)));
    entries.into_iter().map(|entry| String::from_utf8(entry.line).unwrap()).collect()
}

#[tokio::test]
async fn appended_lines_are_found_before_and_after_sealing_and_restart() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(&dir)).unwrap();
    let records: Vec<Record> =
        (0..500).map(|i| record(NOW + i, &format!("line {i} of some text"), 0)).collect();
    let done = db
        .append(vec![block("a", records), block("b", vec![record(NOW, "other", 0)])], NOW_MS)
        .await
        .unwrap();
    assert_eq!((done.stored, done.repeated, done.refused), (501, 0, 0));
    assert_eq!(lines(&db, r#"{app="a"}"#).len(), 500);
    assert_eq!(lines(&db, r#"{app="a"} |= "line 77 ""#), ["line 77 of some text"]);
    db.close().unwrap();
    drop(db);

    let db = Db::open(config(&dir)).unwrap();
    assert_eq!(lines(&db, r#"{app=~"a|b"}"#).len(), 501);
    db.seal_all().unwrap();
    assert_eq!(lines(&db, r#"{app=~"a|b"}"#).len(), 501);
    assert_eq!(lines(&db, r#"{app="a"} |~ "line 4[0-9]{2} ""#).len(), 100);
    db.maintain(NOW_MS).unwrap();
    drop(db);

    let db = Db::open(config(&dir)).unwrap();
    assert_eq!(lines(&db, r#"{app=~"a|b"}"#).len(), 501);
    assert_eq!(db.stats().open_bytes, 0, "everything was sealed and trimmed");
}

#[tokio::test]
async fn records_at_or_before_the_position_are_dropped_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let positioned = |end, records| Block {
        labels: labels(&[("app", "p")]),
        position: Some(Position { node: "n".into(), source: "s".into(), end }),
        records,
    };
    let db = Db::open(config(&dir)).unwrap();
    let first = positioned(20, vec![record(NOW, "same", 10), record(NOW, "same", 20)]);
    let done = db.append(vec![first.clone()], NOW_MS).await.unwrap();
    assert_eq!((done.stored, done.repeated), (2, 0), "equal lines at different places are different");
    let done = db.append(vec![first.clone()], NOW_MS).await.unwrap();
    assert_eq!((done.stored, done.repeated), (0, 2));
    drop(db);
    let db = Db::open(config(&dir)).unwrap();
    let overlap = positioned(30, vec![record(NOW, "same", 20), record(NOW + 1, "new", 30)]);
    let done = db.append(vec![overlap], NOW_MS).await.unwrap();
    assert_eq!((done.stored, done.repeated), (1, 1));
    assert_eq!(lines(&db, r#"{app="p"}"#), ["same", "same", "new"]);
}

#[tokio::test]
async fn repeats_without_a_position_are_stored_once_wherever_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(&dir)).unwrap();
    let push = || block("r", vec![record(NOW, "x", 0), record(NOW + 1, "y", 0), record(NOW, "x", 0)]);
    let done = db.append(vec![push()], NOW_MS).await.unwrap();
    assert_eq!((done.stored, done.repeated), (2, 1));
    assert_eq!(db.append(vec![push()], NOW_MS).await.unwrap().stored, 0);
    db.seal_all().unwrap();
    assert_eq!(db.append(vec![push()], NOW_MS).await.unwrap().stored, 0);
    drop(db);
    let db = Db::open(config(&dir)).unwrap();
    assert_eq!(db.append(vec![push()], NOW_MS).await.unwrap().stored, 0);
    let late = block("r", vec![record(NOW - 5, "late", 0), record(NOW, "x2", 0)]);
    assert_eq!(db.append(vec![late], NOW_MS).await.unwrap().stored, 2);
    assert_eq!(lines(&db, r#"{app="r"}"#), ["late", "x", "x2", "y"]);
}

#[tokio::test]
async fn retention_drops_blocks_and_then_streams() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(&dir)).unwrap();
    db.append(vec![block("old", vec![record(NOW, "x", 0)])], NOW_MS).await.unwrap();
    db.seal_all().unwrap();
    db.maintain(NOW_MS).unwrap();
    assert_eq!(db.stats().streams, 1);
    let later = NOW_MS + 8 * 86_400_000;
    db.maintain(later).unwrap();
    assert_eq!((db.stats().streams, db.stats().expired_blocks), (0, 1));
    assert!(lines(&db, r#"{app="old"}"#).is_empty());
    drop(db);
    let db = Db::open(config(&dir)).unwrap();
    assert_eq!(db.stats().streams, 0);
}

#[tokio::test]
async fn streams_have_the_retention_of_the_first_selector_that_matches() {
    let dir = tempfile::tempdir().unwrap();
    let rule =
        |selector: &str, days: u32| StreamRetention { selector: selector.into(), retention_hours: days * 24 };
    let stream_retention = vec![rule(r#"{app="short"}"#, 1), rule(r#"{app=~"short|long"}"#, 30)];
    let with_rules = Config { stream_retention, ..config(&dir) };
    let db = Db::open(with_rules.clone()).unwrap();
    let apps = ["short", "long", "other"];
    for app in apps {
        db.append(vec![block(app, vec![record(NOW, app, 0)])], NOW_MS).await.unwrap();
    }
    db.seal_all().unwrap();
    let day = 86_400_000;
    for (days, left) in [(0, 3), (2, 2), (8, 1), (29, 1), (31, 0)] {
        db.maintain(NOW_MS + days * day).unwrap();
        let found: usize = apps.iter().map(|app| lines(&db, &format!("{{app={app:?}}}")).len()).sum();
        assert_eq!((found, db.stats().streams), (left, left as u64), "after {days} days");
    }
    // What is past it is not taken, either.
    let old = NOW - 2 * day * 1_000_000;
    let push = apps.map(|app| block(app, vec![record(old, app, 0)]));
    let done = db.append(push.to_vec(), NOW_MS).await.unwrap();
    assert_eq!((done.stored, done.refused, db.stats().refused_old), (2, 1, 1));
    drop(db);
    let wrong = Config { stream_retention: vec![rule("{app=", 1)], ..config(&dir) };
    let refused = Db::open(wrong).map(drop).unwrap_err().to_string();
    assert!(refused.contains("logs.stream_retention: selector \"{app=\""), "{refused}");
}

#[tokio::test]
async fn what_is_out_of_bounds_is_cut_or_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(Config { max_streams: 2, max_line_bytes: 10, ..config(&dir) }).unwrap();
    let year = 365 * 86_400 * 1_000_000_000i64;
    let records =
        vec![record(NOW - year, "old", 0), record(NOW + year, "new", 0), record(NOW, "0123456789abc", 0)];
    let done = db.append(vec![block("a", records)], NOW_MS).await.unwrap();
    assert_eq!((done.stored, done.refused), (1, 2));
    assert_eq!(lines(&db, r#"{app="a"}"#), ["0123456789"]);
    let more = vec![block("b", vec![record(NOW, "b", 0)]), block("c", vec![record(NOW, "c", 0)])];
    let done = db.append(more, NOW_MS).await.unwrap();
    assert_eq!((done.stored, done.refused), (1, 1), "the others are not held up");
    let stats = db.stats();
    assert_eq!(
        (stats.refused_old, stats.refused_future, stats.cut_lines, stats.refused_streams),
        (1, 1, 1, 1)
    );
    assert!(db.metrics_text().contains("binnacle_logs_cut_lines_total 1\n"));
}

#[tokio::test]
async fn a_disk_that_is_about_to_be_full_refuses_writes_and_not_reads() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(&dir)).unwrap();
    db.append(vec![block("a", vec![record(NOW, "x", 0)])], NOW_MS).await.unwrap();
    drop(db);
    let db = Db::open(Config { reserve_bytes: u64::MAX, ..config(&dir) }).unwrap();
    let refused = db.append(vec![block("a", vec![record(NOW + 1, "y", 0)])], NOW_MS).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(lines(&db, r#"{app="a"}"#), ["x"]);
}

#[tokio::test]
async fn concurrent_appends_are_all_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let small = Config { block_bytes: 4096, open_bytes: 64 << 10, ..config(&dir) };
    let db = Db::open(small.clone()).unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                for round in 0..50 {
                    let app = format!("app{}", (task + round) % 5);
                    let records = (0..10).map(|i| {
                        let n = (task * 50 + round) * 10 + i;
                        record(NOW + n, &format!("task {task} number {n} {}", "x".repeat(50)), 0)
                    });
                    let done = db.append(vec![block(&app, records.collect())], NOW_MS).await.unwrap();
                    assert_eq!(done.stored, 10);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(lines(&db, r#"{app=~".+"}"#).len(), 4000);
    drop(db);
    let db = Db::open(small).unwrap();
    let all = lines(&db, r#"{app=~".+"}"#);
    assert_eq!(all.len(), 4000);
    assert!(db.stats().streams == 5 && all[17].starts_with("task 0 number 17 "));
}

#[tokio::test]
async fn a_quiet_stream_does_not_hold_the_write_ahead_records_of_the_others() {
    const LIMIT: u64 = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let settings = || Config { wal_bytes: LIMIT, ..config(&dir) };
    let db = Db::open(settings()).unwrap();
    db.append(vec![block("quiet", vec![record(NOW, "held", 0)])], NOW_MS).await.unwrap();
    let mut state = 1u64;
    let mut noise = || -> String {
        let digits = (0..16).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{state:016x}")
        });
        digits.collect()
    };
    let mut count = 0;
    for _ in 0..100 {
        let records = (0..500).map(|i| record(NOW + count + i, &noise(), 0)).collect();
        db.append(vec![block("loud", records)], NOW_MS).await.unwrap();
        count += 500;
    }
    assert!(db.stats().wal_kept_bytes > LIMIT, "{:?}", db.stats());
    for _ in 0..500 {
        // Time alone seals nothing here.
        db.maintain(NOW_MS).unwrap();
        if db.stats().wal_kept_bytes <= LIMIT {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(db.stats().wal_kept_bytes <= LIMIT, "{:?}", db.stats());
    db.close().unwrap();
    drop(db);
    let db = Db::open(settings()).unwrap();
    assert!(db.stats().wal_kept_bytes <= LIMIT, "{:?}", db.stats());
    assert_eq!(lines(&db, r#"{app="quiet"}"#), ["held"]);
    let all = lines(&db, r#"{app="loud"} |= "000""#).len();
    assert!(all > 0 && all < count as usize);
}
