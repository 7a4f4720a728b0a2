//! What can go wrong so badly that the agent ends or refuses to start.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of the agent. Trouble with one cgroup, one file or the connection is not among them: it is
/// counted and retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration does not hold together: correct the named field.
    #[error("configuration: {field}: {problem}")]
    Config {
        /// Field or flag.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The configuration file is not what it should be: the text names line and field.
    #[error("configuration file {path}: {problem}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Line, column and reason, as the TOML parser gives them.
        problem: String,
    },
    /// A file or directory the agent cannot work without.
    #[error("{path}: {source}")]
    Io {
        /// What was opened, read or written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No cgroup hierarchy is mounted below the cgroup root: check `--cgroup-root` and `--proc-root`.
    #[error("no cgroup hierarchy is mounted at or below {root} according to {mounts}")]
    NoCgroups {
        /// The cgroup root.
        root: PathBuf,
        /// The mount table that was read.
        mounts: PathBuf,
    },
    /// A task of the agent ended though nobody asked it to; the process must end and be started anew.
    #[error("task {task} ended: {reason}")]
    Task {
        /// The task's name.
        task: &'static str,
        /// Error or panic.
        reason: String,
    },
}

impl Error {
    /// An I/O error with its path.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// A refused field.
    pub(crate) fn config(field: &str, problem: impl Into<String>) -> Self {
        Self::Config { field: field.to_owned(), problem: problem.into() }
    }
}

/// An error with what caused it, as far as the causes say more.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    with_causes(error.to_string(), error)
}

/// `text` with what caused `error`, as far as the causes say more.
pub(crate) fn with_causes(mut text: String, error: &dyn std::error::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let io = io::Error::other(Error::config("field", "wrong"));
        let error = Error::io(Path::new("/x"), io);
        assert_eq!(chain(&error), "/x: configuration: field: wrong");
    }
}
