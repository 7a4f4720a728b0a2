//! Turns what a collector emits, by name and labels, into samples of known series.
//!
//! A collector emits the same series in the same order round after round. The page remembers that
//! order, so that in all but the first round each emission costs one comparison and no allocation.
//! What was emitted in the last round and is not in this one has ended: it gets the staleness marker.

use std::hash::{BuildHasher, RandomState};

use binnacle_proto::{LabelsBuilder, STALE_NAN};
use hashbrown::HashTable;

use super::Series;

/// The series of one source (a cgroup, a collector).
pub(crate) struct Page {
    /// Labels that all series of the page carry.
    base: LabelsBuilder,
    entries: Vec<Entry>,
    /// Where in `entries` a key is.
    by_key: HashTable<u32>,
    hasher: RandomState,
    /// Where the next emission is expected.
    cursor: usize,
    round: u32,
}

struct Entry {
    /// As `write_key` writes it.
    key: Box<[u8]>,
    series: Series,
    /// The last round it was emitted in.
    seen: u32,
}

impl Page {
    /// A page whose series all carry the labels of `base`.
    pub(crate) fn new(base: LabelsBuilder) -> Self {
        Self {
            base,
            entries: Vec::new(),
            by_key: HashTable::new(),
            hasher: RandomState::new(),
            cursor: 0,
            round: 0,
        }
    }

    /// Starts a round that writes to `samples`; end it with [`Scrape::finish`].
    pub(crate) fn scrape<'a>(&'a mut self, samples: &'a mut Vec<(Series, f64)>) -> Scrape<'a> {
        self.cursor = 0;
        self.round = self.round.wrapping_add(1);
        Scrape { page: self, samples }
    }

    /// Ends every series of the page.
    pub(crate) fn end(self, samples: &mut Vec<(Series, f64)>) {
        samples.extend(self.entries.into_iter().map(|entry| (entry.series, STALE_NAN)));
    }

    fn find(&mut self, name: &str, labels: &[(&str, &str)]) -> usize {
        if self.entries.get(self.cursor).is_some_and(|entry| key_is(&entry.key, name, labels)) {
            return self.cursor;
        }
        let mut key = Vec::with_capacity(64);
        write_key(&mut key, name, labels);
        let hash = self.hasher.hash_one(&key);
        let known = self.by_key.find(hash, |&at| *self.entries[at as usize].key == *key);
        if let Some(&at) = known {
            return at as usize;
        }
        let mut full = self.base.clone();
        full.set("__name__", name);
        for (label, value) in labels {
            full.set(label, *value);
        }
        let at = self.entries.len();
        let series = Series::new(full.build());
        self.entries.push(Entry { key: key.into(), series, seen: self.round.wrapping_sub(1) });
        let (hasher, entries) = (&self.hasher, &self.entries);
        self.by_key.insert_unique(hash, at as u32, |&at| hasher.hash_one(&*entries[at as usize].key));
        at
    }

    /// Drops the entries that were not emitted in this round, ending their series.
    fn sweep(&mut self, samples: &mut Vec<(Series, f64)>) {
        let round = self.round;
        if self.entries.iter().all(|entry| entry.seen == round) {
            return;
        }
        self.entries.retain(|entry| {
            if entry.seen != round {
                samples.push((entry.series.clone(), STALE_NAN));
            }
            entry.seen == round
        });
        self.by_key.clear();
        let (hasher, entries) = (&self.hasher, &self.entries);
        for (at, entry) in entries.iter().enumerate() {
            let hash = hasher.hash_one(&*entry.key);
            self.by_key.insert_unique(hash, at as u32, |&at| hasher.hash_one(&*entries[at as usize].key));
        }
    }
}

/// One round of one page.
pub(crate) struct Scrape<'a> {
    page: &'a mut Page,
    samples: &'a mut Vec<(Series, f64)>,
}

impl Scrape<'_> {
    /// One sample. A second one of the same series in the same round is dropped.
    pub(crate) fn emit(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let at = self.page.find(name, labels);
        self.page.cursor = at + 1;
        let entry = &mut self.page.entries[at];
        if entry.seen != self.page.round {
            entry.seen = self.page.round;
            self.samples.push((entry.series.clone(), value));
        }
    }

    /// A sample, if the kernel gave a value: absent is not zero.
    pub(crate) fn maybe(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.emit(name, labels, value);
        }
    }

    /// Ends the round: series that were not emitted get the staleness marker.
    pub(crate) fn finish(self) {
        self.page.sweep(self.samples);
    }
}

