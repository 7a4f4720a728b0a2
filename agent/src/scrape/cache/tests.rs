//! Series that come, change, end and come again.

use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::is_stale;

use super::super::body::Body;
use super::super::config::Job;
use super::super::exposition::Format;
use super::super::relabel::{Rule, Written};
use super::*;

fn target(change: impl FnOnce(&mut Job)) -> Target {
    let mut job = Job::of_pods("j", Duration::from_secs(15));
    change(&mut job);
    let found = Labels::from_pairs([("__address__", "h:1")]).unwrap();
    Target::new(&Arc::new(job), &found).unwrap().unwrap()
}

fn cache() -> Cache {
    Cache::new(Room::new(100))
}

/// What a scrape gives: time, series without the target's labels, value (`None` ends it).
type Shown = Vec<(i64, String, Option<f64>)>;

fn take(cache: &mut Cache, target: &Target, text: &str, t_ms: i64) -> Result<(Shown, Counts), Failure> {
    let mut body = Body::new(&Room::new(1 << 20), (1 << 20, "of the test"));
    body.extend(text.as_bytes()).unwrap();
    let fetched = Fetched { format: Format::Text, body };
    let mut counts = Counts::default();
    let rounds = cache.take(target, &fetched, t_ms, &mut counts)?;
    Ok((shown(rounds), counts))
}

fn shown(rounds: Vec<Round>) -> Shown {
    let of = |round: Round| {
        round.samples.into_iter().map(move |(series, value)| {
            let name = series.labels().filtered(|name| name != "job" && name != "instance").to_string();
            (round.t_ms, name, Some(value).filter(|value| !is_stale(*value)))
        })
    };
    rounds.into_iter().flat_map(of).collect()
}

