//! What can go wrong in this crate, and what the caller should do then.

use std::path::PathBuf;

/// Errors of the log store and of LogQL.
#[derive(Debug, thiserror::Error)]
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
}
