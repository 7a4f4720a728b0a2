//! Runs the scripts in `tests/logql/`: lines are loaded, queries evaluated, answers compared; each
//! script twice, once with the lines in open blocks and once with all of them sealed.
//!
//! ```text
//! load                          lines follow, indented
//!   {app="a"} 10s some text     stream, time after the start, line (JSON string when it begins with ")
//! instant 60s QUERY             series follow: labels and value
//! range 0s 60s 30s QUERY        series follow: labels and values, _ for none
//! lines QUERY                   lines follow in order: labels and line
//! fail QUERY                    a part of the error follows
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use binnacle_logs::{Block, Config, Db, Direction, LogQuery, Matcher, Record, Value, parse};
use binnacle_proto::Labels;

/// The instant 0s: 2023-11-14T22:00:00Z.
const START: i64 = 1_699_999_200_000_000_000;
const SECOND: i64 = 1_000_000_000;

struct Command {
    line: usize,
    text: String,
    rows: Vec<String>,
}

fn commands(script: &str) -> Vec<Command> {
    let mut out: Vec<Command> = Vec::new();
    for (at, line) in script.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_prefix("  ") {
            Some(row) => out.last_mut().unwrap().rows.push(row.to_owned()),
            None => out.push(Command { line: at + 1, text: line.to_owned(), rows: Vec::new() }),
        }
    }
    out
}

/// Splits `{a="b"} rest`.
fn labelled(row: &str) -> (Labels, &str) {
    let mut rest = row.strip_prefix('{').unwrap_or_else(|| panic!("no labels in {row:?}"));
    let mut pairs = Vec::new();
    while !rest.starts_with('}') {
        let (name, tail) = rest.split_once('=').unwrap();
        let mut values = serde_json::Deserializer::from_str(tail).into_iter::<String>();
        pairs.push((name.trim_start_matches([',', ' ']).to_owned(), values.next().unwrap().unwrap()));
        rest = &tail[values.byte_offset()..];
    }
    (Labels::from_pairs(pairs).unwrap(), rest[1..].trim_start())
}

fn text(text: &str) -> String {
    if text.starts_with('"') { serde_json::from_str(text).unwrap() } else { text.to_owned() }
}

fn seconds(text: &str) -> i64 {
    let number: f64 = text.strip_suffix('s').unwrap().parse().unwrap();
    (number * SECOND as f64) as i64
}

fn number(text: &str) -> Option<f64> {
    (text != "_").then(|| text.parse().unwrap_or_else(|_| panic!("not a number: {text}")))
}

fn close(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        (None, None) => true,
        _ => false,
    }
}

fn run(path: &Path, sealed: bool) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { dir: dir.path().join("logs"), reserve_bytes: 0, ..Config::default() };
    let db = Db::open(config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut queries = 0;
    for command in commands(&std::fs::read_to_string(path).unwrap()) {
        let place = format!("{}:{} (sealed: {sealed})", path.display(), command.line);
        let (word, rest) = command.text.split_once(' ').unwrap_or((&command.text, ""));
        if word == "load" {
            let blocks = command.rows.iter().map(|row| {
                let (labels, rest) = labelled(row);
                let (time, line) = rest.split_once(' ').unwrap_or((rest, ""));
                let time_ns = START + seconds(time);
                let record =
                    Record { time_ns, line: text(line).into_bytes(), metadata: Labels::empty(), end: 0 };
                Block { labels, position: None, records: vec![record] }
            });
            let blocks: Vec<Block> = blocks.collect();
            let count = blocks.len() as u64;
            assert_eq!(
                runtime.block_on(db.append(blocks, START / 1_000_000)).unwrap().stored,
                count,
                "{place}"
            );
            if sealed {
                db.seal_all().unwrap();
            }
            continue;
        }
        queries += 1;
        let mut query = LogQuery {
            text: rest.to_owned(),
            start_ns: START,
            end_ns: START + 3600 * SECOND,
            step_ns: 0,
            limit: 1000,
            direction: Direction::Forward,
        };
        let steps: usize;
        match word {
            "instant" => {
                let (at, text) = rest.split_once(' ').unwrap();
                (query.text, query.end_ns, steps) = (text.to_owned(), START + seconds(at), 1);
            }
            "range" => {
                let words: Vec<&str> = rest.splitn(4, ' ').collect();
                query.text = words[3].to_owned();
                query.start_ns = START + seconds(words[0]);
                query.end_ns = START + seconds(words[1]);
                query.step_ns = seconds(words[2]);
                steps = ((query.end_ns - query.start_ns) / query.step_ns) as usize + 1;
            }
            "lines" => steps = 0,
            "fail" => (query.end_ns, steps) = (START + 60 * SECOND, 0),
            other => panic!("{place}: unknown command {other}"),
        }
        if word == "fail" {
            let err = db.query(&query).map(|_| ()).expect_err(&place).to_string();
            assert!(err.contains(command.rows[0].as_str()), "{place}: {err}");
            continue;
        }
        // What is printed means the same.
        query.text = parse(&query.text).unwrap_or_else(|err| panic!("{place}: {err}")).to_string();
        let value = db.query(&query).unwrap_or_else(|err| panic!("{place}: {err}")).value;
        compare(&place, &command.rows, value, &query, steps);
    }
    queries
}

