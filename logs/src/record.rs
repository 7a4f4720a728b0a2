//! What goes into the store: records, the blocks they come in, and what became of them.

use binnacle_proto::Labels;

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
/// are dropped. So blocks of one source are appended one after the other: the next when the one before
/// is durable, and not at all when it failed.
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
    /// Records refused for good, because of their time or a budget; [`crate::Stats`] says why.
    pub refused: u64,
}
