//! Changes that are made all or none.

use std::sync::Arc;

use binnacle_proto::Labels;
use roaring::RoaringBitmap;
use rocksdb::{DB, WriteBatch};

use super::{CHUNKS, META, POSTINGS, SERIES, SeriesId, WAL, family, keys, postings};
use crate::day::Day;
use crate::wal::put_labels;

/// Changes under construction. It holds the database open.
pub(crate) struct Batch {
    db: Arc<DB>,
    changes: WriteBatch,
}

impl Batch {
    pub(super) fn new(db: Arc<DB>) -> Self {
        Self { db, changes: WriteBatch::default() }
    }

    pub(super) fn into_parts(self) -> (Arc<DB>, WriteBatch) {
        (self.db, self.changes)
    }

    /// Bytes of all changes so far.
    pub(crate) fn size(&self) -> usize {
        self.changes.size_in_bytes()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(crate) fn put_wal(&mut self, seq: u64, record: &[u8]) {
        self.changes.put_cf(family(&self.db, WAL), keys::wal(seq), record);
    }

    /// Removes the records up to and with `seq`.
    pub(crate) fn cut_wal(&mut self, seq: u64) {
        self.changes.delete_range_cf(family(&self.db, WAL), keys::wal(0), keys::wal(seq.saturating_add(1)));
    }

    pub(crate) fn put_chunk(&mut self, day: Day, id: SeriesId, t0_ms: i64, generation: u64, bytes: &[u8]) {
        self.changes.put_cf(family(&self.db, CHUNKS), keys::chunk(day, id, t0_ms, generation), bytes);
    }

    pub(crate) fn delete_chunk(&mut self, day: Day, id: SeriesId, t0_ms: i64, generation: u64) {
        self.changes.delete_cf(family(&self.db, CHUNKS), keys::chunk(day, id, t0_ms, generation));
    }

    /// Makes a series known on a day.
    pub(crate) fn put_series(&mut self, day: Day, id: SeriesId, labels: &Labels) {
        let series = family(&self.db, SERIES);
        let mut bytes = Vec::with_capacity(labels.byte_len() + 1);
        put_labels(&mut bytes, labels);
        self.changes.put_cf(series, keys::series(day, id), bytes);
        self.changes.put_cf(series, keys::series_hash(day, labels.stable_hash()), id.to_be_bytes());
    }

    pub(crate) fn delete_series(&mut self, day: Day, id: SeriesId, labels: &Labels) {
        let series = family(&self.db, SERIES);
        self.changes.delete_cf(series, keys::series(day, id));
        self.changes.delete_cf(series, keys::series_hash(day, labels.stable_hash()));
    }

    /// Adds series to a posting.
    pub(crate) fn add_posting(&mut self, day: Day, name: &str, value: &str, set: &RoaringBitmap) {
        let key = keys::posting(day, name, value);
        self.changes.merge_cf(family(&self.db, POSTINGS), key, postings::to_bytes(set));
    }

    /// Replaces a posting; an empty one is removed.
    pub(crate) fn put_posting(&mut self, day: Day, name: &str, value: &str, set: &RoaringBitmap) {
        let (family, key) = (family(&self.db, POSTINGS), keys::posting(day, name, value));
        if set.is_empty() {
            self.changes.delete_cf(family, key);
        } else {
            self.changes.put_cf(family, key, postings::to_bytes(set));
        }
    }

    pub(crate) fn put_meta(&mut self, name: &str, value: &[u8]) {
        self.changes.put_cf(family(&self.db, META), name, value);
    }

    pub(super) fn put(&mut self, family_name: &str, key: &[u8], value: &[u8]) {
        self.changes.put_cf(family(&self.db, family_name), key, value);
    }

    pub(super) fn delete(&mut self, family_name: &str, key: &[u8]) {
        self.changes.delete_cf(family(&self.db, family_name), key);
    }

    pub(super) fn delete_range(&mut self, family_name: &str, from: &[u8], to: &[u8]) {
        self.changes.delete_range_cf(family(&self.db, family_name), from, to);
    }
}
