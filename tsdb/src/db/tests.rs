#![expect(clippy::disallowed_methods, reason = "a guard needs an instant")]

mod fixture;
mod merge;
mod model;
mod retention;
mod rollup;

use std::time::{Duration, Instant};

use super::*;
use crate::select::{Guard, GuardLimits, Hints, MatchTest, Points, Select, Source};

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;

fn config(dir: &Path) -> Config {
    Config {
        dir: dir.to_owned(),
        retention: Duration::ZERO,
        future_window: Duration::ZERO,
        write_buffer_bytes: 1 << 20,
        block_cache_bytes: 1 << 20,
        ..Config::default()
    }
}

fn guard() -> Guard {
    Guard::new(GuardLimits::default(), Instant::now())
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

fn name(metric: &str) -> Labels {
    labels(&[("__name__", metric)])
}

fn equal(name: &str, value: &str) -> Matcher {
    Matcher { name: name.into(), test: MatchTest::Equal(value.into()) }
}

fn append(db: &Db, samples: Vec<Sample>, now_ms: i64) -> Result<Appended, Error> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(db.append(samples, now_ms))
}

fn put(db: &Db, labels: &Labels, samples: &[(i64, f64)]) -> Appended {
    let series = db.resolve(labels).unwrap();
    let samples = samples.iter().map(|(t_ms, value)| Sample { series, t_ms: *t_ms, value: *value });
    append(db, samples.collect(), 0).unwrap()
}

