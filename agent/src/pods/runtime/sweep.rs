//! Removes the log files of pods that are gone, once there was time to read them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::pods::state::make_private_dir;

/// Time between two looks, in ms.
const EVERY_MS: i64 = 10_000;

/// Log directories of pods that are gone: one file each, named like it, holding the time (ms) of its end.
pub(super) struct Sweep {
    dir: PathBuf,
    pod_log_dir: PathBuf,
    keep_ms: i64,
    next_ms: i64,
}

impl Sweep {
    pub(super) fn open(state_dir: &Path, pod_log_dir: &Path, keep: Duration) -> io::Result<Self> {
        let dir = state_dir.join("gone");
        make_private_dir(&dir)?;
        Ok(Self { dir, pod_log_dir: pod_log_dir.to_owned(), keep_ms: keep.as_millis() as i64, next_ms: 0 })
    }

    /// The log directory `name` is to be removed later.
    pub(super) fn bury(&self, name: &str, now_ms: i64) -> io::Result<()> {
        fs::write(self.dir.join(name), (now_ms + self.keep_ms).to_string())
    }

    /// Removes what is due.
    pub(super) fn run(&mut self, now_ms: i64) {
        if now_ms < self.next_ms {
            return;
        }
        self.next_ms = now_ms + EVERY_MS;
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            // What cannot be read stays: nothing is removed by mistake.
            if !text.parse::<i64>().is_ok_and(|end_ms| end_ms <= now_ms) {
                continue;
            }
            let logs = self.pod_log_dir.join(entry.file_name());
            match fs::remove_dir_all(&logs) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %logs.display(), error = %e, "log files were not removed");
                }
                _ => {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_go_when_their_time_is_over_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        fs::create_dir_all(logs.join("ns_a_1/c")).unwrap();
        fs::create_dir_all(logs.join("ns_other_2")).unwrap();
        let mut sweep = Sweep::open(dir.path(), &logs, Duration::from_secs(60)).unwrap();
        sweep.bury("ns_a_1", 1000).unwrap();
        sweep.run(60_999);
        assert!(logs.join("ns_a_1").exists());
        sweep.run(71_000);
        assert!(!logs.join("ns_a_1").exists() && logs.join("ns_other_2").exists());
        assert_eq!(fs::read_dir(dir.path().join("gone")).unwrap().count(), 0);
    }
}
