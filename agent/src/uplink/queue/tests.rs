use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use binnacle_proto::Labels;

use super::*;
use crate::clock;
use crate::sample::Series;
use crate::uplink::{Decoder, Line};

struct Fixture {
    queue: Queue,
    series: Series,
    now: Instant,
    _dir: tempfile::TempDir,
}

fn fixture(change: impl FnOnce(&mut config::Uplink)) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = config::Uplink::default();
    change(&mut limits);
    let metrics = SelfMetrics::default();
    let spool = Spool::open(dir.path(), limits.spool_bytes, &metrics).unwrap();
    let labels = Labels::from_pairs([("__name__", "m")]).unwrap();
    let mut queue = Queue::new(limits, spool, &metrics);
    queue.new_stream();
    Fixture { queue, series: Series::new(labels), now: clock::instant(), _dir: dir }
}

impl Fixture {
    fn put(&mut self, t_ms: i64) {
        self.queue.put_round(Round::new(t_ms, vec![(self.series.clone(), t_ms as f64)]));
    }

    fn put_line(&mut self, bytes: usize) -> Arc<AtomicU32> {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let line = Line { line: vec![b'x'; bytes], ..Line::default() };
        let lines = LogLines { lines: vec![line], ..LogLines::default() };
        let on_durable = Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        self.queue.put_logs(lines, on_durable, self.now);
        calls
    }

    fn next(&mut self) -> Option<Ready> {
        self.queue.next(self.now).unwrap()
    }
}

fn times(decoder: &mut Decoder, ready: &Ready) -> Vec<i64> {
    let body = decoder.body(&ready.body).unwrap();
    decoder.rounds(&body).unwrap().iter().map(|round| round.t_ms).collect()
}

#[test]
fn rounds_go_out_in_order_through_memory_and_spool() {
    let mut f = fixture(|limits| (limits.queue_rounds, limits.unacked_bytes) = (3, 100));
    (0..10).for_each(|t| f.put(t));
    assert_eq!(f.queue.rounds.len(), 3, "the others are in the spool");
    let (mut decoder, mut seen, mut last) = (Decoder::default(), Vec::new(), 0);
    loop {
        while let Some(ready) = f.next() {
            assert_eq!(ready.sequence, last + 1);
            last = ready.sequence;
            seen.extend(times(&mut decoder, &ready));
        }
        if f.queue.acked(last).unwrap() == 0 {
            break;
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert!(f.queue.is_empty());
}

#[test]
fn many_small_rounds_wait_in_memory() {
    let mut f = fixture(|limits| limits.queue_rounds = 3);
    (0..1000).for_each(|t| f.put(t));
    assert_eq!((f.queue.rounds.len(), f.queue.spool.is_unread()), (1000, false));
    while f.next().is_some() {}
    assert_eq!((f.queue.rounds.len(), f.queue.round_bytes), (0, 0));
}

#[test]
fn after_a_reconnect_the_unacknowledged_are_sent_again_under_their_numbers() {
    let mut f = fixture(|_| {});
    f.put(1);
    f.next().unwrap();
    f.put(2);
    f.next().unwrap();
    f.put(3);
    f.next().unwrap();
    assert_eq!(f.queue.acked(1), Ok(1));
    f.queue.new_stream();
    let mut decoder = Decoder::default();
    let (second, third) = (f.next().unwrap(), f.next().unwrap());
    assert_eq!((second.sequence, third.sequence), (2, 3));
    assert_eq!(times(&mut decoder, &second), [2], "encoded anew: the new stream knows no series");
    assert_eq!(times(&mut decoder, &third), [3]);
    assert!(f.next().is_none());
}

#[test]
fn acknowledgements_may_repeat_but_not_run_ahead() {
    let mut f = fixture(|_| {});
    f.put(1);
    assert!(f.queue.acked(1).is_err(), "nothing was sent");
    f.next().unwrap();
    assert_eq!(f.queue.acked(1), Ok(1));
    assert_eq!(f.queue.acked(1), Ok(0));
    assert_eq!(f.queue.acked(0), Ok(0));
    assert!(f.queue.acked(2).is_err());
    f.put(2);
    f.next().unwrap();
    f.queue.new_stream();
    assert!(f.queue.acked(2).is_err(), "not sent on this stream yet");
}

#[test]
fn lines_wait_for_company_and_are_durable_once() {
    let mut f = fixture(|_| {});
    let calls = f.put_line(10);
    assert!(f.next().is_none());
    f.now = f.queue.linger_until().unwrap();
    let ready = f.next().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    f.queue.acked(ready.sequence).unwrap();
    f.queue.acked(ready.sequence).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn lines_without_room_stay_outside() {
    let mut f = fixture(|limits| (limits.batch_bytes, limits.unacked_bytes) = (1000, 1500));
    f.put_line(2000);
    assert!(!f.queue.wants_logs());
    f.next().unwrap();
    assert!(f.queue.wants_logs());
    f.put_line(2000);
    assert!(f.next().is_none(), "too much is unacknowledged");
    assert_eq!(f.queue.linger_until(), None);
    f.queue.acked(1).unwrap();
    assert!(f.next().is_some());
}

#[test]
fn what_was_not_acknowledged_is_in_the_spool_after_the_end() {
    let mut f = fixture(|limits| (limits.queue_rounds, limits.unacked_bytes) = (2, 100));
    (0..4).for_each(|t| f.put(t));
    f.next().unwrap();
    let calls = f.put_line(10);
    (4..6).for_each(|t| f.put(t));
    f.queue.close();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let metrics = SelfMetrics::default();
    let mut spool = Spool::open(f._dir.path(), 1 << 20, &metrics).unwrap();
    let mut seen = Vec::new();
    while let Some((rounds, _)) = spool.next() {
        seen.extend(rounds.iter().map(|round| round.t_ms));
    }
    assert_eq!(seen, (0..6).collect::<Vec<_>>());
}
