//! Single reads: meta values, series, postings, the log.

use binnacle_proto::Labels;
use roaring::RoaringBitmap;
use rocksdb::DBRawIterator;

use super::{CHUNKS, META, POSTINGS, SERIES, SeriesId, Store, StoreError, WAL, family, keys, postings};
use crate::codec::Reader;
use crate::day::Day;
use crate::wal::take_labels;

/// A chunk as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredChunk {
    pub(crate) t0_ms: i64,
    pub(crate) generation: u64,
    pub(crate) bytes: Vec<u8>,
}

fn damaged(context: &'static str) -> StoreError {
    StoreError::Failed { context, reason: "its bytes cannot be decoded".into(), corrupt: true }
}

impl Store {
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let db = self.db()?;
        db.get_cf(family(&db, META), name).map_err(StoreError::of("cannot read meta data"))
    }

    /// Labels of a series that has chunks on `day`.
    pub(crate) fn series_labels(&self, day: Day, id: SeriesId) -> Result<Option<Labels>, StoreError> {
        let db = self.db()?;
        let found = db.get_pinned_cf(family(&db, SERIES), keys::series(day, id));
        let Some(bytes) = found.map_err(StoreError::of("cannot read a series"))? else { return Ok(None) };
        take_labels(&mut Reader::new(&bytes)).map(Some).map_err(|_| damaged("cannot read a series"))
    }

    /// Calls `each` with the labels of those of `ids`, ascending, that have chunks on `day`, until it
    /// returns false. Labels that are damaged come as an error.
    pub(crate) fn series_labels_of(
        &self,
        day: Day,
        ids: impl Iterator<Item = SeriesId>,
        each: &mut dyn FnMut(SeriesId, Result<Labels, StoreError>) -> bool,
    ) -> Result<(), StoreError> {
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, SERIES));
        for id in ids {
            let want = keys::series(day, id);
            // Neighbours are one step apart.
            if iterator.valid() {
                iterator.next();
            }
            if iterator.key() != Some(want.as_slice()) {
                iterator.seek(&want);
            }
            let Some(key) = key_of(&iterator)? else { return Ok(()) };
            if key != want {
                continue;
            }
            let labels = take_labels(&mut Reader::new(iterator.value().unwrap_or_default()));
            if !each(id, labels.map_err(|_| damaged("cannot read a series"))) {
                break;
            }
        }
        Ok(())
    }

    /// The series of these labels that has chunks on `day`.
    pub(crate) fn series_by_labels(&self, day: Day, labels: &Labels) -> Result<Option<SeriesId>, StoreError> {
        let db = self.db()?;
        let found = db.get_pinned_cf(family(&db, SERIES), keys::series_hash(day, labels.stable_hash()));
        let Some(bytes) = found.map_err(StoreError::of("cannot look up a series"))? else { return Ok(None) };
        let id =
            u32::from_be_bytes(bytes.as_ref().try_into().map_err(|_| damaged("cannot look up a series"))?);
        // Two label sets may have one hash: the labels themselves decide.
        Ok(self.series_labels(day, id)?.filter(|have| have == labels).map(|_| id))
    }

    /// Series of `day` with this label; all of the day for two empty strings.
    pub(crate) fn posting(&self, day: Day, name: &str, value: &str) -> Result<RoaringBitmap, StoreError> {
        let db = self.db()?;
        let found = db.get_pinned_cf(family(&db, POSTINGS), keys::posting(day, name, value));
        match found.map_err(StoreError::of("cannot read a posting"))? {
            Some(bytes) => postings::from_bytes(&bytes).ok_or_else(|| damaged("cannot read a posting")),
            None => Ok(RoaringBitmap::new()),
        }
    }

    /// Calls `each` with every value of `name` on `day` that starts with `prefix` and its set's bytes,
    /// until it returns false.
    pub(crate) fn postings_of(
        &self,
        day: Day,
        name: &str,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let start = keys::posting(day, name, prefix);
        self.scan(POSTINGS, &start, &keys::after(&start), &mut |key, bytes| match keys::parse_posting(key) {
            Some((_, value)) => each(value, bytes),
            None => true,
        })
    }

    /// Names of the labels on `day`.
    pub(crate) fn label_names(&self, day: Day) -> Result<Vec<String>, StoreError> {
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, POSTINGS));
        iterator.seek(keys::day(day));
        let mut names = Vec::new();
        while let Some(key) = key_of(&iterator)? {
            if keys::parse_day(key) != Some(day) {
                break;
            }
            let Some((name, _)) = keys::parse_posting(key) else { break };
            let next = keys::after(&keys::posting_name(day, name));
            if !name.is_empty() {
                names.push(name.to_owned());
            }
            iterator.seek(next);
        }
        Ok(names)
    }

    /// Days that have series, ascending.
    pub(crate) fn days(&self) -> Result<Vec<Day>, StoreError> {
        self.days_of(SERIES)
    }

    pub(super) fn days_of(&self, name: &str) -> Result<Vec<Day>, StoreError> {
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, name));
        iterator.seek_to_first();
        let mut days = Vec::new();
        while let Some(day) = key_of(&iterator)?.and_then(keys::parse_day) {
            days.push(day);
            iterator.seek(keys::day(Day(day.0 + 1)));
        }
        Ok(days)
    }

    /// Calls `each` with the log's records after `seq`, in order.
    pub(crate) fn wal_after(
        &self,
        seq: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.scan(
            WAL,
            &keys::wal(seq.saturating_add(1)),
            &[0xff; 9],
            &mut |key, record| match keys::parse_wal(key) {
                Some(seq) => each(seq, record),
                None => true,
            },
        )
    }

    /// Number of the log's last record, `None` when it is empty.
    pub(crate) fn wal_end(&self) -> Result<Option<u64>, StoreError> {
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, WAL));
        iterator.seek_to_last();
        Ok(key_of(&iterator)?.and_then(keys::parse_wal))
    }

    /// All chunks of a series on a day.
    pub(crate) fn chunks(&self, day: Day, id: SeriesId) -> Result<Vec<StoredChunk>, StoreError> {
        let start = keys::chunk_series(day, id);
        let mut chunks = Vec::new();
        self.scan(CHUNKS, &start, &keys::after(&start), &mut |key, bytes| {
            if let Some((_, t0_ms, generation)) = keys::parse_chunk(key) {
                chunks.push(StoredChunk { t0_ms, generation, bytes: bytes.to_vec() });
            }
            true
        })?;
        Ok(chunks)
    }

    pub(super) fn scan(
        &self,
        name: &str,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let db = self.db()?;
        let mut iterator = db.raw_iterator_cf(family(&db, name));
        iterator.seek(from);
        while let Some(key) = key_of(&iterator)? {
            if key >= to || !each(key, iterator.value().unwrap_or_default()) {
                break;
            }
            iterator.next();
        }
        Ok(())
    }
}

/// The key an iterator stands at, `None` at the end.
fn key_of<'a>(iterator: &'a DBRawIterator<'_>) -> Result<Option<&'a [u8]>, StoreError> {
    match iterator.key() {
        Some(key) => Ok(Some(key)),
        None => iterator.status().map(|()| None).map_err(StoreError::of("cannot iterate")),
    }
}
