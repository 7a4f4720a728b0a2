//! Chunks of many series of a day, one series after the other.

use rocksdb::ReadOptions;

use super::{CHUNKS, SeriesId, Store, StoreError, StoredChunk, family, keys};
use crate::day::Day;

/// All chunks of a series on a day.
pub(crate) struct SeriesChunks {
    pub(crate) id: SeriesId,
    /// Ascending by first timestamp, then generation.
    pub(crate) chunks: Vec<StoredChunk>,
}

/// Bytes of one series' chunks that a scan holds at most; a series with more comes without any.
const MAX_SERIES_BYTES: usize = 16 << 20;

impl Store {
    /// Calls `each` with the chunks of every series of a day from `from` on, in order, until it returns
    /// false. The view is that of one instant. What queries have in the cache stays there.
    pub(crate) fn scan_chunks(
        &self,
        day: Day,
        from: SeriesId,
        each: &mut dyn FnMut(SeriesChunks) -> bool,
    ) -> Result<(), StoreError> {
        let db = self.db()?;
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut iterator = db.raw_iterator_cf_opt(family(&db, CHUNKS), options);
        iterator.seek(keys::chunk_series(day, from));
        let mut current: Option<SeriesChunks> = None;
        let mut bytes = 0;
        while let Some((key, value)) = iterator.item() {
            let Some((id, t0_ms, generation)) = keys::parse_chunk(key) else { break };
            if keys::parse_day(key) != Some(day) {
                break;
            }
            if current.as_ref().is_none_or(|current| current.id != id) {
                if current.take().is_some_and(|done| !each(done)) {
                    return Ok(());
                }
                bytes = 0;
            }
            let current = current.get_or_insert_with(|| SeriesChunks { id, chunks: Vec::new() });
            bytes += value.len();
            if bytes <= MAX_SERIES_BYTES {
                current.chunks.push(StoredChunk { t0_ms, generation, bytes: value.to_vec() });
            } else {
                current.chunks.clear();
            }
            iterator.next();
        }
        iterator.status().map_err(StoreError::of("cannot read chunks"))?;
        if let Some(done) = current {
            each(done);
        }
        Ok(())
    }
}
