//! A cursor over chunks that lives as long as the query that reads with it.

use std::sync::Arc;

use rocksdb::{DB, DBRawIterator};

use super::{CHUNKS, Rollup, SeriesId, Store, StoreError, family, keys};
use crate::day::Day;

/// Walks over chunks of one series after another. Positioning an existing cursor is much cheaper than
/// making one, so a query keeps a few.
pub(crate) struct ChunkCursor {
    /// Declared before `_db`, so that they are dropped first.
    iterator: DBRawIterator<'static>,
    /// Rows of the rollup that is asked for.
    rows: Option<DBRawIterator<'static>>,
    /// How many flushes had been committed when the view was taken.
    pub(crate) epoch: u64,
    _db: Arc<DB>,
}

impl Store {
    /// A cursor over what is committed now; `epoch` must have been read before. Rows of `rollup` can be
    /// read with it, if any.
    pub(crate) fn cursor(&self, epoch: u64, rollup: Option<Rollup>) -> Result<ChunkCursor, StoreError> {
        let db = self.db()?;
        let open = |name: &str| {
            let iterator = db.raw_iterator_cf(family(&db, name));
            // SAFETY: only the lifetime changes. The iterator borrows the DB behind `db`, which does not
            // move and which the cursor keeps alive until after the iterator is dropped (field order).
            unsafe { std::mem::transmute::<DBRawIterator<'_>, DBRawIterator<'static>>(iterator) }
        };
        let (iterator, rows) = (open(CHUNKS), rollup.map(|rollup| open(rollup.family())));
        Ok(ChunkCursor { iterator, rows, epoch, _db: db })
    }
}

impl ChunkCursor {
    /// The row of a series and day in the rollup that the cursor was made for.
    pub(crate) fn row(&mut self, day: Day, id: SeriesId) -> Result<Option<&[u8]>, StoreError> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        let want = keys::chunk_series(day, id);
        rows.seek(want);
        rows.status().map_err(StoreError::of("cannot read rollups"))?;
        Ok(rows.item().filter(|(key, _)| *key == want).map(|(_, row)| row))
    }

    /// Calls `each` with first timestamp, generation and bytes of every chunk of a series on a day that
    /// starts not after `end_ms`.
    pub(crate) fn chunks(
        &mut self,
        day: Day,
        id: SeriesId,
        end_ms: i64,
        each: &mut dyn FnMut(i64, u64, &[u8]),
    ) -> Result<(), StoreError> {
        let start = keys::chunk_series(day, id);
        self.iterator.seek(start);
        while let Some((key, bytes)) = self.iterator.item() {
            if !key.starts_with(&start) {
                return Ok(());
            }
            let Some((_, t0_ms, generation)) = keys::parse_chunk(key) else { return Ok(()) };
            if t0_ms > end_ms {
                return Ok(());
            }
            each(t0_ms, generation, bytes);
            self.iterator.next();
        }
        self.iterator.status().map_err(StoreError::of("cannot read chunks"))
    }
}
