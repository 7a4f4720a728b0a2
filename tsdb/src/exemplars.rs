//! Exemplars: single measurements that stand for many, with the trace they belong to. A ring in memory:
//! the oldest go when it is full, and all with the process, as in Prometheus.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use binnacle_proto::Labels;
use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::Error;
use crate::select::{Guard, Matcher};

/// Most characters of an exemplar's labels, names and values together: OpenMetrics' bound.
pub(crate) const MAX_LABEL_CHARS: usize = 128;

/// More than labels of so many characters can take, in bytes: what is longer need not be counted out.
const MAX_LABEL_BYTES: usize = 8 * MAX_LABEL_CHARS;

/// Series between two looks at the clock.
const CHECK_EVERY: usize = 1024;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Mostly `trace_id` and `span_id`.
    pub labels: Labels,
    /// What was measured.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub t_ms: i64,
}

/// Exemplars of all series; clones share them.
#[derive(Clone)]
pub(crate) struct Exemplars(Arc<Inner>);

struct Inner {
    ring: RwLock<Ring>,
    max: usize,
    max_series_bytes: usize,
    stored: AtomicU64,
    out_of_order: AtomicU64,
    too_long: AtomicU64,
}

#[derive(Default)]
struct Ring {
    /// In the order they came.
    entries: VecDeque<(Labels, Exemplar)>,
    /// Number of the first entry, counted from the start.
    first: u64,
    /// Numbers of each series' entries, ascending.
    by_series: HashMap<Labels, VecDeque<u64>>,
}

/// What became of exemplars since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExemplarStats {
    pub(crate) held: usize,
    pub(crate) limit: usize,
    pub(crate) stored: u64,
    pub(crate) out_of_order: u64,
    pub(crate) too_long: u64,
}

impl Exemplars {
    /// Room for so many, of series whose labels take at most `max_series_bytes`; 0 keeps none.
    pub(crate) fn new(max: usize, max_series_bytes: usize) -> Self {
        Self(Arc::new(Inner {
            ring: RwLock::default(),
            max,
            max_series_bytes,
            stored: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
            too_long: AtomicU64::new(0),
        }))
    }

    /// Keeps exemplars; how many of them are there now. One that is there already counts; one that is
    /// older than the latest of its series, or has too long labels, does not.
    pub(crate) fn add(&self, mut exemplars: Vec<(Labels, Exemplar)>) -> u64 {
        if self.0.max == 0 {
            return 0;
        }
        exemplars.retain(|(series, exemplar)| self.fits(series, exemplar));
        if exemplars.is_empty() {
            return 0;
        }
        let mut kept = 0;
        let mut ring = self.0.ring.write();
        for (series, exemplar) in exemplars {
            match ring.latest(&series) {
                Some(latest) if *latest == exemplar => kept += 1,
                Some(latest) if latest.t_ms >= exemplar.t_ms => {
                    self.0.out_of_order.fetch_add(1, Ordering::Relaxed);
                }
                _ => {
                    ring.push(series, exemplar, self.0.max);
                    self.0.stored.fetch_add(1, Ordering::Relaxed);
                    kept += 1;
                }
            }
        }
        kept
    }

    /// Whether labels are short enough to be kept; counts those that are not.
    fn fits(&self, series: &Labels, exemplar: &Exemplar) -> bool {
        let chars = |text: &str| text.chars().count();
        let fits = series.byte_len() <= self.0.max_series_bytes
            && exemplar.labels.byte_len() <= MAX_LABEL_BYTES
            && exemplar.labels.iter().map(|(name, value)| chars(name) + chars(value)).sum::<usize>()
                <= MAX_LABEL_CHARS;
        if !fits {
            self.0.too_long.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// Exemplars of series that satisfy all matchers of any of `selectors`, from `start_ms` to `end_ms`,
    /// by series.
    ///
    /// # Errors
    /// When the guard says that it takes too long.
    pub(crate) fn select(
        &self,
        selectors: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
        guard: &Guard,
    ) -> Result<BTreeMap<Labels, Vec<Exemplar>>, Error> {
        let ring = self.0.ring.read();
        let mut found = BTreeMap::new();
        for (at, (series, numbers)) in ring.by_series.iter().enumerate() {
            if at.is_multiple_of(CHECK_EVERY) {
                guard.check()?;
            }
            let matches = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(series));
            if !selectors.iter().any(matches) {
                continue;
            }
            let within: Vec<Exemplar> = numbers
                .iter()
                .filter_map(|number| ring.entry(*number))
                .filter(|(_, exemplar)| (start_ms..=end_ms).contains(&exemplar.t_ms))
                .map(|(_, exemplar)| exemplar.clone())
                .collect();
            if !within.is_empty() {
                found.insert(series.clone(), within);
            }
        }
        Ok(found)
    }

    pub(crate) fn stats(&self) -> ExemplarStats {
        ExemplarStats {
            held: self.0.ring.read().entries.len(),
            limit: self.0.max,
            stored: self.0.stored.load(Ordering::Relaxed),
            out_of_order: self.0.out_of_order.load(Ordering::Relaxed),
            too_long: self.0.too_long.load(Ordering::Relaxed),
        }
    }
}

impl Ring {
    fn entry(&self, number: u64) -> Option<&(Labels, Exemplar)> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn latest(&self, series: &Labels) -> Option<&Exemplar> {
        let number = self.by_series.get(series)?.back()?;
        self.entry(*number).map(|(_, exemplar)| exemplar)
    }

