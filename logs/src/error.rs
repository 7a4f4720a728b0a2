//! What can go wrong in this crate, and what the caller should do then.

use std::path::PathBuf;

/// Errors of the log store and of LogQL.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store could not be opened: give up, show it to the operator.
    #[error("cannot open the log store at {path}: {reason}")]
    Open {
        /// Its folder.
        path: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// The store failed on one operation.
    #[error("log store: {context}: {reason}")]
    Storage {
        /// What was being done.
        context: String,
        /// What the store said.
        reason: String,
    },
    /// The disk is full or cannot be written: answer 503 and ask for a retry.
    #[error("cannot make log records durable: {reason}")]
    Unavailable {
        /// What the store said.
        reason: String,
    },
    /// The input is wrong for good: answer 400, do not retry.
    #[error("{0}")]
    BadInput(String),
    /// The query cannot be parsed: answer 400.
    #[error("parse error at line {line}, col {column}: {message}")]
    Parse {
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The query cannot be evaluated on this data: answer 400.
    #[error("{0}")]
    Execution(String),
    /// The query reached a limit, which the text names: answer 400.
    #[error("{0}")]
    Limit(String),
    /// The query ran out of time: answer 504.
    #[error("the query ran longer than its limit of {limit_ms} ms (logs.query.timeout_ms)")]
    Timeout {
        /// The limit.
        limit_ms: u64,
    },
}