/// Name, then names and values of labels, each with its length before it.
fn write_key(key: &mut Vec<u8>, name: &str, labels: &[(&str, &str)]) {
    let mut put = |text: &str| {
        key.extend_from_slice(&(text.len() as u32).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    };
    put(name);
    for (label, value) in labels {
        put(label);
        put(value);
    }
}

/// Whether `write_key` would write `key`, without writing it.
fn key_is(key: &[u8], name: &str, labels: &[(&str, &str)]) -> bool {
    let mut rest = key;
    let mut take = |text: &str| -> bool {
        let Some((len, tail)) = rest.split_first_chunk::<4>() else { return false };
        let same = u32::from_le_bytes(*len) as usize == text.len() && tail.starts_with(text.as_bytes());
        if same {
            rest = &tail[text.len()..];
        }
        same
    };
    let same = take(name) && labels.iter().all(|(label, value)| take(label) && take(value));
    same && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use binnacle_proto::is_stale;

    use super::*;

    fn page() -> Page {
        let mut base = LabelsBuilder::new();
        base.set("job", "test");
        Page::new(base)
    }

    fn round(page: &mut Page, emissions: &[(&str, &str, f64)]) -> Vec<(String, f64)> {
        let mut samples = Vec::new();
        let mut scrape = page.scrape(&mut samples);
        for (name, cpu, value) in emissions {
            scrape.emit(name, &[("cpu", cpu)], *value);
        }
        scrape.finish();
        samples.iter().map(|(series, value)| (series.labels().to_string(), *value)).collect()
    }

    #[test]
    fn series_keep_their_handle_from_round_to_round() {
        let mut page = page();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let mut samples = Vec::new();
            let mut scrape = page.scrape(&mut samples);
            scrape.emit("a", &[("cpu", "0")], 1.0);
            scrape.emit("a", &[("cpu", "1")], 1.0);
            scrape.finish();
            ids.push(samples.iter().map(|(series, _)| series.id()).collect::<Vec<_>>());
        }
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[1], ids[2]);
    }

    #[test]
    fn order_may_change_between_rounds() {
        let mut page = page();
        round(&mut page, &[("a", "0", 1.0), ("b", "0", 2.0), ("c", "0", 3.0)]);
        let samples = round(&mut page, &[("c", "0", 4.0), ("a", "0", 5.0), ("b", "0", 6.0)]);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[0], (r#"c{cpu="0", job="test"}"#.to_owned(), 4.0));
        assert!(samples.iter().all(|(_, value)| !is_stale(*value)));
    }

    #[test]
    fn a_series_that_is_not_emitted_ends_once_and_may_come_back() {
        let mut page = page();
        round(&mut page, &[("a", "0", 1.0), ("a", "1", 1.0), ("b", "0", 1.0)]);
        let samples = round(&mut page, &[("a", "0", 1.0), ("b", "0", 1.0)]);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples[2].0, r#"a{cpu="1", job="test"}"#);
        assert!(is_stale(samples[2].1));
        assert_eq!(round(&mut page, &[("a", "0", 1.0), ("b", "0", 1.0)]).len(), 2);
        let samples = round(&mut page, &[("a", "0", 1.0), ("a", "1", 7.0), ("b", "0", 1.0)]);
        assert_eq!(samples[1].1, 7.0);
    }

    #[test]
    fn a_repeated_emission_is_one_sample() {
        let mut page = page();
        assert_eq!(
            round(&mut page, &[("a", "0", 1.0), ("a", "0", 2.0)]),
            [(r#"a{cpu="0", job="test"}"#.to_owned(), 1.0)]
        );
    }

    #[test]
    fn keys_do_not_run_into_each_other() {
        let mut key = Vec::new();
        write_key(&mut key, "a", &[("b", "c")]);
        assert!(key_is(&key, "a", &[("b", "c")]));
        for (name, labels) in
            [("a", &[("b", "cd")][..]), ("ab", &[("", "c")]), ("a", &[]), ("a", &[("b", "c"); 2])]
        {
            assert!(!key_is(&key, name, labels));
        }
    }

    #[test]
    fn ending_a_page_ends_all_its_series() {
        let mut page = page();
        round(&mut page, &[("a", "0", 1.0), ("a", "1", 1.0)]);
        let mut samples = Vec::new();
        page.end(&mut samples);
        assert_eq!(samples.len(), 2);
        assert!(samples.iter().all(|(_, value)| is_stale(*value)));
    }
}
