//! How RocksDB is set up.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, LogLevel,
    Options,
};

use super::{CHUNKS, META, POSTINGS, ROLLUP_1H, ROLLUP_5M, SERIES, WAL, postings, rollup};
use crate::Config;

/// Blocks of table files: chunks of neighbouring series are read together.
const BLOCK_BYTES: usize = 16 << 10;
/// Bytes allocated beforehand for RocksDB's list of its files.
const MANIFEST_BYTES: usize = 64 << 10;
/// Bits of the bloom filter for each key of the families that are read by key.
const BLOOM_BITS: f64 = 10.0;

/// Opens or creates the database.
pub(super) fn open(dir: &Path, config: &Config) -> Result<DB, rocksdb::Error> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(512);
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(4 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_db_write_buffer_size(config.write_buffer_bytes as usize);
    options.set_max_total_wal_size(config.write_buffer_bytes.saturating_mul(4));
    options.set_bytes_per_sync(1 << 20);
    options.set_manifest_preallocation_size(MANIFEST_BYTES);
    // A torn tail is a batch that was never acknowledged; anything before it must be whole.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    let cache = Cache::new_lru_cache(config.block_cache_bytes as usize);
    let families = [
        ("default", family(config, &cache, DBCompressionType::None)),
        (WAL, family(config, &cache, DBCompressionType::None)),
        (SERIES, family(config, &cache, DBCompressionType::Zstd)),
        (POSTINGS, with_union(family(config, &cache, DBCompressionType::Lz4))),
        (CHUNKS, family(config, &cache, DBCompressionType::Lz4)),
        (ROLLUP_5M, family(config, &cache, rollup::COMPRESSION)),
        (ROLLUP_1H, family(config, &cache, rollup::COMPRESSION)),
        (META, family(config, &cache, DBCompressionType::None)),
    ];
    let descriptors = families.map(|(name, options)| ColumnFamilyDescriptor::new(name, options));
    DB::open_cf_descriptors(&options, dir, descriptors)
}

fn family(config: &Config, cache: &Cache, compression: DBCompressionType) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(compression);
    options.set_write_buffer_size((config.write_buffer_bytes / 4).max(1 << 20) as usize);
    options.set_level_compaction_dynamic_level_bytes(true);
    options
}

fn with_union(mut options: Options) -> Options {
    options.set_merge_operator_associative("posting union", postings::union);
    options
}