fn compare(place: &str, rows: &[String], value: Value, query: &LogQuery, steps: usize) {
    match value {
        Value::Streams(streams) => {
            let mut got: Vec<(i64, Labels, String)> = streams
                .into_iter()
                .flat_map(|s| {
                    s.entries
                        .into_iter()
                        .map(move |e| (e.time_ns, s.labels.clone(), String::from_utf8(e.line).unwrap()))
                })
                .collect();
            got.sort();
            let got: Vec<(Labels, String)> =
                got.into_iter().map(|(_, labels, line)| (labels, line)).collect();
            let want: Vec<(Labels, String)> =
                rows.iter().map(|row| labelled(row)).map(|(l, t)| (l, text(t))).collect();
            assert_eq!(got, want, "{place}");
        }
        Value::Scalar(got) => assert!(close(Some(got), number(labelled(&rows[0]).1)), "{place}: {got}"),
        value => {
            let mut got: Vec<(Labels, Vec<Option<f64>>)> = match value {
                Value::Vector(samples) => {
                    samples.into_iter().map(|s| (s.labels, vec![Some(s.value)])).collect()
                }
                Value::Matrix(series) => series
                    .into_iter()
                    .map(|series| {
                        let at = |step: usize| query.start_ns + query.step_ns * step as i64;
                        let find = |time| series.points.iter().find(|(t, _)| *t == time).map(|(_, v)| *v);
                        (series.labels.clone(), (0..steps).map(|step| find(at(step))).collect())
                    })
                    .collect(),
                _ => unreachable!(),
            };
            let mut want: Vec<(Labels, Vec<Option<f64>>)> = rows
                .iter()
                .map(|row| labelled(row))
                .map(|(labels, rest)| (labels, rest.split_whitespace().map(number).collect()))
                .collect();
            if !query.text.starts_with("topk")
                && !query.text.starts_with("bottomk")
                && !query.text.starts_with("sort")
            {
                got.sort_by(|a, b| a.0.cmp(&b.0));
                want.sort_by(|a, b| a.0.cmp(&b.0));
            }
            let same = got.len() == want.len()
                && got.iter().zip(&want).all(|(a, b)| {
                    a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(|(x, y)| close(*x, *y))
                });
            assert!(same, "{place}\n got {got:?}\nwant {want:?}");
        }
    }
}

#[test]
fn scripts_evaluate_as_they_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logql");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let queries: usize = paths.iter().map(|path| run(path, false) + run(path, true)).sum();
    assert!(queries >= 400, "only {queries} queries were evaluated");
}

#[test]
fn matchers_are_public_for_those_who_select() {
    let matcher = Matcher::new("app", binnacle_logs::MatchOp::Regex, "a|b").unwrap();
    assert!(matcher.matches_value("a") && !matcher.matches_value("ab"));
}
