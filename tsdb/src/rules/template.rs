//! Templates in labels and annotations: the part of Go's `text/template` that Prometheus rules use, with
//! Prometheus' functions.
//!
//! ```text
//! text ─► lex ─► parse ─► Template ─► eval (values, functions) ─► text
//! ```

mod compare;
mod eval;
mod functions;
mod humanize;
mod lex;
mod parse;
mod printf;
mod value;

use binnacle_proto::Labels;

pub(crate) use self::functions::url_escaped;
pub(crate) use self::humanize::go_exponent;
use self::parse::Node;

/// Longest text a template may give, in bytes.
pub(crate) const MAX_OUTPUT_BYTES: usize = 256 << 10;

/// Steps a template may take: nodes evaluated, range iterations included.
pub(crate) const MAX_STEPS: usize = 100_000;

/// What is wrong with a template, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct TemplateError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

/// A template, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    text: String,
    nodes: Vec<Node>,
    defines: Vec<(String, Vec<Node>)>,
}

/// Answers a query with the elements of a vector.
pub(crate) type Query<'a> = dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String> + 'a;

/// What a template can refer to.
pub(crate) struct Data<'a> {
    /// `$labels`
    pub(crate) labels: &'a Labels,
    /// `$externalLabels`
    pub(crate) external_labels: &'a [(String, String)],
    /// `$externalURL`
    pub(crate) external_url: &'a str,
    /// `$value`
    pub(crate) value: f64,
    /// The time of evaluation, in milliseconds since the epoch.
    pub(crate) at_ms: i64,
    /// Answers `query "…"`.
    pub(crate) query: &'a Query<'a>,
}

/// A mistake at a byte of the text.
#[derive(Debug, Clone, PartialEq)]
struct Fault {
    at: usize,
    reason: String,
}

impl Fault {
    fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }

    fn placed(self, text: &str) -> TemplateError {
        let before = &text[..self.at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        TemplateError { line, column, reason: self.reason }
    }
}

impl Template {
    /// Parses a template; functions and variables it names must exist.
    ///
    /// # Errors
    /// What is wrong and where.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let parsed = lex::tokens(text).and_then(parse::parse);
        let (nodes, defines) = parsed.map_err(|fault| fault.placed(text))?;
        Ok(Self { text: text.to_owned(), nodes, defines })
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// What could not be evaluated and where.
    pub(crate) fn expand(&self, data: &Data<'_>) -> Result<String, TemplateError> {
        eval::run(&self.nodes, &self.defines, data).map_err(|fault| fault.placed(&self.text))
    }
}

#[cfg(test)]
mod tests;
