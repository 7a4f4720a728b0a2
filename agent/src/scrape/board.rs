//! What is scraped and how it goes: for the server, which shows it as Prometheus shows its targets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::{Labels, node};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;

use super::target::Target;

/// Largest report, in bytes; targets beyond are only counted.
const MAX_REPORT_BYTES: usize = 1 << 20;

/// Most bytes of a target's discovered labels; those beyond are left out.
const MAX_LABEL_BYTES: usize = 4096;

/// Longest error that is reported, in characters.
const MAX_ERROR: usize = 500;

/// Dropped targets that are reported with their labels; the others are only counted.
const MAX_DROPPED: usize = 100;

/// Changes are reported so often at most,
const PACE: Duration = Duration::from_secs(5);

/// and when there are none, so often at least: for the times of the last scrapes.
const FRESH: Duration = Duration::from_secs(30);

/// All targets. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    pools: Vec<String>,
    shown: Vec<Shown>,
    dropped: Vec<node::DroppedTarget>,
    dropped_counts: BTreeMap<String, u64>,
}

/// A target, and how it goes with it. Its worker and the board share it.
#[derive(Clone)]
pub(super) struct Shown {
    target: Arc<node::ScrapeTarget>,
    state: Arc<Mutex<State>>,
    board: Board,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    /// `None` before the first scrape.
    is_up: Option<bool>,
    error: String,
    scraped_ms: i64,
    took: f64,
}

/// Targets that relabelling has dropped.
#[derive(Default)]
pub(super) struct Dropped {
    some: Vec<node::DroppedTarget>,
    counts: BTreeMap<String, u64>,
}

impl Dropped {
    pub(super) fn add(&mut self, job: &str, discovered: &Labels) {
        *self.counts.entry(job.to_owned()).or_default() += 1;
        if self.some.len() < MAX_DROPPED {
            let discovered_labels = pairs(discovered);
            self.some.push(node::DroppedTarget { pool: job.to_owned(), discovered_labels });
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.values().sum()
    }
}

impl Board {
    /// Where the state of `target` is to be told.
    pub(super) fn show(&self, target: &Target) -> Shown {
        let target = node::ScrapeTarget {
            pool: target.job.name.clone(),
            discovered_labels: pairs(&target.discovered),
            labels: target.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            url: target.url.clone(),
            interval_ms: target.interval.as_millis() as u64,
            timeout_ms: target.timeout.as_millis() as u64,
            ..node::ScrapeTarget::default()
        };
        Shown { target: Arc::new(target), state: Arc::default(), board: self.clone() }
    }

    /// Replaces the list.
    pub(super) fn set(&self, pools: Vec<String>, shown: Vec<Shown>, dropped: Dropped) {
        let table = Table { pools, shown, dropped: dropped.some, dropped_counts: dropped.counts };
        *self.0.table.lock() = table;
        self.changed();
    }

    fn changed(&self) {
        self.0.version.send_modify(|version| *version += 1);
    }

    /// The reports of one stream.
    pub(crate) fn reports(&self) -> Reports {
        Reports { board: self.clone(), version: self.0.version.subscribe(), seen: 0, sent: None }
    }

    fn report(&self) -> node::ScrapeTargets {
        let table = self.0.table.lock();
        let mut report = node::ScrapeTargets {
            pools: table.pools.clone(),
            dropped: table.dropped.clone(),
            dropped_counts: table.dropped_counts.clone().into_iter().collect(),
            ..node::ScrapeTargets::default()
        };
        let mut bytes = report.encoded_len();
        for shown in &table.shown {
            let target = shown.report();
            // With its tag and length.
            bytes += target.encoded_len() + 6;
            if bytes > MAX_REPORT_BYTES {
                report.left_out += 1;
            } else {
                report.targets.push(target);
            }
        }
        report
    }
}

impl Shown {
    /// The name of its job.
    pub(super) fn pool(&self) -> &str {
        &self.target.pool
    }

    /// Notes how a scrape went.
    pub(super) fn scraped(&self, error: Option<&str>, scraped_ms: i64, took: f64) {
        let error: String = error.unwrap_or_default().chars().take(MAX_ERROR).collect();
        let new = State { is_up: Some(error.is_empty()), error, scraped_ms, took };
        let mut state = self.state.lock();
        let before = std::mem::replace(&mut *state, new);
        let is_news = before.is_up != state.is_up || before.error != state.error;
        drop(state);
        if is_news {
            self.board.changed();
        }
    }