    fn push(&mut self, series: Labels, exemplar: Exemplar, max: usize) {
        while self.entries.len() >= max {
            let Some((oldest, _)) = self.entries.pop_front() else { break };
            self.first += 1;
            if let Some(numbers) = self.by_series.get_mut(&oldest) {
                numbers.pop_front();
                if numbers.is_empty() {
                    self.by_series.remove(&oldest);
                }
            }
        }
        let number = self.first + self.entries.len() as u64;
        self.by_series.entry(series.clone()).or_default().push_back(number);
        self.entries.push_back((series, exemplar));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(series: &str, trace: &str, t_ms: i64) -> (Labels, Exemplar) {
        let labels = Labels::from_pairs([("trace_id", trace)]).unwrap();
        let series = Labels::from_pairs([("__name__", series)]).unwrap();
        (series, Exemplar { labels, value: t_ms as f64, t_ms })
    }

    #[expect(clippy::disallowed_methods, reason = "a guard needs an instant")]
    fn guard() -> Guard {
        Guard::new(crate::GuardLimits::default(), std::time::Instant::now())
    }

    fn found(exemplars: &Exemplars, selector: &str, start_ms: i64, end_ms: i64) -> Vec<i64> {
        let selectors = [crate::promql::parse_selector(selector).unwrap()];
        let found = exemplars.select(&selectors, start_ms, end_ms, &guard()).unwrap();
        found.into_values().flatten().map(|exemplar| exemplar.t_ms).collect()
    }

    #[test]
    fn the_oldest_go_when_the_ring_is_full() {
        let exemplars = Exemplars::new(3, 100);
        assert_eq!(exemplars.add((1..=4).map(|t| one(if t == 2 { "b" } else { "a" }, "x", t)).collect()), 4);
        assert_eq!(found(&exemplars, "a", 0, 10), [3, 4]);
        assert_eq!(found(&exemplars, "b", 0, 10), [2]);
        exemplars.add(vec![one("a", "x", 5)]);
        assert!(found(&exemplars, "b", 0, 10).is_empty());
        assert_eq!(found(&exemplars, "{__name__=~\"a|b\"}", 4, 10), [4, 5]);
        assert_eq!(exemplars.stats().held, 3);
    }

    #[test]
    fn repetitions_are_taken_and_older_ones_are_counted() {
        let exemplars = Exemplars::new(10, 100);
        assert_eq!(exemplars.add(vec![one("a", "x", 5), one("a", "x", 5)]), 2);
        assert_eq!(exemplars.add(vec![one("a", "y", 5), one("a", "x", 4), one("a", &"z".repeat(200), 9)]), 0);
        let stats = exemplars.stats();
        assert_eq!((stats.held, stats.stored, stats.out_of_order, stats.too_long), (1, 1, 2, 1));
    }

    #[test]
    fn series_with_labels_that_no_series_may_have_are_not_kept() {
        let exemplars = Exemplars::new(10, 100);
        assert_eq!(exemplars.add(vec![one(&"a".repeat(200), "x", 5), one("b", "x", 5)]), 1);
        assert_eq!((exemplars.stats().held, exemplars.stats().too_long), (1, 1));
    }

    #[test]
    fn a_search_that_takes_too_long_ends() {
        let exemplars = Exemplars::new(10, 100);
        exemplars.add(vec![one("a", "x", 5)]);
        let guard = guard();
        guard.cancel();
        assert!(exemplars.select(&[Vec::new()], 0, 10, &guard).is_err());
    }
}
