//! What is refused, hidden or deleted by age, and what is deleted because somebody asked.

use super::*;
use crate::config::SeriesRetention;

#[test]
fn samples_in_the_future_or_before_the_retention_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        retention: Duration::from_secs(2 * 86_400),
        future_window: Duration::from_secs(600),
        ..config(dir.path())
    };
    let db = Db::open(config).unwrap();
    let series = db.resolve(&name("a")).unwrap();
    let at = |t_ms| Sample { series, t_ms, value: 1.0 };
    let now_ms = 100 * DAY;
    let samples = vec![at(now_ms - 2 * DAY - 1), at(now_ms), at(now_ms + 600_000), at(now_ms + 600_001)];
    let appended = append(&db, samples, now_ms).unwrap();
    assert_eq!((appended.stored, appended.out_of_bounds), (2, 2));
    let stats = db.stats();
    assert_eq!((stats.samples_too_old, stats.samples_too_new), (1, 1));
}

#[test]
fn retention_drops_days_and_what_is_kept_stays() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { retention: Duration::from_secs(2 * 86_400), ..config(dir.path()) };
    let db = Db::open(config.clone()).unwrap();
    let series = db.resolve(&name("a")).unwrap();
    for day in 0..4 {
        let samples = vec![Sample { series, t_ms: day * DAY + 5, value: day as f64 }];
        assert_eq!(append(&db, samples, day * DAY + 5).unwrap().stored, 1);
    }
    db.core().flush_all().unwrap();
    db.maintain(4 * DAY + 5).unwrap();
    assert_eq!(read_all(&db, "a"), [(2 * DAY + 5, 2.0), (3 * DAY + 5, 3.0)]);
    assert_eq!(db.stats().days_dropped, 2);
    db.close().unwrap();
    drop(db);
    let db = Db::open(config).unwrap();
    assert_eq!(read_all(&db, "a"), [(2 * DAY + 5, 2.0), (3 * DAY + 5, 3.0)]);
}

#[test]
fn series_with_a_rule_of_their_own_are_hidden_at_once_and_deleted_by_the_day() {
    let dir = tempfile::tempdir().unwrap();
    let rule = |selector: &str, days: u64| SeriesRetention {
        selector: selector.to_owned(),
        retention: Duration::from_secs(days * 86_400),
    };
    let config = Config {
        retention: Duration::from_secs(10 * 86_400),
        series_retention: vec![rule("a", 3), rule(r#"{__name__=~"a|c"}"#, 1)],
        ..config(dir.path())
    };
    let db = Db::open(config.clone()).unwrap();
    for day in 0..4 {
        put(&db, &name("a"), &[(day * DAY + 7, 1.0)]);
        put(&db, &name("b"), &[(day * DAY + 7, 1.0)]);
    }
    db.core().flush_all().unwrap();
    db.maintain(3 * DAY + 7).unwrap();
    // The strictest of its rules counts; the sample that is a day old to the millisecond stays.
    assert_eq!(read_all(&db, "a"), [(2 * DAY + 7, 1.0), (3 * DAY + 7, 1.0)]);
    // Who asks for later samples only is not asked for his matchers.
    let hides = |start_ms| db.core().retention.hides_from(start_ms);
    assert_eq!((hides(2 * DAY + 6), hides(2 * DAY + 7)), (true, false));
    assert_eq!(read_all(&db, "b").len(), 4);
    let days = |db: &Db, metric| {
        let days = 0..4;
        let on = |day| TimeRange { start_ms: day * DAY, end_ms: day * DAY };
        let found = |day| db.series(&[vec![equal("__name__", metric)]], on(day), 0, &guard()).unwrap().items;
        days.filter(|day| !found(*day).is_empty()).collect::<Vec<i64>>()
    };
    assert_eq!((days(&db, "a"), days(&db, "b")), (vec![2, 3], vec![0, 1, 2, 3]));
    drop(db);
    for wrong in [rule("a[5m]", 1), rule("a", 11), rule("a", 0)] {
        let config = Config { series_retention: vec![wrong], ..config.clone() };
        assert!(matches!(Db::open(config), Err(Error::BadInput(why)) if why.contains("series_retention")));
    }
}

#[test]
fn deletion_takes_samples_then_the_series_and_it_can_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(config(dir.path())).unwrap();
    let samples: Vec<(i64, f64)> = (0..10).map(|i| (i * MINUTE, i as f64)).collect();
    put(&db, &name("a"), &samples);
    put(&db, &name("b"), &samples);
    let only_a = [vec![equal("__name__", "a")]];
    db.delete_series(&only_a, TimeRange { start_ms: 2 * MINUTE, end_ms: 8 * MINUTE }).unwrap();
    assert_eq!(read_all(&db, "a"), [samples[0], samples[1], samples[9]]);
    db.delete_series(&only_a, TimeRange::ALL).unwrap();
    assert_eq!(read_all(&db, "a"), []);
    assert_eq!(read_all(&db, "b"), samples);
    let names =
        db.label_values("__name__", &[], TimeRange { start_ms: 0, end_ms: DAY }, 0, &guard()).unwrap();
    assert!(names.items.contains(&"b".to_owned()));
    assert_eq!(db.series(&only_a, TimeRange::ALL, 0, &guard()).unwrap().items, []);
    put(&db, &name("a"), &samples[..1]);
    assert_eq!(read_all(&db, "a"), samples[..1]);
    db.close().unwrap();
    drop(db);
    let db = Db::open(config(dir.path())).unwrap();
    assert_eq!(read_all(&db, "a"), samples[..1]);
}
