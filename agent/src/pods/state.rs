//! What survives the agent's restart: one directory for each pod and each run of a container.
//!
//! ```text
//! <state-dir>/pods/cgroups.json                      cgroups made above the pods' own
//! <state-dir>/pods/<uid>/pod.json                    the pod, its fate, restart counts
//! <state-dir>/pods/<uid>/<container>/<run>/spec.json     what the shim starts
//!                                     …/lock             held by the shim as long as it lives
//!                                     …/started.json     written by the shim: process ids
//!                                     …/ended.json       written by the shim: how it ended
//!                                     …/shim.log         what the shim itself has to say
//! ```
//! Directories are for root alone (0700): environments hold secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::spec::{Mount, Pod};
use crate::durable;

/// What a shim is to start; `spec.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Empty: `/`.
    pub(crate) working_dir: String,
    /// Bound in a private mount namespace.
    pub(crate) mounts: Vec<Mount>,
    /// `cgroup.procs` of these gets the process before it starts; made by the agent.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Set before the program starts.
    pub(crate) oom_score_adj: i32,
    /// Where output goes, in the CRI format.
    pub(crate) log: LogFile,
}

/// A log file and its bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogFile {
    /// The file that is written to.
    pub(crate) path: PathBuf,
    /// Size in bytes at which it is renamed and a new one begun.
    pub(crate) max_bytes: u64,
    /// How many files there are at most, the current one included.
    pub(crate) max_files: usize,
    /// Whether renamed files but the newest are compressed.
    pub(crate) gzip: bool,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Number in the node's PID namespace.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

/// Written by the shim once the program runs; `started.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    /// The shim.
    pub(crate) shim: ProcessId,
    /// The container's first process.
    pub(crate) process: ProcessId,
    /// Wall clock.
    pub(crate) started_ms: i64,
}

/// Written by the shim when the program has ended, or could not be started; `ended.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Exit status, 128 + signal when a signal ended it, 127 or 126 when it was not started.
    pub(crate) exit_code: i32,
    /// Why it could not be started; empty when it was.
    pub(crate) error: String,
    /// Wall clock.
    pub(crate) finished_ms: i64,
    /// Bytes of output that could not be written to the log file.
    pub(crate) log_bytes_lost: u64,
}

/// What the agent knows about a pod; `pod.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    /// What it should be.
    pub(crate) pod: Pod,
    /// When it was first started.
    pub(crate) started_ms: i64,
    /// When not empty: it was evicted, for this reason.
    pub(crate) evicted: String,
    /// By container name.
    pub(crate) containers: BTreeMap<String, ContainerRecord>,
}

/// What the agent knows about a container over its runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// Number of the run, from 0: how often it was started again.
    pub(crate) run: u32,
    /// Whether that run was launched.
    pub(crate) launched: bool,
    /// Whether that run was the last, and is over.
    pub(crate) finished: bool,
    /// Identity of that run: 64 hexadecimal digits.
    pub(crate) id: String,
    /// OOM kills of that run that were reported.
    pub(crate) oom_kills_seen: u64,
    /// Pause before the next start, in ms; 0: none so far.
    pub(crate) backoff_ms: u64,
    /// Not started again before this; wall clock.
    pub(crate) next_start_ms: i64,
    /// How the last run that ended did so.
    pub(crate) last: Option<LastRun>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LastRun {
    /// When it began; 0 when it never did.
    pub(crate) started_ms: i64,
    /// As in [`Ended`].
    pub(crate) exit_code: i32,
    /// Wall clock.
    pub(crate) finished_ms: i64,
    /// "OOMKilled", "Error", "Completed" or "StartError".
    pub(crate) reason: String,
    /// More about it, for people.
    pub(crate) message: String,
}

/// Paths below the state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

impl StateDir {
    /// The pods' part of `state_dir`, made when missing.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("pods");
        make_private_dir(&dir)?;
        Ok(Self(dir))
    }

    /// Directory of a pod.
    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.0.join(uid)
    }

    /// Directory of one run of a container.
    pub(crate) fn run(&self, uid: &str, container: &str, run: u32) -> PathBuf {
        self.0.join(uid).join(container).join(run.to_string())
    }

    /// Every pod that was recorded. A record that cannot be read is named in the log and left where it is.
    pub(crate) fn pods(&self) -> io::Result<Vec<PodRecord>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.0)?.flatten() {
            // Beside the pods' folders there is the list of cgroups.
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let path = entry.path().join("pod.json");
            match durable::load::<PodRecord>(&path) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {}
                Err(e) => tracing::error!(path = %path.display(), error = %e, "pod record is unreadable"),
            }
        }
        Ok(records)
    }

    /// Writes a pod's record.
    pub(crate) fn save(&self, record: &PodRecord) -> io::Result<()> {
        let dir = self.pod(&record.pod.uid);
        make_private_dir(&dir)?;
        durable::save(&dir.join("pod.json"), record)
    }

    /// Remembers directories of cgroups that were made above the pods' own.
    pub(crate) fn add_parents(&self, made: &[PathBuf]) -> io::Result<()> {
        if made.is_empty() {
            return Ok(());
        }
        let mut all = self.parents();
        all.extend(made.iter().filter(|dir| !all.contains(dir)).cloned().collect::<Vec<_>>());
        durable::save(&self.0.join("cgroups.json"), &all)
    }

    /// Those directories, outer ones before inner ones.
    pub(crate) fn parents(&self) -> Vec<PathBuf> {
        durable::load(&self.0.join("cgroups.json")).ok().flatten().unwrap_or_default()
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, uid: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.pod(uid)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Makes a directory that only its owner may enter, and its ancestors.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

impl ProcessId {
    /// Identity of the process that has this number now.
    pub(crate) fn of(proc_root: &Path, pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(proc_root.join(pid.to_string()).join("stat"))?;
        // The command's name may hold anything, blanks and parentheses too: fields begin after the last ')'.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let start = fields.split_whitespace().nth(19).and_then(|field| field.parse().ok());
        let start_ticks = start.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time"))?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether this process still lives (a zombie does).
    pub(crate) fn lives(&self, proc_root: &Path) -> bool {
        Self::of(proc_root, self.pid).is_ok_and(|now| now == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let me = std::process::id() as i32;
        let id = ProcessId::of(Path::new("/proc"), me).unwrap();
        assert!(id.lives(Path::new("/proc")));
        assert!(!ProcessId { start_ticks: id.start_ticks + 1, ..id }.lives(Path::new("/proc")));
    }
}
