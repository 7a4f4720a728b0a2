//! Answers from rollups against the same answers from samples, to the last bit.

use proptest::prelude::*;

use super::*;
use crate::promql::{Engine, PlanNode, QueryOptions, RangeSeries, Value};
use crate::select::MemorySource;

/// Functions that rollups answer.
const FUNCTIONS: [&str; 15] = [
    "rate",
    "increase",
    "delta",
    "resets",
    "changes",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "first_over_time",
    "last_over_time",
    "present_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
];
const HOUR: i64 = 60 * MINUTE;

fn range(
    source: &dyn Source,
    expr: &str,
    (start_ms, end_ms, step_ms): (i64, i64, i64),
) -> (String, PlanNode) {
    let options = QueryOptions { guard: guard(), lookback: None };
    let answered = Engine::default().explain_range(source, expr, start_ms, end_ms, step_ms, &options);
    let (answer, plan) = answered.unwrap_or_else(|error| panic!("{expr}: {error}"));
    let Value::Matrix(series) = answer.value else { panic!("{expr} is no matrix") };
    (bits(&series), plan)
}

pub(super) fn explained(source: &dyn Source, expr: &str, at_ms: i64) -> PlanNode {
    let options = QueryOptions { guard: guard(), lookback: None };
    Engine::default().explain_instant(source, expr, at_ms, &options).unwrap().1
}

/// All bits of the values, NaN as NaN: which of them it is means nothing.
fn bits(series: &[RangeSeries]) -> String {
    let mut text = String::new();
    for series in series {
        text.push_str(&series.labels.to_string());
        for (t_ms, value) in series.points.timestamps.iter().zip(&series.points.values) {
            let bits = if value.is_nan() { 0 } else { value.to_bits() };
            text.push_str(&format!(" {t_ms}:{bits:x}"));
        }
        text.push('\n');
    }
    text
}

/// Compares all functions over some grids between two instants.
fn check(db: &Db, want: &MemorySource, bounds: (i64, i64)) -> Result<(), TestCaseError> {
    check_functions(db, want, bounds, &FUNCTIONS)
}