/// Samples of all series that match, with the warnings.
fn read(db: &Db, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Vec<(Labels, Vec<(i64, f64)>)> {
    let select = Select { matchers: matchers.to_vec(), start_ms, end_ms, hints: Hints::default() };
    let guard = guard();
    let selected = db.select(&select, &guard).unwrap();
    let mut all = Vec::new();
    for (at, labels) in selected.series.iter().enumerate() {
        let mut points = Points::default();
        selected.reader.read(at, &guard, &mut points).unwrap();
        let samples: Vec<_> = points.timestamps.into_iter().zip(points.values).collect();
        if !samples.is_empty() {
            all.push((labels.clone(), samples));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn read_all(db: &Db, metric: &str) -> Vec<(i64, f64)> {
    let mut found = read(db, &[equal("__name__", metric)], i64::MIN, i64::MAX);
    assert!(found.len() <= 1, "{found:?}");
    found.pop().map(|(_, samples)| samples).unwrap_or_default()
}

#[test]
fn what_was_appended_is_there_before_and_after_a_flush_a_restart_and_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let samples: Vec<(i64, f64)> = (-10..50).map(|i| (i * 15_000, i as f64)).collect();
    {
        let db = Db::open(config(dir.path())).unwrap();
        assert_eq!(put(&db, &name("a"), &samples[..30]).stored, 30);
        assert_eq!(read_all(&db, "a"), samples[..30]);
        // Dropped without `close`: nothing is flushed.
    }
    {
        let db = Db::open(config(dir.path())).unwrap();
        assert_eq!(read_all(&db, "a"), samples[..30]);
        put(&db, &name("a"), &samples[30..40]);
        db.close().unwrap();
        assert!(append(&db, vec![Sample { series: SeriesRef(0), t_ms: 0, value: 0.0 }], 0).is_err());
    }
    let db = Db::open(config(dir.path())).unwrap();
    assert_eq!(db.stats().wal_records, 0);
    assert_eq!(read_all(&db, "a"), samples[..40]);
    put(&db, &name("a"), &samples[40..]);
    assert_eq!(read_all(&db, "a"), samples);
    assert_eq!(db.stats().head_series, 1);
}

#[test]
fn repeated_conflicting_late_and_too_old_samples_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    put(&db, &name("a"), &[(0, 1.0), (100 * MINUTE, 2.0)]);
    let appended = put(
        &db,
        &name("a"),
        &[
            (100 * MINUTE, 2.0),
            (100 * MINUTE, 3.0),
            (50 * MINUTE, 4.0),
            (50 * MINUTE, 4.0),
            (50 * MINUTE, 5.0),
            (39 * MINUTE, 6.0),
            (101 * MINUTE, f64::NAN),
        ],
    );
    let want = Appended { stored: 2, repeated: 2, conflicting: 2, out_of_bounds: 1, unknown_series: 0 };
    assert_eq!(appended, want);
    assert_eq!(read_all(&db, "a")[..3], [(0, 1.0), (50 * MINUTE, 4.0), (100 * MINUTE, 2.0)]);
    let stats = db.stats();
    assert_eq!((stats.samples_out_of_order, stats.samples_too_old, stats.samples_conflicting), (1, 1, 2));
    // Late again, after the flush, over the chunks: the first value stays.
    db.core().flush_all().unwrap();
    put(&db, &name("a"), &[(50 * MINUTE, 9.0), (51 * MINUTE, 7.0)]);
    assert_eq!(read_all(&db, "a")[1..3], [(50 * MINUTE, 4.0), (51 * MINUTE, 7.0)]);
    db.core().flush_all().unwrap();
    assert_eq!(read_all(&db, "a")[1..3], [(50 * MINUTE, 4.0), (51 * MINUTE, 7.0)]);
}

#[test]
fn the_newest_sample_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    put(&db, &name("a"), &[(0, 1.0), (200 * MINUTE, 2.0)]);
    db.close().unwrap();
    drop(db);
    let db = Db::open(config(dir.path())).unwrap();
    let appended = put(&db, &name("a"), &[(200 * MINUTE, 2.0), (200 * MINUTE, 3.0), (MINUTE, 1.0)]);
    assert_eq!((appended.repeated, appended.conflicting, appended.out_of_bounds), (1, 1, 1));
}

#[test]
fn idle_series_leave_memory_and_come_back_under_the_same_reference() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(Config { flush_after: Duration::ZERO, ..config(dir.path()) }).unwrap();
    let series = db.resolve(&name("a")).unwrap();
    append(&db, vec![Sample { series, t_ms: 1000, value: 1.0 }], 1000).unwrap();
    db.maintain(2000).unwrap();
    db.maintain(5 * 60 * MINUTE).unwrap();
    assert_eq!((db.stats().head_series, db.stats().series_evicted), (0, 1));
    assert_eq!(read_all(&db, "a"), [(1000, 1.0)]);
    // By the reference that was kept, and by the labels.
    append(&db, vec![Sample { series, t_ms: 2000, value: 2.0 }], 2000).unwrap();
    assert_eq!(db.resolve(&name("a")).unwrap(), series);
    assert_eq!(read_all(&db, "a"), [(1000, 1.0), (2000, 2.0)]);
    // A reference that nothing was ever stored for.
    let unknown = vec![Sample { series: SeriesRef(77), t_ms: 2000, value: 2.0 }];
    assert_eq!(append(&db, unknown, 2000).unwrap().unknown_series, 1);
}

#[test]
fn the_same_labels_under_two_ids_are_one_series() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(Config { flush_after: Duration::ZERO, ..config(dir.path()) }).unwrap();
    put(&db, &name("a"), &[(1000, 1.0)]);
    // Other days come between, so that the series is not looked for on its own.
    for day in 1..4 {
        put(&db, &name("b"), &[(day * DAY, 1.0)]);
        db.maintain(day * DAY).unwrap();
    }
    assert_eq!(db.stats().head_series, 0);
    put(&db, &name("a"), &[(3 * DAY + 7, 2.0)]);
    assert_eq!(read_all(&db, "a"), [(1000, 1.0), (3 * DAY + 7, 2.0)]);
    assert_eq!(
        db.series(&[vec![equal("__name__", "a")]], TimeRange::ALL, 0, &guard()).unwrap().items.len(),
        1
    );
}

