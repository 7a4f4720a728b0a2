use binnacle_proto::Labels;

use super::*;
use crate::sample::Series;

fn series(count: usize) -> Vec<Series> {
    let labels = |i: usize| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]).unwrap();
    (0..count).map(|i| Series::new(labels(i))).collect()
}

fn round(t_ms: i64, series: &[Series]) -> Round {
    let value = |(i, s): (usize, &Series)| (s.clone(), t_ms as f64 + i as f64);
    Round::new(t_ms, series.iter().enumerate().map(value).collect())
}

fn read_all(spool: &mut Spool) -> Vec<(i64, Option<Position>)> {
    let mut seen = Vec::new();
    while let Some((rounds, position)) = spool.next() {
        seen.extend(rounds.iter().map(|round| (round.t_ms, Some(position))));
    }
    seen
}

fn times(seen: &[(i64, Option<Position>)]) -> Vec<i64> {
    seen.iter().map(|(t, _)| *t).collect()
}

#[test]
fn exemplars_come_back_with_their_round() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20, &SelfMetrics::default()).unwrap();
    let mut with = round(1, &series(1));
    let labels = |name: &str, value: &str| Labels::from_pairs([(name, value)]).unwrap();
    let exemplar = crate::sample::Exemplar {
        series: labels("__name__", "m_bucket"),
        labels: labels("trace_id", "abc"),
        value: 0.5,
        t_ms: 7,
    };
    with.exemplars.push(exemplar.clone());
    spool.push(&with);
    spool.push(&round(2, &series(1)));
    assert_eq!(spool.next().unwrap().0[0].exemplars, [exemplar]);
    assert_eq!(spool.next().unwrap().0[0].exemplars, []);
}

#[test]
fn rounds_come_back_in_order_with_labels_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 20, &SelfMetrics::default()).unwrap();
    let series = series(3);
    for t in 0..5 {
        spool.push(&round(t, &series));
    }
    let mut last = None;
    for t in 0..5 {
        let (rounds, position) = spool.next().unwrap();
        assert_eq!(rounds[0].t_ms, t);
        assert_eq!(rounds[0].samples[2].1, t as f64 + 2.0);
        assert_eq!(rounds[0].samples[2].0.labels(), series[2].labels());
        last = Some(position);
    }
    assert!(spool.next().is_none() && !spool.is_unread());
    assert!(spool.bytes() > 0, "nothing was acknowledged yet");
    spool.release(last.unwrap());
    assert_eq!(spool.bytes(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_was_read_and_not_released_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(2);
    let mut spool = Spool::open(dir.path(), 1 << 20, &SelfMetrics::default()).unwrap();
    (0..4).for_each(|t| spool.push(&round(t, &series)));
    let (_, first) = spool.next().unwrap();
    spool.release(first);
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20, &SelfMetrics::default()).unwrap();
    assert_eq!(times(&read_all(&mut spool)), [0, 1, 2, 3]);
}

#[test]
fn a_full_spool_refuses_the_new_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = SelfMetrics::default();
    let mut spool = Spool::open(dir.path(), 10_000, &metrics).unwrap();
    let series = series(50);
    (0..1000).for_each(|t| spool.push(&round(t, &series)));
    assert!(spool.bytes() < 12_000, "{}", spool.bytes());
    let lost = metrics.counter("binnacle_agent_lost_total", &[("what", "samples"), ("why", "spool_full")]);
    let seen = times(&read_all(&mut spool));
    assert!(seen.len() > 10);
    assert_eq!(seen, (0..seen.len() as i64).collect::<Vec<_>>());
    assert_eq!(lost.get(), (1000 - seen.len() as u64) * 50);
}

