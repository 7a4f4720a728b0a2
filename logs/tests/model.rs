//! The store against a model: any sequence of appends, seals, restarts and deletes of time leaves
//! exactly the records that the rules say.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use binnacle_logs::{Block, Config, Db, Direction, LogQuery, Position, Record, Value};
use binnacle_proto::Labels;
use proptest::prelude::*;

const NOW_MS: i64 = 1_700_000_000_000;
const NOW: i64 = NOW_MS * 1_000_000;

#[derive(Debug, Clone)]
enum Op {
    /// Stream, then (time, line) of records.
    Push(u8, Vec<(u8, u8)>),
    /// Source, then how many records follow, and how many of the last ones come again.
    Read(u8, u8, u8),
    Seal,
    Maintain,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..3, prop::collection::vec((0u8..20, 0u8..4), 1..6)).prop_map(|(s, r)| Op::Push(s, r)),
        4 => (0u8..3, 1u8..6, 0u8..6).prop_map(|(s, n, again)| Op::Read(s, n, again)),
        1 => Just(Op::Seal),
        1 => Just(Op::Maintain),
        1 => Just(Op::Restart),
    ]
}

fn labels(kind: &str, n: u8) -> Labels {
    Labels::from_pairs([("kind", kind), ("n", n.to_string().as_str())]).unwrap()
}

fn all(db: &Db, direction: Direction) -> Vec<(String, i64, String)> {
    let query = LogQuery {
        text: r#"{kind=~".+"}"#.into(),
        start_ns: NOW - 1_000_000_000,
        end_ns: NOW + 1_000_000_000,
        step_ns: 0,
        limit: 5000,
        direction,
    };
    let Value::Streams(streams) = db.query(&query).unwrap().value else { panic!("not lines") };
    let mut out = Vec::new();
    for stream in streams {
        let times: Vec<i64> = stream.entries.iter().map(|entry| entry.time_ns).collect();
        let ordered =
            if direction == Direction::Forward { times.is_sorted() } else { times.iter().rev().is_sorted() };
        assert!(ordered, "{times:?}");
        let key = stream.labels.to_string();
        out.extend(
            stream.entries.into_iter().map(|e| (key.clone(), e.time_ns, String::from_utf8(e.line).unwrap())),
        );
    }
    out.sort();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_appended_is_there_once(ops in prop::collection::vec(op(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            dir: dir.path().join("logs"), reserve_bytes: 0, block_bytes: 200, open_bytes: 2000, ..Config::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut db = Db::open(config.clone()).unwrap();
        let mut model: Vec<(String, i64, String)> = Vec::new();
        let mut read: BTreeMap<u8, u64> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Push(stream, records) => {
                    let labels = labels("push", stream);
                    let mut fresh = 0;
                    for (time, line) in &records {
                        let record = (labels.to_string(), NOW + i64::from(*time), format!("line {line}"));
                        if !model.contains(&record) {
                            model.push(record);
                            fresh += 1;
                        }
                    }
                    let records = records.iter().map(|(time, line)| Record {
                        time_ns: NOW + i64::from(*time), line: format!("line {line}").into_bytes(), metadata: Labels::empty(), end: 0,
                    });
                    let block = Block { labels, position: None, records: records.collect() };
                    let done = runtime.block_on(db.append(vec![block], NOW_MS)).unwrap();
                    prop_assert_eq!(done.stored, fresh);
                }
                Op::Read(source, count, again) => {
                    let labels = labels("read", source);
                    let at = read.entry(source).or_default();
                    let begin = at.saturating_sub(u64::from(again));
                    let end = *at + u64::from(count);
                    let records = (begin + 1..=end).map(|offset| Record {
                        time_ns: NOW + (offset as i64 / 3), line: b"same".to_vec(), metadata: Labels::empty(), end: offset,
                    });
                    let position = Position { node: "n".into(), source: source.to_string(), end };
                    let block = Block { labels: labels.clone(), position: Some(position), records: records.collect() };
                    let done = runtime.block_on(db.append(vec![block], NOW_MS)).unwrap();
                    prop_assert_eq!((done.stored, done.repeated), (u64::from(count), *at - begin));
                    model.extend((*at + 1..=end).map(|offset| (labels.to_string(), NOW + (offset as i64 / 3), "same".to_owned())));
                    *at = end;
                }
                Op::Seal => db.seal_all().unwrap(),
                Op::Maintain => db.maintain(NOW_MS).unwrap(),
                Op::Restart => {
                    db.close().unwrap();
                    drop(db);
                    db = Db::open(config.clone()).unwrap();
                }
            }
            model.sort();
            prop_assert_eq!(&all(&db, Direction::Forward), &model);
        }
        prop_assert_eq!(&all(&db, Direction::Backward), &model);
    }
}
