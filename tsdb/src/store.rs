//! The only durable store: one RocksDB, a column family a concern. No RocksDB type leaves this module.

mod batch;
mod cursor;
mod keys;
mod options;
mod postings;
mod read;
mod reopen;
mod rollup;
mod scan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::RwLock;
use rocksdb::{ColumnFamily, DB, WriteOptions, checkpoint::Checkpoint};

pub(crate) use batch::Batch;
pub(crate) use cursor::ChunkCursor;
pub(crate) use postings::{from_bytes as posting_from_bytes, to_bytes as posting_to_bytes};
pub(crate) use read::StoredChunk;
pub(crate) use rollup::Rollup;
pub(crate) use scan::SeriesChunks;

use crate::day::Day;
use crate::{Config, Error};

/// Version of everything on disk; a database of another one is refused.
const FORMAT_VERSION: u32 = 1;
const META_FORMAT: &str = "format_version";

const WAL: &str = "wal";
const SERIES: &str = "series";
const POSTINGS: &str = "postings";
const CHUNKS: &str = "chunks";
const ROLLUP_5M: &str = "rollup_5m";
const ROLLUP_1H: &str = "rollup_1h";
const META: &str = "meta";
/// Families whose keys begin with a day.
const DAY_FAMILIES: [&str; 5] = [SERIES, POSTINGS, CHUNKS, ROLLUP_5M, ROLLUP_1H];

/// A series in the store.
pub(crate) type SeriesId = u32;

/// Why the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// RocksDB said no.
    #[error("{context}: {reason}")]
    Failed { context: &'static str, reason: String, corrupt: bool },
    /// The database is closed, or being reopened after a failed write.
    #[error("the store is not open")]
    NotOpen,
}

impl StoreError {
    fn of(context: &'static str) -> impl Fn(rocksdb::Error) -> Self {
        move |error| Self::Failed {
            context,
            corrupt: error.kind() == rocksdb::ErrorKind::Corruption,
            reason: error.into_string(),
        }
    }

    /// Whether a block on disk is damaged, which concerns that block only.
    pub(crate) fn is_corruption(&self) -> bool {
        matches!(self, Self::Failed { corrupt: true, .. })
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed { context, reason, .. } => Error::Storage { context: context.into(), reason },
            StoreError::NotOpen => Error::Unavailable { reason: error.to_string() },
        }
    }
}

/// The open store.
pub(crate) struct Store {
    dir: PathBuf,
    config: Config,
    /// `None` after `close`, and while a reopening after a failed write did not succeed yet.
    db: RwLock<Option<Arc<DB>>>,
    /// A write failed since the database was opened: RocksDB may refuse all further ones.
    write_failed: AtomicBool,
}

impl Store {
    /// Opens or creates the database in the folder of `config`.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        let dir = config.dir.join("db");
        let failed = |reason: String| Error::Open { path: dir.clone(), reason };
        std::fs::create_dir_all(&dir).map_err(|error| failed(error.to_string()))?;
        let db = options::open(&dir, config).map_err(|error| failed(error.into_string()))?;
        let store = Self {
            dir: dir.clone(),
            config: config.clone(),
            db: RwLock::new(Some(Arc::new(db))),
            write_failed: AtomicBool::new(false),
        };
        match store.meta(META_FORMAT)? {
            Some(bytes) if bytes == FORMAT_VERSION.to_be_bytes() => {}
            Some(bytes) => {
                return Err(failed(format!(
                    "its format version is {bytes:?}, this program reads {FORMAT_VERSION}"
                )));
            }
            None => {
                let mut batch = store.batch()?;
                batch.put_meta(META_FORMAT, &FORMAT_VERSION.to_be_bytes());
                store.write(batch)?;
            }
        }
        Ok(store)
    }

    /// The folder of RocksDB.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn db(&self) -> Result<Arc<DB>, StoreError> {
        self.db.read().clone().ok_or(StoreError::NotOpen)
    }

    /// Starts a set of changes that [`Store::write`] makes all or none of.
    pub(crate) fn batch(&self) -> Result<Batch, StoreError> {
        Ok(Batch::new(self.db()?))
    }

    /// Makes the changes; when this returns `Ok` they are on disk.
    pub(crate) fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        let (db, changes) = batch.into_parts();
        db.write_opt(changes, &options).map_err(|error| {
            self.write_failed.store(true, std::sync::atomic::Ordering::Release);
            StoreError::of("cannot write")(error)
        })
    }

    /// Writes a consistent copy of the database to `dir`, which must not exist.
    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<(), StoreError> {
        let db = self.db()?;
        let copy = Checkpoint::new(&db).map_err(StoreError::of("cannot start a snapshot"))?;
        copy.create_checkpoint(dir).map_err(StoreError::of("cannot write a snapshot"))
    }

    /// Removes a day: its index and its chunks. Whole files go at once, the rest by tombstones.
    pub(crate) fn drop_day(&self, day: Day) -> Result<(), StoreError> {
        let db = self.db()?;
        let (from, to) = (keys::day(day), keys::day(Day(day.0 + 1)));
        let mut batch = self.batch()?;
        for name in DAY_FAMILIES {
            batch.delete_range(name, &from, &to);
        }
        self.write(batch)?;
        for name in DAY_FAMILIES {
            db.delete_file_in_range_cf(family(&db, name), from, to)
                .map_err(StoreError::of("cannot delete the files of a day"))?;
        }
        Ok(())
    }

    /// Value of a RocksDB property over all families, e.g. bytes of table files.
    pub(crate) fn property(&self, name: &str) -> u64 {
        let Ok(db) = self.db() else { return 0 };
        let of = |family_name| db.property_int_value_cf(family(&db, family_name), name).ok().flatten();
        [WAL, META].into_iter().chain(DAY_FAMILIES).filter_map(of).sum()
    }

    /// Memory of the block cache in use.
    pub(crate) fn block_cache_bytes(&self) -> u64 {
        let Ok(db) = self.db() else { return 0 };
        db.property_int_value_cf(family(&db, CHUNKS), "rocksdb.block-cache-usage").ok().flatten().unwrap_or(0)
    }

    /// Closes: later calls fail with [`StoreError::NotOpen`]. Cursors that are still read keep the
    /// files open until they are dropped.
    pub(crate) fn close(&self) {
        self.db.write().take();
    }
}

/// Every family is created when the database is opened, so it is there.
#[expect(clippy::expect_used, reason = "opening creates all families and nothing drops one")]
fn family<'a>(db: &'a DB, name: &str) -> &'a ColumnFamily {
    db.cf_handle(name).expect("column family exists")
}