#[test]
fn a_torn_or_changed_record_costs_the_rest_of_its_segment_and_is_counted() {
    for (cut, flip) in [(3, None), (0, Some(40)), (0, Some(2))] {
        let dir = tempfile::tempdir().unwrap();
        let metrics = SelfMetrics::default();
        let series = series(2);
        let mut spool = Spool::open(dir.path(), 1 << 20, &metrics).unwrap();
        (0..3).for_each(|t| spool.push(&round(t, &series)));
        let (number, _) = spool.segments[0];
        drop(spool);
        let path = segment::path(dir.path(), number);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - cut);
        if let Some(at) = flip {
            bytes[at] ^= 1;
        }
        fs::write(&path, &bytes).unwrap();
        let mut spool = Spool::open(dir.path(), 1 << 20, &metrics).unwrap();
        spool.push(&round(9, &series));
        let seen = read_all(&mut spool);
        assert_eq!(times(&seen).last(), Some(&9), "the next segment is read");
        assert!(seen.len() < 4);
        let lost =
            metrics.counter("binnacle_agent_lost_total", &[("what", "spool_bytes"), ("why", "corrupt")]);
        assert!(lost.get() > 0);
        spool.release(seen.last().unwrap().1.unwrap());
        assert_eq!(spool.bytes(), 0);
    }
}

#[test]
fn damage_takes_no_room_and_is_counted_once() {
    // In the header, in the first record, in the third of four.
    for (at, good) in [(2, 0), (20, 0), (usize::MAX, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let metrics = SelfMetrics::default();
        let series = series(2);
        let mut spool = Spool::open(dir.path(), 1 << 20, &metrics).unwrap();
        let mut ends = Vec::new();
        for t in 0..4 {
            spool.push(&round(t, &series));
            ends.push(spool.bytes());
        }
        let (number, size) = spool.segments[0];
        drop(spool);
        let path = segment::path(dir.path(), number);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at.min(ends[1] as usize + 14)] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let lost = || {
            metrics.counter("binnacle_agent_lost_total", &[("what", "spool_bytes"), ("why", "corrupt")]).get()
        };

        let mut spool = Spool::open(dir.path(), 1 << 20, &metrics).unwrap();
        let seen = read_all(&mut spool);
        assert_eq!(times(&seen), (0..good).collect::<Vec<_>>());
        let kept = if good == 0 { 0 } else { ends[1] };
        assert_eq!((spool.bytes(), lost()), (kept, size - if good == 0 && at > 5 { 5 } else { kept }));
        assert_eq!(path.exists(), good > 0, "without a good record it goes at once");
        drop(spool);
        // What was not released is read again, without its damaged end.
        let mut spool = Spool::open(dir.path(), 1 << 20, &metrics).unwrap();
        let again = read_all(&mut spool);
        assert_eq!((times(&again), lost()), (times(&seen), lost()));
        assert_eq!(metrics.counter("binnacle_agent_spool_segments_corrupt_total", &[]).get(), 1);
        if let Some((_, position)) = again.last() {
            spool.release(position.unwrap());
        }
        assert_eq!((spool.bytes(), fs::read_dir(dir.path()).unwrap().count()), (0, 0));
    }
}

#[test]
fn rounds_on_their_way_go_before_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(2);
    let mut spool = Spool::open(dir.path(), 1 << 20, &SelfMetrics::default()).unwrap();
    spool.push(&round(5, &series));
    spool.put_first(&[round(3, &series), round(4, &series)]);
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20, &SelfMetrics::default()).unwrap();
    assert_eq!(times(&read_all(&mut spool)), [3, 4, 5]);
}

#[test]
fn rounds_may_come_while_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let series = series(2);
    let mut spool = Spool::open(dir.path(), 1 << 20, &SelfMetrics::default()).unwrap();
    let mut seen = Vec::new();
    for t in 0..20 {
        spool.push(&round(2 * t, &series));
        spool.push(&round(2 * t + 1, &series));
        let (rounds, position) = spool.next().unwrap();
        seen.push(rounds[0].t_ms);
        spool.release(position);
    }
    seen.extend(times(&read_all(&mut spool)));
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
}
