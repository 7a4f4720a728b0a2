//! The log store as its users see it: open, append, query, close.

use std::path::PathBuf;

use binnacle_proto::Labels;
use serde::Deserialize;

use crate::Error;

/// Settings of the log store; the section `[logs]` of the server's config file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the store. The server sets it to `DATA_DIR/logs`.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// Records of one stream to append.
#[derive(Debug, Clone)]
pub struct Block {
    /// The stream.
    pub labels: Labels,
    /// Where the records were read from; `None` when they have no position (push API, journal).
    pub position: Option<Position>,
    /// In the order they were read.
    pub records: Vec<Record>,
}

/// A position in a source, for storing each record once: the largest `end` made durable for
/// (`node`, `source`) is kept in the same write as the records, and records that end at or before it
/// are dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Node that read the source.
    pub node: String,
    /// The source, stable over restarts of the agent.
    pub source: String,
    /// Where the block ends, in bytes.
    pub end: u64,
}

/// One log record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// The line, without its end; any bytes.
    pub line: Vec<u8>,
    /// Structured metadata.
    pub metadata: Labels,
    /// Where the line ends in the source, in bytes; 0 without a position.
    pub end: u64,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Records now durable.
    pub stored: u64,
    /// Records that were there already.
    pub repeated: u64,
}

/// A handle on an open store; clones share it.
#[derive(Clone)]
pub struct Db {}

impl Db {
    /// Opens or creates the store.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(_config: Config) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// Appends records; when this returns `Ok` they are durable, each once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be made durable: nothing was acknowledged, retry.
    pub async fn append(&self, _blocks: Vec<Block>, _now_ms: i64) -> Result<Appended, Error> {
        Ok(Appended::default())
    }

    /// Does what has become due: seals blocks, applies retention. Blocks.
    ///
    /// # Errors
    /// When storage fails; call again later.
    pub fn maintain(&self, _now_ms: i64) -> Result<(), Error> {
        Ok(())
    }

    /// Flushes and closes.
    ///
    /// # Errors
    /// When the flush fails; acknowledged records are safe all the same.
    pub fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