#[test]
fn label_apis_answer_from_memory_and_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    put(&db, &labels(&[("__name__", "a"), ("pod", "x")]), &[(0, 1.0)]);
    db.core().flush_all().unwrap();
    put(&db, &labels(&[("__name__", "a"), ("pod", "y"), ("zone", "é")]), &[(2 * DAY, 1.0)]);
    put(&db, &labels(&[("__name__", "b"), ("job", "j")]), &[(2 * DAY, 1.0)]);
    let sets = [vec![equal("__name__", "a")]];
    let all = TimeRange::ALL;
    let later = TimeRange { start_ms: 2 * DAY, end_ms: 3 * DAY };
    for _ in 0..2 {
        assert_eq!(db.label_names(&[], all, 0, &guard()).unwrap().items, ["__name__", "job", "pod", "zone"]);
        assert_eq!(db.label_names(&sets, all, 0, &guard()).unwrap().items, ["__name__", "pod", "zone"]);
        assert_eq!(db.label_values("pod", &[], all, 0, &guard()).unwrap().items, ["x", "y"]);
        assert_eq!(db.label_values("zone", &sets, later, 0, &guard()).unwrap().items, ["é"]);
        let cut = db.label_values("__name__", &[], all, 1, &guard()).unwrap();
        assert_eq!((cut.items, cut.truncated), (vec!["a".to_owned()], true));
        let found = db.series(&sets, later, 0, &guard()).unwrap().items;
        assert_eq!(found, [labels(&[("__name__", "a"), ("pod", "y"), ("zone", "é")])]);
        assert_eq!(db.series(&[], all, 0, &guard()).unwrap().items.len(), 3);
        db.core().flush_all().unwrap();
    }
    let status = db.tsdb_status(1);
    assert_eq!(status.num_series, 3);
    assert_eq!(status.series_by_metric, [("a".to_owned(), 2)]);
    assert_eq!(status.values_by_label, [("__name__".to_owned(), 2)]);
}

#[test]
fn the_series_budget_refuses_new_series_and_known_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(Config { max_series: 1, ..config(dir.path()) }).unwrap();
    put(&db, &name("a"), &[(0, 1.0)]);
    assert!(matches!(db.resolve(&name("b")), Err(Error::SeriesLimit { limit: 1, .. })));
    assert_eq!(put(&db, &name("a"), &[(1, 1.0)]).stored, 1);
    assert_eq!(db.stats().series_refused, 1);
    let many = Labels::from_pairs((0..65).map(|i| (format!("l{i}"), "x"))).unwrap();
    assert!(matches!(db.resolve(&many), Err(Error::BadInput(_))));
}

#[test]
fn a_namespace_or_job_has_a_budget_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_series_per_namespace: 2, max_series_per_job: 3, ..config(dir.path()) };
    let db = Db::open(config).unwrap();
    let of = |namespace: &str, job: &str, pod: &str| {
        labels(&[("__name__", "up"), ("namespace", namespace), ("job", job), ("pod", pod)])
    };
    for pod in ["1", "2"] {
        db.resolve(&of("a", "j", pod)).unwrap();
    }
    let refused = db.resolve(&of("a", "j", "3")).unwrap_err().to_string();
    assert!(
        refused.contains(r#"2 series are active (tsdb.max_series_per_namespace, namespace="a")"#),
        "{refused}"
    );
    // Known ones and other namespaces go on, until the job's budget is used up as well.
    db.resolve(&of("a", "j", "1")).unwrap();
    db.resolve(&of("b", "j", "1")).unwrap();
    let refused = db.resolve(&of("c", "j", "1")).unwrap_err().to_string();
    assert!(refused.contains(r#"3 series are active (tsdb.max_series_per_job, job="j")"#), "{refused}");
    db.resolve(&name("without")).unwrap();
    let stats = db.stats();
    let by_budget = (stats.series_refused_namespace, stats.series_refused_job, stats.series_refused_global);
    assert_eq!((stats.series_refused, by_budget), (2, (1, 1, 0)));
    // Somebody else made it since it was looked for: there is nothing to refuse.
    let there = of("a", "j", "2");
    db.core().check_budgets(&there, there.stable_hash()).unwrap();
    assert_eq!(db.stats().series_refused, 2);
}

#[test]
fn a_cached_label_block_is_parsed_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    let first = db.resolve_cached(b"raw block", || Ok(name("a"))).unwrap();
    let again = db.resolve_cached(b"raw block", || panic!("parsed again")).unwrap();
    assert_eq!(first, again);
    let other = db.resolve_cached(b"another", || Ok(name("b"))).unwrap();
    assert_ne!(first, other);
    let failed = db.resolve_cached(b"bad", || Err(Error::BadInput("no".into())));
    assert!(matches!(failed, Err(Error::BadInput(_))));
}

#[test]
fn a_snapshot_opens_like_the_database_it_was_taken_from() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(&dir.path().join("live"))).unwrap();
    put(&db, &name("a"), &[(0, 1.0)]);
    db.core().flush_all().unwrap();
    put(&db, &name("a"), &[(1, 2.0)]);
    db.snapshot(&dir.path().join("copy")).unwrap();
    put(&db, &name("a"), &[(2, 3.0)]);
    let copy = Db::open(config(&dir.path().join("copy"))).unwrap();
    assert_eq!(read_all(&copy, "a"), [(0, 1.0), (1, 2.0)]);
    assert!(db.snapshot(&dir.path().join("copy")).is_err());
}

