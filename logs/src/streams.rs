//! Streams: from labels to ids, and from matchers to streams.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock};

use binnacle_proto::Labels;
use hashbrown::HashMap;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::db::Bucket;
use crate::head::Head;
use crate::matcher::Matcher;

/// One stream.
pub(crate) struct Stream {
    /// Its id, never used again.
    pub id: u32,
    /// Its labels.
    pub labels: Labels,
    /// Whether its labels are in the store.
    pub persisted: AtomicBool,
    /// Appends on their way; a stream with any is not forgotten.
    pub pending: AtomicU32,
    /// How long its records are kept; found out when first needed.
    pub retention_ms: OnceLock<i64>,
    /// How fast it may come.
    pub rate: Mutex<Bucket>,
    /// Open records and the index of sealed blocks.
    pub head: Mutex<Head>,
}

impl Stream {
    /// A stream without records.
    pub fn new(id: u32, labels: Labels, persisted: bool) -> Arc<Self> {
        Arc::new(Self {
            id,
            labels,
            persisted: AtomicBool::new(persisted),
            pending: AtomicU32::new(0),
            retention_ms: OnceLock::new(),
            rate: Mutex::default(),
            head: Mutex::default(),
        })
    }
}

/// All streams with an inverted index over their labels, in memory.
#[derive(Default)]
pub(crate) struct Streams {
    by_labels: HashMap<Labels, Arc<Stream>>,
    by_id: BTreeMap<u32, Arc<Stream>>,
    postings: BTreeMap<String, BTreeMap<String, RoaringBitmap>>,
    next_id: u32,
}

impl Streams {
    /// The stream with these labels.
    pub fn get(&self, labels: &Labels) -> Option<&Arc<Stream>> {
        self.by_labels.get(labels)
    }

    /// The stream with this id.
    pub fn by_id(&self, id: u32) -> Option<&Arc<Stream>> {
        self.by_id.get(&id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All of them by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.by_id.values()
    }

    /// Adds a stream that the store knows.
    pub fn insert(&mut self, stream: Arc<Stream>) {
        for (name, value) in stream.labels.iter() {
            let values = match self.postings.get_mut(name) {
                Some(values) => values,
                None => self.postings.entry(name.to_owned()).or_default(),
            };
            match values.get_mut(value) {
                Some(ids) => ids.insert(stream.id),
                None => values.entry(value.to_owned()).or_default().insert(stream.id),
            };
        }
        self.next_id = self.next_id.max(stream.id + 1);
        self.by_labels.insert(stream.labels.clone(), stream.clone());
        self.by_id.insert(stream.id, stream);
    }

    /// Adds a new stream.
    pub fn create(&mut self, labels: &Labels) -> Arc<Stream> {
        let stream = Stream::new(self.next_id, labels.clone(), false);
        self.insert(stream.clone());
        stream
    }

    /// Makes sure that ids below `id` are not given out again.
    pub fn reserve_ids(&mut self, id: u32) {
        self.next_id = self.next_id.max(id);
    }

    /// The id that the next new stream gets.
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Takes a stream out.
    pub fn forget(&mut self, stream: &Stream) {
        for (name, value) in stream.labels.iter() {
            let Some(values) = self.postings.get_mut(name) else { continue };
            if let Some(ids) = values.get_mut(value) {
                ids.remove(stream.id);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.postings.remove(name);
            }
        }
        self.by_labels.remove(&stream.labels);
        self.by_id.remove(&stream.id);
    }

    /// The streams for which all matchers hold, by id.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<Arc<Stream>> {
        let mut found: Option<RoaringBitmap> = None;
        let mut rest: Vec<&Matcher> = Vec::new();
        for matcher in matchers {
            if matcher.matches_value("") {
                rest.push(matcher);
                continue;
            }
            let ids = self.with_value(matcher);
            match &mut found {
                None => found = Some(ids),
                Some(found) => *found &= ids,
            }
        }
        let holds = |stream: &&Arc<Stream>| rest.iter().all(|matcher| matcher.matches(&stream.labels));
        match found {
            Some(ids) => ids.iter().filter_map(|id| self.by_id.get(&id)).filter(holds).cloned().collect(),
            None => self.by_id.values().filter(holds).cloned().collect(),
        }
    }

    /// Ids of the streams whose label has a value that matches; for matchers that refuse "".
    fn with_value(&self, matcher: &Matcher) -> RoaringBitmap {
        let Some(values) = self.postings.get(&matcher.name) else { return RoaringBitmap::new() };
        if let Some(value) = matcher.equal_to() {
            return values.get(value).cloned().unwrap_or_default();
        }
        let mut ids = RoaringBitmap::new();
        for (value, with) in values {
            if matcher.matches_value(value) {
                ids |= with;
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::MatchOp;

    fn streams() -> Streams {
        let mut streams = Streams::default();
        for pairs in [[("app", "a"), ("env", "x")], [("app", "b"), ("env", "x")], [("app", "b"), ("env", "")]]
        {
            streams.create(&Labels::from_pairs(pairs).unwrap());
        }
        streams
    }

    fn ids(streams: &Streams, matchers: &[(&str, MatchOp, &str)]) -> Vec<u32> {
        let matchers: Vec<Matcher> =
            matchers.iter().map(|(name, op, value)| Matcher::new(name, *op, value).unwrap()).collect();
        streams.select(&matchers).iter().map(|stream| stream.id).collect()
    }

    #[test]
    fn matchers_combine_and_absent_labels_are_empty() {
        let streams = streams();
        assert_eq!(ids(&streams, &[("app", MatchOp::Equal, "b")]), [1, 2]);
        assert_eq!(ids(&streams, &[("app", MatchOp::Regex, "a|b"), ("env", MatchOp::Equal, "")]), [2]);
        assert_eq!(ids(&streams, &[("app", MatchOp::Regex, ".+"), ("env", MatchOp::NotEqual, "x")]), [2]);
        assert_eq!(ids(&streams, &[("app", MatchOp::NotRegex, "a.*")]), [1, 2]);
        assert_eq!(ids(&streams, &[("nothing", MatchOp::Equal, "b")]), [0; 0]);
    }

    #[test]
    fn a_forgotten_stream_is_not_found_and_its_id_not_reused() {
        let mut streams = streams();
        let gone = streams.by_id(2).unwrap().clone();
        streams.forget(&gone);
        assert_eq!(ids(&streams, &[("app", MatchOp::Equal, "b")]), [1]);
        assert_eq!(streams.create(&gone.labels).id, 3);
    }
}
