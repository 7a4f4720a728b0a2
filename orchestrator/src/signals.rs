//! Signals: what the decisions ask the metrics store, and its answers with their age.
//!
//! Everything that steers is asked in PromQL, so that a person can ask the same. A value that is
//! missing or stale is a case of its own: it never becomes a zero.

mod ask;
pub mod hpa;
pub mod oom;
pub mod schedule;
#[cfg(test)]
mod tests;

pub use ask::{Ask, Prom};

/// One query that was asked for a decision, for the journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Asked {
    /// What it is for.
    pub name: String,
    /// The PromQL.
    pub query: String,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Asked {
    fn new(name: &str, query: &str, error: Option<String>) -> Self {
        Self { name: name.to_owned(), query: query.to_owned(), error }
    }
}

/// A PromQL string literal.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
