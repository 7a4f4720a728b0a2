//! RocksDB behind the log store: families, keys and options. No other module sees its types.
//! `docs/format-logs.md` draws every key and value.

mod keys;

use std::path::Path;

use rocksdb::{
    ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions,
};

pub(crate) use keys::{BlockKey, BlockMeta};

use crate::Error;
use crate::block::put_varint;

/// Format version in the family `meta`.
const FORMAT: &[u8] = b"binnacle-logs 1";
const FORMAT_KEY: &[u8] = b"format";

/// The families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Format version, delete requests.
    Meta,
    /// Stream id → labels.
    Streams,
    /// Sequence → records not yet in a sealed block.
    Wal,
    /// Stream id → WAL sequence up to which its records are in sealed blocks.
    Sealed,
    /// Node and source → position up to which records are durable.
    Positions,
    /// Block key → what the index knows of a block.
    Index,
    /// Block key → sealed block.
    Data,
    /// Block key → filter.
    Filters,
}

const FAMILIES: [(Family, &str); 8] = [
    (Family::Meta, "meta"),
    (Family::Streams, "streams"),
    (Family::Wal, "wal"),
    (Family::Sealed, "sealed"),
    (Family::Positions, "positions"),
    (Family::Index, "index"),
    (Family::Data, "data"),
    (Family::Filters, "filters"),
];

impl Family {
    fn name(self) -> &'static str {
        FAMILIES.iter().find(|(family, _)| *family == self).map_or("default", |(_, name)| name)
    }
}

/// Largest write buffer of a family: RocksDB allocates its log beforehand for the largest of them.
const BUFFER_BYTES: usize = 8 << 20;
/// Most bytes of RocksDB's own log: enough for the buffers of the families that are written all the time.
const LOG_BYTES: u64 = 96 << 20;
/// Bytes allocated beforehand for RocksDB's list of its files.
const MANIFEST_BYTES: usize = 64 << 10;

/// An open RocksDB.
pub(crate) struct Store {
    db: DB,
}

/// Changes that become durable together.
#[derive(Default)]
pub(crate) struct Batch(WriteBatch);

impl Store {
    /// Opens or creates the store.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let fail = |reason: String| Error::Open { path: dir.to_owned(), reason };
        std::fs::create_dir_all(dir).map_err(|err| fail(err.to_string()))?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        options.set_max_total_wal_size(LOG_BYTES);
        options.set_manifest_preallocation_size(MANIFEST_BYTES);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(4 << 20);
        options.set_max_open_files(512);
        options.set_bytes_per_sync(1 << 20);
        let families =
            FAMILIES.iter().map(|(family, name)| ColumnFamilyDescriptor::new(*name, family_options(*family)));
        // The family that every RocksDB has; nothing here uses it, but its write buffer would be the largest.
        let mut unused = Options::default();
        unused.set_write_buffer_size(BUFFER_BYTES);
        let families = families.chain([ColumnFamilyDescriptor::new("default", unused)]);
        let db = DB::open_cf_descriptors(&options, dir, families).map_err(|err| fail(err.to_string()))?;
        let store = Self { db };
        match store.get(Family::Meta, FORMAT_KEY)? {
            None => {
                let mut batch = Batch::default();
                store.put(&mut batch, Family::Meta, FORMAT_KEY, FORMAT);
                store.write(batch, true)?;
            }
            Some(found) if found == FORMAT => {}
            Some(found) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                return Err(fail(format!("its format is {found:?}, which this version cannot read")));
            }
        }
        Ok(store)
    }

    fn family(&self, family: Family) -> &rocksdb::ColumnFamily {
        #[expect(clippy::expect_used, reason = "every family is created when the store is opened")]
        self.db.cf_handle(family.name()).expect("family exists")
    }

    /// The value of a key.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.db.get_cf(self.family(family), key).map_err(|err| storage("read", family, &err))
    }

    /// Adds "set `key`" to a batch.
    pub fn put(&self, batch: &mut Batch, family: Family, key: &[u8], value: &[u8]) {
        batch.0.put_cf(self.family(family), key, value);
    }

    /// Adds "remove `key`" to a batch.
    pub fn remove(&self, batch: &mut Batch, family: Family, key: &[u8]) {
        batch.0.delete_cf(self.family(family), key);
    }

    /// Adds "remove all keys from `from` to before `to`" to a batch.
    pub fn remove_range(&self, batch: &mut Batch, family: Family, from: &[u8], to: &[u8]) {
        batch.0.delete_range_cf(self.family(family), from, to);
    }

    /// Removed keys from `from` to before `to` leave the disk, as far as they fill whole parts of files.
    pub fn reclaim(&self, family: Family, from: &[u8], to: &[u8]) {
        let mut options = rocksdb::CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(self.family(family), Some(from), Some(to), &options);
    }

    /// Writes a batch; with `sync` it is on disk when this returns.
    pub fn write(&self, batch: Batch, sync: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db
            .write_opt(batch.0, &options)
            .map_err(|err| Error::Storage { context: "write".into(), reason: err.to_string() })
    }

    /// Calls `each` for every key from `from` on, in order, until it answers `false`.
    pub fn scan(
        &self,
        family: Family,
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mode = IteratorMode::From(from, rocksdb::Direction::Forward);
        for item in self.db.iterator_cf(self.family(family), mode) {
            let (key, value) = item.map_err(|err| storage("scan", family, &err))?;
            if !each(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes what is in memory to files.
    pub fn flush(&self) -> Result<(), Error> {
        for (family, _) in FAMILIES {
            self.db.flush_cf(self.family(family)).map_err(|err| storage("flush", family, &err))?;
        }
        Ok(())
    }

    /// Bytes of files of a family and of its blobs.
    pub fn disk_bytes(&self, family: Family) -> u64 {
        let of = |name: &str| {
            let value = self.db.property_int_value_cf(self.family(family), name);
            value.ok().flatten().unwrap_or_default()
        };
        of("rocksdb.total-sst-files-size") + of("rocksdb.total-blob-file-size")
    }
}

impl Batch {
    /// Bytes of the batch.
    pub fn size(&self) -> usize {
        self.0.size_in_bytes()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn family_options(family: Family) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    match family {
        Family::Wal => {
            // Written out four at a time: most of what they hold is deleted by then.
            options.set_write_buffer_size(BUFFER_BYTES);
            options.set_min_write_buffer_number_to_merge(4);
            options.set_max_write_buffer_number(12);
        }
        Family::Data => {
            options.set_write_buffer_size(BUFFER_BYTES);
            options.set_min_write_buffer_number_to_merge(2);
            options.set_max_write_buffer_number(4);
            options.set_enable_blob_files(true);
            options.set_min_blob_size(512);
            options.set_blob_file_size(64 << 20);
            options.set_enable_blob_gc(true);
        }
        Family::Filters => options.set_write_buffer_size(BUFFER_BYTES),
        Family::Streams | Family::Index | Family::Positions | Family::Sealed | Family::Meta => {
            options.set_write_buffer_size(4 << 20);
            options.set_compression_type(DBCompressionType::Lz4);
        }
    }
    options
}

fn storage(what: &str, family: Family, err: &rocksdb::Error) -> Error {
    Error::Storage { context: format!("{what} in {}", family.name()), reason: err.to_string() }
}

/// The key of a position.
pub(crate) fn position_key(node: &str, source: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(node.len() + source.len() + 2);
    put_varint(&mut key, node.len() as u64);
    key.extend_from_slice(node.as_bytes());
    key.extend_from_slice(source.as_bytes());
    key
}