    fn report(&self) -> node::ScrapeTarget {
        let state = self.state.lock().clone();
        let health = match state.is_up {
            None => "unknown",
            Some(true) => "up",
            Some(false) => "down",
        };
        node::ScrapeTarget {
            health: health.to_owned(),
            last_error: state.error,
            last_scrape_ms: state.scraped_ms,
            last_duration_seconds: state.took,
            ..(*self.target).clone()
        }
    }
}

/// Says when a report is due, and makes it.
pub(crate) struct Reports {
    board: Board,
    version: watch::Receiver<u64>,
    /// What was reported last.
    seen: u64,
    sent: Option<Instant>,
}

impl Reports {
    /// The next report. Of an agent that never had a target there is none.
    pub(crate) async fn next(&mut self) -> node::ScrapeTargets {
        let seen = self.seen;
        // The board has the sender.
        let change = async |version: &mut watch::Receiver<u64>| {
            let _ = version.wait_for(|version| *version != seen).await;
        };
        match self.sent {
            None => change(&mut self.version).await,
            Some(at) => {
                let changed = async {
                    change(&mut self.version).await;
                    tokio::time::sleep_until(at + PACE).await;
                };
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at + FRESH) => {}
                }
            }
        }
        self.seen = *self.version.borrow_and_update();
        self.sent = Some(Instant::now());
        self.board.report()
    }
}

fn pairs(labels: &Labels) -> std::collections::HashMap<String, String> {
    let mut room = MAX_LABEL_BYTES;
    let mut fits = |name: &str, value: &str| {
        let need = name.len() + value.len();
        let fits = need <= room;
        room -= if fits { need } else { 0 };
        fits
    };
    let kept = labels.iter().filter(|(name, value)| fits(name, value));
    kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::Job;
    use super::*;

    fn target(pairs: &[(&str, &str)]) -> Target {
        let job = Arc::new(Job::of_pods("j", Duration::from_secs(15)));
        Target::new(&job, &Labels::from_pairs(pairs.iter().copied()).unwrap()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn targets_are_reported_when_they_are_there_and_bounded() {
        let board = Board::default();
        let mut reports = board.reports();
        let early = tokio::time::timeout(Duration::from_millis(20), reports.next()).await;
        assert!(early.is_err(), "nothing was ever scraped");
        let shown = board.show(&target(&[("__address__", "h:1"), ("__meta_x", &"x".repeat(5000))]));
        let mut dropped = Dropped::default();
        (0..MAX_DROPPED + 5).for_each(|_| dropped.add("j", &Labels::from_pairs([("a", "b")]).unwrap()));
        assert_eq!(dropped.count(), 105);
        board.set(vec!["j".to_owned()], vec![shown.clone()], dropped);
        let report = reports.next().await;
        let first = &report.targets[0];
        assert_eq!((first.pool.as_str(), first.health.as_str(), first.interval_ms), ("j", "unknown", 15_000));
        assert_eq!((report.dropped.len(), report.dropped_counts["j"]), (MAX_DROPPED, 105));
        assert!(first.discovered_labels.contains_key("__address__"));
        assert!(!first.discovered_labels.contains_key("__meta_x"), "too long");
        shown.scraped(Some(&"e".repeat(2 * MAX_ERROR)), 7, 0.5);
        let report = board.report();
        let first = &report.targets[0];
        assert_eq!(
            (first.health.as_str(), first.last_error.len(), first.last_scrape_ms),
            ("down", MAX_ERROR, 7)
        );
        let early = tokio::time::timeout(Duration::from_millis(20), reports.next()).await;
        assert!(early.is_err(), "not so soon");
        shown.scraped(None, 8, 0.5);
        assert_eq!((board.report().targets[0].health.as_str(), board.0.table.lock().shown.len()), ("up", 1));
        let many = vec![shown; MAX_REPORT_BYTES / 100];
        board.set(vec!["j".to_owned()], many, Dropped::default());
        let report = board.report();
        assert!(report.encoded_len() <= MAX_REPORT_BYTES && report.left_out > 0);
    }
}
