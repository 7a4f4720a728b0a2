//! What can go wrong in this crate, and what the caller should do then.

use std::path::PathBuf;

use crate::select::LimitError;

/// Errors of storage and evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not be opened: give up, show it to the operator.
    #[error("cannot open the database at {path}: {reason}")]
    Open {
        /// Its folder.
        path: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// The store failed on one operation. Writes: nothing of the batch was acknowledged, try again
    /// later. Reads: answer with the error.
    #[error("storage: {context}: {reason}")]
    Storage {
        /// What was being done, with key or path.
        context: String,
        /// What the store said.
        reason: String,
    },
    /// The disk is full or cannot be written: answer 503 and ask for a retry.
    #[error("cannot make samples durable: {reason}")]
    Unavailable {
        /// What the store said.
        reason: String,
    },
    /// A new series was refused because the budget of series is used up; known series go on. Drop its
    /// samples, count them, take the others.
    #[error("series limit reached: {limit} series are active ({budget}); refused {series}")]
    SeriesLimit {
        /// The limit.
        limit: u64,
        /// Which limit that is: the setting, and the label it is for if any.
        budget: String,
        /// The series that was refused.
        series: String,
    },
    /// A query reached a limit: answer with it.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The expression cannot be parsed: answer 400.
    #[error("{0}")]
    Parse(String),
    /// The expression cannot be evaluated on this data: answer 422.
    #[error("{0}")]
    Execution(String),
    /// The input is wrong for good: answer 400, do not retry.
    #[error("{0}")]
    BadInput(String),
}
