//! Manifests: the folder of YAML files that defines the objects.
//!
//! A file is read when its modification time, size or inode changes. A file that cannot be used is
//! named with line and field, and the objects it gave before stay as they were.

mod convert;
mod document;
mod folder;
mod hpa;
mod pod;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

pub use folder::Folder;

/// Why a file was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1; `None` when the whole file is meant.
    pub line: Option<u64>,
    /// Path of the field, e.g. `spec.template.spec.containers[0].image`; may be empty.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What is wrong with a field, before file and line are known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    field: String,
    message: String,
}

impl Wrong {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// The same, with the field seen from further out.
    fn within(mut self, outer: &str) -> Self {
        self.field = match (outer.is_empty(), self.field.is_empty()) {
            (true, _) => self.field,
            (_, true) => outer.to_owned(),
            _ => format!("{outer}.{}", self.field),
        };
        self
    }
}