#[test]
fn a_series_that_vanishes_ends_and_may_come_again() {
    let (target, mut cache) = (target(|_| ()), cache());
    let (first, counts) = take(&mut cache, &target, "a 1\nb{x=\"1\"} 2\n", 10).unwrap();
    assert_eq!(first, [(10, "a".to_owned(), Some(1.0)), (10, r#"b{x="1"}"#.to_owned(), Some(2.0))]);
    assert_eq!((counts.scraped, counts.kept, counts.added), (2, 2, 2));
    let (second, counts) = take(&mut cache, &target, "a 3\n", 20).unwrap();
    assert_eq!(second, [(20, "a".to_owned(), Some(3.0)), (20, r#"b{x="1"}"#.to_owned(), None)]);
    assert_eq!((counts.scraped, counts.added), (1, 0));
    let (third, _) = take(&mut cache, &target, "a 4\n", 30).unwrap();
    assert_eq!(third.len(), 1, "it ends once");
    for t_ms in [40, 50] {
        take(&mut cache, &target, "a 4\n", t_ms).unwrap();
    }
    assert_eq!((cache.lines.len(), cache.room.used()), (1, 1), "it is forgotten");
    let (again, counts) = take(&mut cache, &target, "b{x=\"1\"} 2\na 4\n", 60).unwrap();
    assert_eq!((again.len(), counts.added), (2, 1));
}

#[test]
fn a_failed_scrape_ends_all_and_takes_nothing() {
    let (target, mut cache) = (target(|_| ()), cache());
    take(&mut cache, &target, "a 1\nb 2\n", 10).unwrap();
    let failure = take(&mut cache, &target, "a 1\nb two\n", 20).unwrap_err();
    assert!(failure.name == "malformed" && failure.text.contains("line 2"), "{failure:?}");
    let ended = shown(vec![cache.end(20)]);
    assert_eq!(ended, [(20, "a".to_owned(), None), (20, "b".to_owned(), None)]);
    assert!(cache.end(30).samples.is_empty(), "they end once");
    let (back, counts) = take(&mut cache, &target, "a 1\nb 2\n", 40).unwrap();
    assert_eq!((back.len(), counts.added), (2, 0));
}

#[test]
fn what_a_failed_scrape_brought_holds_no_room() {
    let (target, mut cache) = (target(|_| ()), cache());
    take(&mut cache, &target, "a 1\n", 10).unwrap();
    for round in 0..200 {
        take(&mut cache, &target, &format!("a 1\nb{{run=\"{round}\"}} 1\nb two\n"), 20).unwrap_err();
        cache.end(20);
    }
    assert_eq!((cache.lines.len(), cache.room.used(), cache.by_labels.len()), (1, 1, 1));
    let (again, counts) = take(&mut cache, &target, "a 1\nb{run=\"0\"} 1\n", 30).unwrap();
    assert_eq!((again.len(), counts.added), (2, 1));
}

#[test]
fn times_that_the_target_says_are_kept_and_do_not_end() {
    let text = "a 1 5\nb 2\n";
    let (honest, mut first) = (target(|_| ()), cache());
    let (samples, _) = take(&mut first, &honest, text, 10).unwrap();
    assert_eq!(samples, [(10, "b".to_owned(), Some(2.0)), (5, "a".to_owned(), Some(1.0))]);
    let (samples, _) = take(&mut first, &honest, "b 2\n", 20).unwrap();
    assert_eq!(samples.len(), 1, "a series with times of its own gets no marker");
    let (own, mut second) = (target(|job| job.honor_timestamps = false), cache());
    let (samples, _) = take(&mut second, &own, text, 10).unwrap();
    assert!(samples.iter().all(|(t_ms, _, _)| *t_ms == 10));
}

#[test]
fn relabelling_drops_and_merges_lines() {
    let some = |text: &str| Some(text.to_owned());
    let drop = Written {
        source_labels: Some(vec!["__name__".to_owned()]),
        regex: some("go_.*"),
        action: some("drop"),
        ..Written::default()
    };
    let merge = Written { regex: some("x"), action: some("labeldrop"), ..Written::default() };
    let target =
        target(|job| job.metric_relabel = [drop, merge].iter().map(|w| Rule::new(w).unwrap()).collect());
    let mut cache = cache();
    let (samples, counts) = take(&mut cache, &target, "go_a 1\nb{x=\"1\"} 1\nb{x=\"2\"} 2\n", 10).unwrap();
    assert_eq!(samples, [(10, "b".to_owned(), Some(1.0))]);
    assert_eq!((counts.scraped, counts.kept, counts.duplicates), (3, 1, 1));
    // Another line of the same series goes on for it.
    let (samples, _) = take(&mut cache, &target, "b{x=\"2\"} 2\n", 20).unwrap();
    assert_eq!(samples, [(20, "b".to_owned(), Some(2.0))]);
}

#[test]
fn every_limit_fails_the_scrape_by_its_name() {
    let long = "a{label_of_some_length=\"a value of some length\"} 1\nb 1\n";
    let cases: Vec<(Target, &str)> = vec![
        (target(|job| job.limits.samples = 1), "sample_limit"),
        (target(|job| job.limits.labels = 3), "label_limit"),
        (target(|job| job.limits.label_name_length = 10), "label_name_length_limit"),
        (target(|job| job.limits.label_value_length = 10), "label_value_length_limit"),
    ];
    for (target, limit) in cases {
        let failure = take(&mut cache(), &target, long, 10).unwrap_err();
        assert!(failure.text.contains(limit), "{failure:?}");
    }
    let room = Room::new(1);
    let failure = take(&mut Cache::new(room.clone()), &target(|_| ()), long, 10).unwrap_err();
    assert_eq!((failure.name, room.used()), ("max_series", 0), "room is given back");
}

#[test]
fn an_exemplar_is_taken_once_and_a_bad_one_counted() {
    let (target, mut cache) = (target(|_| ()), cache());
    let mut take = |line: &str, t_ms: i64| {
        let mut body = Body::new(&Room::new(1 << 20), (1 << 20, "of the test"));
        body.extend(format!("# TYPE a counter\n{line}\n# EOF\n").as_bytes()).unwrap();
        let fetched = Fetched { format: Format::OpenMetrics, body };
        let mut counts = Counts::default();
        let rounds = cache.take(&target, &fetched, t_ms, &mut counts).unwrap();
        let shown =
            rounds[0].exemplars.iter().map(|e| format!("{} {} {} {}", e.series, e.labels, e.value, e.t_ms));
        (shown.collect::<Vec<_>>(), counts.bad_exemplars)
    };
    let series = r#"a_total{instance="h:1", job="j", x="1"}"#;
    let first = r#"a_total{x="1"} 1 # {trace_id="abc",span="\"1"} 0.5 1.5"#;
    assert_eq!(take(first, 10), (vec![format!(r#"{series} {{span="\"1", trace_id="abc"}} 0.5 1500"#)], 0));
    assert_eq!(take(first, 20), (vec![], 0));
    assert_eq!(take(r#"a_total{x="1"} 2 # {} 2"#, 30), (vec![format!("{series} {{}} 2 30")], 0));
    assert_eq!(take(r#"a_total{x="1"} 2 # {} 2"#, 40), (vec![], 0));
    let long = format!(r#"a_total{{x="1"}} 2 # {{trace_id="{}"}} 2"#, "x".repeat(128));
    assert_eq!(take(&long, 50), (vec![], 1));
    assert_eq!(take(r#"a_total{x="1"} 2 # {a="1",a="2"} 2"#, 60), (vec![], 1));
}