#[test]
fn a_corrupt_chunk_is_counted_skipped_and_the_answer_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    put(&db, &name("a"), &[(0, 1.0), (1, 2.0)]);
    db.core().flush_all().unwrap();
    put(&db, &name("a"), &[(2, 3.0)]);
    let chunk = db.core().store.chunks(crate::day::Day(0), 0).unwrap().remove(0);
    let mut batch = db.core().store.batch().unwrap();
    let mut bytes = chunk.bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    batch.put_chunk(crate::day::Day(0), 0, chunk.t0_ms, chunk.generation, &bytes);
    db.core().store.write(batch).unwrap();
    assert_eq!(read_all(&db, "a"), [(2, 3.0)]);
    assert_eq!(db.stats().chunks_corrupt, 1);
    let engine = crate::Engine::new(crate::EngineConfig::default());
    let options = crate::QueryOptions { guard: guard(), lookback: None };
    let answer = engine.instant(&db, "a", 2, &options).unwrap();
    assert_eq!(answer.warnings.len(), 1);
    let want = "data of 1970-01-01 is corrupt on disk, samples are missing: ";
    assert!(answer.warnings[0].starts_with(want), "{answer:?}");
}

#[test]
fn the_head_stays_within_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(Config { head_bytes: 64 << 10, ..config(dir.path()) }).unwrap();
    let series: Vec<_> = (0..500).map(|i| db.resolve(&name(&format!("m{i}"))).unwrap()).collect();
    for t in 0..200i64 {
        let samples = series.iter().map(|s| Sample { series: *s, t_ms: t * 15_000, value: (t * t) as f64 });
        append(&db, samples.collect(), 0).unwrap();
    }
    // The flush thread works on its own; what it has begun it finishes here.
    db.core().flush_to_budget().unwrap();
    let stats = db.stats();
    assert!(stats.head_chunk_bytes <= 64 << 10, "{stats:?}");
    assert!(stats.flushes > 0);
    let want: Vec<_> = (0..200i64).map(|t| (t * 15_000, (t * t) as f64)).collect();
    assert_eq!(read_all(&db, "m7"), want);
    drop(db);
    let db = Db::open(Config { head_bytes: 64 << 10, ..config(dir.path()) }).unwrap();
    for i in [0, 7, 499] {
        assert_eq!(read_all(&db, &format!("m{i}")), want);
    }
}

#[test]
fn the_replay_tells_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    for at in 0..5 {
        put(&db, &name("a"), &[(at, 1.0)]);
    }
    drop(db);
    let progress = std::sync::Arc::new(ReplayProgress::default());
    assert_eq!(progress.state(), ReplayState::Waiting);
    let db = Db::open_watched(config(dir.path()), progress.clone()).unwrap();
    assert_eq!((progress.state(), progress.first(), progress.last()), (ReplayState::Done, 1, 5));
    assert_eq!(db.replay_progress().current(), 5);
}
