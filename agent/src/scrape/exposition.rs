//! What a target answers: Prometheus' text format 0.0.4 and OpenMetrics 1.0, read as Prometheus reads them.
//!
//! A malformed exposition is refused as a whole, with the line: half a scrape would look like series that
//! ended.

mod float;
mod parse;
mod series;

use std::fmt;

pub(super) use parse::Parser;
pub(super) use series::{exemplar_labels, series, with_target};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain`, version 0.0.4 or 1.0.0.
    Text,
    /// `application/openmetrics-text`.
    OpenMetrics,
}

impl Format {
    /// By the media type of an answer.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("text/plain") {
            Some(Self::Text)
        } else if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Some(Self::OpenMetrics)
        } else {
            None
        }
    }
}

/// What a family was last said to be, as far as it changes how its series are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Other,
    Histogram,
    Summary,
}

/// One sample of an exposition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exposed<'a> {
    /// Name and labels as they are written; [`series`] reads them.
    pub(super) key: &'a str,
    pub(super) kind: Kind,
    pub(super) value: f64,
    /// Milliseconds since the epoch, if the target says it.
    pub(super) t_ms: Option<i64>,
    /// What stands behind the sample.
    pub(super) exemplar: Option<ExposedExemplar<'a>>,
}

/// An exemplar as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ExposedExemplar<'a> {
    /// Labels in braces; [`exemplar_labels`] reads them.
    pub(super) labels: &'a str,
    pub(super) value: f64,
    /// Milliseconds since the epoch, if the target says it.
    pub(super) t_ms: Option<i64>,
}

/// Where an exposition is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) problem: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

#[cfg(test)]
mod tests;
