//! Rollups: a row for each series of a day and width of buckets.

use roaring::RoaringBitmap;
use rocksdb::DBCompressionType;

use super::{Batch, ROLLUP_1H, ROLLUP_5M, SeriesId, Store, StoreError, family, keys};
use crate::day::Day;
use crate::select::BUCKETS;

/// Width of the buckets of a rollup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rollup {
    FiveMinutes,
    Hour,
}

/// How rows are compressed: columns are packed already, and what rows have in common is little.
pub(super) const COMPRESSION: DBCompressionType = DBCompressionType::Lz4;

impl Rollup {
    pub(crate) const ALL: [Self; 2] = [Self::FiveMinutes, Self::Hour];

    /// The rollup of this width, if there is one.
    pub(crate) fn of_width(width_ms: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|rollup| rollup.width_ms() == width_ms)
    }

    pub(crate) fn width_ms(self) -> i64 {
        match self {
            Self::FiveMinutes => BUCKETS[1].0,
            Self::Hour => BUCKETS[0].0,
        }
    }

    pub(super) fn family(self) -> &'static str {
        match self {
            Self::FiveMinutes => ROLLUP_5M,
            Self::Hour => ROLLUP_1H,
        }
    }
}

impl Batch {
    pub(crate) fn put_rollup(&mut self, rollup: Rollup, day: Day, id: SeriesId, row: &[u8]) {
        self.put(rollup.family(), &keys::chunk_series(day, id), row);
    }

    /// Removes the rows of a series and day: its samples change.
    pub(crate) fn delete_rollups(&mut self, day: Day, id: SeriesId) {
        for rollup in Rollup::ALL {
            self.delete(rollup.family(), &keys::chunk_series(day, id));
        }
    }
}

impl Store {
    /// Series that have rows on a day. The rows of all widths are written together.
    pub(crate) fn rolled_up(&self, day: Day) -> Result<RoaringBitmap, StoreError> {
        let mut ids = RoaringBitmap::new();
        let (from, to) = (keys::day(day), keys::day(Day(day.0 + 1)));
        self.scan(ROLLUP_1H, &from, &to, &mut |key, _| {
            ids.extend(keys::parse_chunk_series(key));
            true
        })?;
        Ok(ids)
    }

    /// Days that have rows, ascending.
    pub(crate) fn rollup_days(&self) -> Result<Vec<Day>, StoreError> {
        self.days_of(ROLLUP_1H)
    }

    /// Brings a day into its final shape: what was merged or deleted leaves the disk, and each posting
    /// becomes one value. Takes long, and holds up nothing.
    pub(crate) fn compact_day(&self, day: Day) -> Result<(), StoreError> {
        let db = self.db()?;
        let mut options = rocksdb::CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        let (from, to) = (keys::day(day), keys::day(Day(day.0 + 1)));
        for name in super::DAY_FAMILIES {
            db.compact_range_cf_opt(family(&db, name), Some(from), Some(to), &options);
        }
        Ok(())
    }
}
