//! The database against a map that does the same by the book.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::select::MemorySource;

const SERIES: usize = 3;
const WINDOW: i64 = 60 * MINUTE;

#[derive(Debug, Clone)]
enum Step {
    /// Series, time, value.
    Append(Vec<(usize, i64, u8)>),
    Flush,
    Merge,
    Seal,
    Crash,
    Restart,
    Evict,
    /// Series, first and last instant.
    Delete(usize, i64, i64),
    /// First and last instant.
    Query(i64, i64),
}

fn instant() -> impl Strategy<Value = i64> {
    // Around two midnights, also that of the epoch.
    prop_oneof![-90 * MINUTE..90 * MINUTE, DAY - 90 * MINUTE..DAY + 90 * MINUTE].prop_map(|t| t / 1000 * 1000)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((0..SERIES, instant(), 0u8..3), 1..30).prop_map(Step::Append),
        3 => prop::collection::vec((0..SERIES, instant(), 0u8..3), 20..60).prop_map(|mut samples| {
            samples.sort_by_key(|(_, t_ms, _)| *t_ms);
            Step::Append(samples)
        }),
        3 => Just(Step::Flush),
        2 => Just(Step::Merge),
        2 => Just(Step::Seal),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
        1 => Just(Step::Evict),
        1 => (0..SERIES, instant(), instant()).prop_map(|(s, a, b)| Step::Delete(s, a.min(b), a.max(b))),
        3 => (instant(), instant()).prop_map(|(a, b)| Step::Query(a.min(b), a.max(b))),
    ]
}

#[derive(Default)]
struct Model {
    samples: [BTreeMap<i64, f64>; SERIES],
    newest: [Option<i64>; SERIES],
}

impl Model {
    fn source(&self) -> MemorySource {
        let mut source = MemorySource::new();
        for (series, samples) in self.samples.iter().enumerate() {
            samples.iter().for_each(|(t_ms, value)| source.append(metric(series), *t_ms, *value));
        }
        source
    }
}

fn metric(series: usize) -> Labels {
    labels(&[("__name__", "m"), ("series", &series.to_string())])
}

fn check(db: &Db, model: &Model, start_ms: i64, end_ms: i64) -> Result<(), TestCaseError> {
    let found = read(db, &[equal("__name__", "m")], start_ms, end_ms);
    let mut want = Vec::new();
    for (series, samples) in model.samples.iter().enumerate() {
        let samples: Vec<_> = samples.range(start_ms..=end_ms).map(|(t_ms, value)| (*t_ms, *value)).collect();
        if !samples.is_empty() {
            want.push((metric(series), samples));
        }
    }
    prop_assert_eq!(found, want);
    Ok(())
}

/// Appends to both. What the database stores or repeats must be so in the model; a sample that the
/// model has already, in a chunk, may be reported as stored and must change nothing.
fn append_both(db: &Db, model: &mut Model, samples: &[(usize, i64, u8)]) -> Result<(), TestCaseError> {
    let mut refused = 0;
    for (series, t_ms, value) in samples {
        let newest = model.newest[*series];
        if newest.is_some_and(|newest| *t_ms < newest - WINDOW) {
            refused += 1;
            continue;
        }
        model.samples[*series].entry(*t_ms).or_insert(f64::from(*value));
        model.newest[*series] = Some(newest.map_or(*t_ms, |newest| newest.max(*t_ms)));
    }
    let refs: Vec<_> = (0..SERIES).map(|series| db.resolve(&metric(series)).unwrap()).collect();
    let samples = samples.iter().map(|(series, t_ms, value)| Sample {
        series: refs[*series],
        t_ms: *t_ms,
        value: f64::from(*value),
    });
    let samples: Vec<_> = samples.collect();
    let number = samples.len() as u64;
    let appended = append(db, samples, 0).unwrap();
    prop_assert_eq!(appended.out_of_bounds, refused);
    prop_assert_eq!(appended.unknown_series, 0);
    let all = appended.stored + appended.repeated + appended.conflicting + appended.out_of_bounds;
    prop_assert_eq!(all, number);
    Ok(())
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let open = || Db::open(Config { series_idle: Duration::from_secs(1), ..config(dir.path()) }).unwrap();
    let mut db = open();
    let mut model = Model::default();
    let mut now_ms = 0;
    for step in steps {
        match step {
            Step::Append(samples) => append_both(&db, &mut model, samples)?,
            Step::Flush => db.core().flush_all().unwrap(),
            Step::Merge => {
                db.core().look_for_work().unwrap();
                db.maintain(now_ms).unwrap();
            }
            Step::Seal => {
                db.core().flush_all().unwrap();
                // Not all of maintenance: that would let idle series go as well.
                db.core().seal_due(10 * DAY).unwrap();
                rollup::check_functions(
                    &db,
                    &model.source(),
                    (-DAY, 2 * DAY),
                    &["increase", "sum_over_time"],
                )?;
            }
            Step::Crash | Step::Restart => {
                if matches!(step, Step::Restart) {
                    db.close().unwrap();
                }
                drop(db);
                db = open();
            }
            Step::Evict => {
                now_ms += DAY;
                db.core().flush_all().unwrap();
                db.maintain(now_ms).unwrap();
                prop_assert_eq!(db.stats().head_series, 0);
            }
            Step::Delete(series, start_ms, end_ms) => {
                let matchers = vec![equal("series", &series.to_string())];
                let range = TimeRange { start_ms: *start_ms, end_ms: *end_ms };
                db.delete_series(&[matchers], range).unwrap();
                let samples = &mut model.samples[*series];
                samples.retain(|t_ms, _| !(*start_ms..=*end_ms).contains(t_ms));
                check(&db, &model, i64::MIN, i64::MAX)?;
                let samples = &mut model.samples[*series];
                // How far back the window reaches after a deletion is not promised: start anew.
                if model.newest[*series].is_some() {
                    db.delete_series(&[vec![equal("series", &series.to_string())]], TimeRange::ALL).unwrap();
                    samples.clear();
                    db.close().unwrap();
                    drop(db);
                    db = open();
                    model.newest[*series] = None;
                }
            }
            Step::Query(start_ms, end_ms) => check(&db, &model, *start_ms, *end_ms)?,
        }
    }
    rollup::check_functions(&db, &model.source(), (-DAY, 2 * DAY), &["increase", "sum_over_time"])?;
    check(&db, &model, i64::MIN, i64::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_database_does_what_the_model_does(steps in prop::collection::vec(step(), 1..30)) {
        run(&steps)?;
    }
}

#[test]
fn samples_that_were_refused_do_not_come_back_after_a_deletion_and_a_restart() {
    // The refused sample is of another day than the newest, so that the log defines the series again.
    let steps = [
        Step::Append(vec![(0, DAY - 80 * MINUTE, 1), (0, DAY + MINUTE, 1)]),
        Step::Flush,
        Step::Append(vec![(0, DAY - 70 * MINUTE, 2)]),
        Step::Delete(0, 0, 2 * DAY),
    ];
    run(&steps).unwrap();
}