pub(super) fn check_functions(
    db: &Db,
    want: &MemorySource,
    (from, to): (i64, i64),
    functions: &[&str],
) -> Result<(), TestCaseError> {
    let day = |t_ms: i64| t_ms.div_euclid(DAY) * DAY;
    let (from, to) = (day(from), day(to) + DAY);
    for (range_text, grid) in [
        ("5m", (from + 5 * MINUTE, to, 25 * MINUTE)),
        ("35m", (from, to, 15 * MINUTE)),
        ("1d", (from, to, HOUR)),
        ("10m", (from + MINUTE, to, 20 * MINUTE)),
    ] {
        for function in functions {
            let expr = format!("{function}({{__name__=~\".+\"}}[{range_text}])");
            let (have, want) = (range(db, &expr, grid).0, range(want, &expr, grid).0);
            prop_assert_eq!(have, want, "{} over {:?}", expr, grid);
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Counter,
    CpuSeconds,
    Pages,
    Noise,
    Huge,
}

/// Distance to the sample before in seconds, and what moves the value.
type Move = (u16, u16);

fn samples(shape: Shape, moves: &[Move]) -> Vec<(i64, f64)> {
    let (mut t_ms, mut value) = (0i64, 0.0f64);
    let mut samples = Vec::new();
    for (seconds, dice) in moves {
        // Some stand exactly on the bounds of buckets, at midnight as well.
        t_ms += i64::from(*seconds) * 1000;
        if dice % 5 == 0 {
            t_ms = (t_ms / (5 * MINUTE) + 1) * 5 * MINUTE;
        }
        if dice % 97 == 0 {
            t_ms = (t_ms / DAY + 1) * DAY;
        }
        let step = f64::from(dice % 300);
        value = match shape {
            _ if dice % 31 == 1 => 0.0,
            Shape::Counter => value + step,
            Shape::CpuSeconds => ((value * 1e9).round() + step * 1e7) / 1e9,
            Shape::Pages => (value / 4096.0 + step - 150.0).round() * 4096.0,
            Shape::Noise => match dice % 40 {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => -0.0,
                _ => step * 0.1 - 7.3,
            },
            Shape::Huge => value + step * 1e13,
        };
        let stale = dice % 43 == 2;
        samples.push((t_ms, if stale { binnacle_proto::STALE_NAN } else { value }));
    }
    samples
}

fn series(at: usize) -> Labels {
    labels(&[("__name__", "m_total"), ("s", &at.to_string())])
}

fn seal(db: &Db) {
    db.core().flush_all().unwrap();
    db.maintain(1000 * DAY).unwrap();
    assert!(db.core().maintenance.lock().seals.is_idle());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rollups_answer_as_samples_do(
        all in prop::collection::vec(prop::collection::vec((1u16..1200, any::<u16>()), 1..300), 5),
        cut in 0usize..300,
        deleted in (0..2 * DAY, 0..2 * DAY),
    ) {
        let shapes = [Shape::Counter, Shape::CpuSeconds, Shape::Pages, Shape::Noise, Shape::Huge];
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(config(dir.path())).unwrap();
        let mut source = MemorySource::new();
        let mut newest_ms = 0;
        for part in 0..2 {
            for (at, (shape, moves)) in shapes.into_iter().zip(&all).enumerate() {
                let labels = series(at);
                let samples = samples(shape, moves);
                let middle = cut.min(samples.len());
                let samples = if part == 0 { &samples[..middle] } else { &samples[middle..] };
                put(&db, &labels, samples);
                samples.iter().for_each(|(t_ms, value)| source.append(labels.clone(), *t_ms, *value));
                newest_ms = samples.iter().map(|(t_ms, _)| *t_ms).fold(newest_ms, i64::max);
            }
            // First over chunks and memory, then the days of the first half sealed, the second in memory.
            check(&db, &source, (0, newest_ms))?;
            if part == 0 {
                seal(&db);
                check(&db, &source, (0, newest_ms))?;
            }
        }
        seal(&db);
        check(&db, &source, (0, newest_ms))?;
        // Late ones, in memory and flushed, and a deletion.
        for (at, moves) in all.iter().enumerate() {
            let Some((t_ms, _)) = samples(shapes[at], moves).last().copied() else { continue };
            for late_ms in [t_ms - 1, t_ms - 10 * MINUTE - 1] {
                let labels = series(at);
                if put(&db, &labels, &[(late_ms, 1.0)]).stored == 1
                    && read(&db, &[equal("s", &at.to_string())], late_ms, late_ms)[0].1[0].1 == 1.0 {
                    source.append(labels, late_ms, 1.0);
                }
            }
        }
        check(&db, &source, (0, newest_ms))?;
        db.core().flush_all().unwrap();
        check(&db, &source, (0, newest_ms))?;
        let range = TimeRange { start_ms: deleted.0.min(deleted.1), end_ms: deleted.0.max(deleted.1) };
        db.delete_series(&[vec![equal("s", "0")]], range).unwrap();
        let mut left = MemorySource::new();
        for (labels, samples) in read(&db, &[], i64::MIN, i64::MAX) {
            samples.iter().for_each(|(t_ms, value)| left.append(labels.clone(), *t_ms, *value));
        }
        check(&db, &left, (0, newest_ms))?;
        seal(&db);
        check(&db, &left, (0, newest_ms))?;
    }
}

#[test]
fn explain_says_which_rollup_answered_and_for_how_many_series() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    let minutes =
        |value: fn(i64) -> f64| -> Vec<(i64, f64)> { (0..2880).map(|i| (i * MINUTE, value(i))).collect() };
    put(&db, &series(0), &minutes(|i| i as f64));
    put(&db, &series(1), &minutes(|i| i as f64 / 3.0));
    let grid = (DAY / 2, DAY, HOUR);
    let plan = |expr: &str, grid| range(&db, expr, grid).1;
    assert_eq!(plan("increase(m_total{s='0'}[1h])", grid).rollup, None);
    seal(&db);
    let stats = db.stats();
    assert_eq!((stats.days_sealed, stats.rollup_rows), (2, 8));
    let hour = plan("increase(m_total[1h])", grid);
    assert_eq!((hour.rollup, hour.rollup_series), (Some("1h"), 2));
    assert!(hour.samples < 40, "{hour:?}");
    let sum = plan("sum_over_time(m_total[1h])", grid);
    assert_eq!((sum.rollup, sum.rollup_series), (Some("1h"), 1));
    assert_eq!(plan("rate(m_total{s='0'}[10m])", (DAY / 2, DAY, 5 * MINUTE)).rollup, Some("5m"));
    // Not on the bounds of buckets, or not to be answered from buckets.
    assert_eq!(plan("rate(m_total{s='0'}[10m])", (DAY / 2 + 1, DAY, 5 * MINUTE)).rollup, None);
    assert_eq!(plan("rate(m_total{s='0'}[7m])", grid).rollup, None);
    assert_eq!(plan("rate(m_total{s='0'}[10m])", (DAY / 2, DAY, MINUTE)).rollup, None);
    assert_eq!(plan("stddev_over_time(m_total{s='0'}[1h])", grid).rollup, None);
    // Sealed days stay sealed over a restart, and are open again after a deletion.
    db.close().unwrap();
    drop(db);
    let db = Db::open(config(dir.path())).unwrap();
    db.maintain(1001 * DAY).unwrap();
    assert_eq!((db.stats().days_sealed, db.stats().merge_passes), (0, 0));
    let first_day = TimeRange { start_ms: 0, end_ms: HOUR };
    db.delete_series(&[vec![equal("s", "1")]], first_day).unwrap();
    assert_eq!(db.stats().days_unsealed, 1);
    db.maintain(1001 * DAY).unwrap();
    let stats = db.stats();
    assert_eq!((stats.days_sealed, stats.rollup_rows), (1, 2));
    // A day of which nothing is left is forgotten at once.
    assert!(db.core().rolled_up_within(0, DAY - 1));
    let all = TimeRange { start_ms: 0, end_ms: DAY - 1 };
    db.delete_series(&[vec![equal("s", "0")], vec![equal("s", "1")]], all).unwrap();
    assert!(!db.core().rolled_up_within(0, DAY - 1));
    assert!(db.core().rolled_up_within(DAY, 2 * DAY - 1));
}
