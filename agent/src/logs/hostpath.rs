//! Log files that containers write on hostPath volumes: which there are, and whose they are.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::Inode;
use super::pattern::matches;
use crate::pods::LogMount;

/// How deep below a volume log files are looked for.
const MAX_DEPTH: usize = 3;

/// Most files and directories looked at in one volume.
const MAX_ENTRIES: usize = 2000;

/// Clocks of file systems are coarse: a file may seem a little older than who made it.
pub(super) const SLACK_MS: i64 = 1000;

/// A log file of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostFile {
    pub(super) path: PathBuf,
    /// The volume that it is in; the file itself, if that is all that is mounted.
    pub(super) volume: PathBuf,
    /// Where the container sees it.
    pub(super) seen_as: PathBuf,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
    /// Files rotated before this are not its own.
    pub(super) since_ms: i64,
    pub(super) inode: Inode,
}

/// Finds the log files of all mounts. A file of several containers belongs to the one that started last: of pods
/// that follow one another, to the one that writes now.
pub(super) fn find(mounts: &[LogMount]) -> Vec<HostFile> {
    let mut found: BTreeMap<PathBuf, (i64, HostFile)> = BTreeMap::new();
    for mount in mounts {
        let mut left = MAX_ENTRIES;
        let mut files = Vec::new();
        collect(&mount.host_path, MAX_DEPTH, &mut left, &mut files);
        for (path, mtime_ms, inode) in files {
            if mtime_ms < mount.started_ms.saturating_sub(SLACK_MS) {
                continue;
            }
            if found.get(&path).is_some_and(|(started_ms, _)| *started_ms > mount.started_ms) {
                continue;
            }
            if let Some(file) = of_mount(mount, &path, inode) {
                found.insert(path, (mount.started_ms, file));
            }
        }
    }
    found.into_values().map(|(_, file)| file).collect()
}

/// The log file of a path that was one before, whether it is there now or not: its rotated files may be.
pub(super) fn known(mounts: &[LogMount], path: &Path, inode: Inode) -> Option<HostFile> {
    let files = mounts.iter().filter_map(|mount| Some((mount.started_ms, of_mount(mount, path, inode)?)));
    files.max_by_key(|(started_ms, _)| *started_ms).map(|(_, file)| file)
}

/// What a path is to a mount; `None` when it is no log there.
fn of_mount(mount: &LogMount, path: &Path, inode: Inode) -> Option<HostFile> {
    let below = path.strip_prefix(&mount.host_path).ok()?;
    let seen_as =
        if below.as_os_str().is_empty() { mount.mount_path.clone() } else { mount.mount_path.join(below) };
    is_log(&seen_as, &mount.patterns).then(|| HostFile {
        path: path.to_owned(),
        volume: mount.host_path.clone(),
        seen_as,
        namespace: mount.namespace.clone(),
        pod: mount.pod.clone(),
        container: mount.container.clone(),
        since_ms: mount.started_ms.saturating_sub(SLACK_MS),
        inode,
    })
}

fn collect(path: &Path, depth: usize, left: &mut usize, files: &mut Vec<(PathBuf, i64, Inode)>) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if meta.is_file() {
        files.push((path.to_owned(), meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000, Inode::of(&meta)));
    }
    if !meta.is_dir() || depth == 0 {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if *left == 0 {
            tracing::debug!(path = %path.display(), "too many files: the rest is not looked at");
            return;
        }
        *left -= 1;
        collect(&entry.path(), depth - 1, left, files);
    }
}

/// Whether a file, as the container sees it, is a log: `*.log`, or what the patterns say.
fn is_log(seen_as: &Path, patterns: &[String]) -> bool {
    if patterns.is_empty() {
        return seen_as.extension().is_some_and(|end| end == "log");
    }
    let path = seen_as.to_string_lossy();
    patterns.iter().any(|pattern| matches(pattern, &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(dir: &Path, pod: &str, started_ms: i64) -> LogMount {
        LogMount {
            namespace: "default".to_owned(),
            pod: pod.to_owned(),
            container: "main".to_owned(),
            host_path: dir.to_owned(),
            mount_path: "/var/app".into(),
            patterns: Vec::new(),
            started_ms,
        }
    }

    #[test]
    fn logs_of_a_volume_belong_to_the_pod_that_started_last() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["app.log", "app.log.1", "data.db", "sub/x.log"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = find(&[mount(dir.path(), "new", 20), mount(dir.path(), "old", 10)]);
        let names: Vec<_> =
            found.iter().map(|f| (f.seen_as.to_string_lossy().into_owned(), f.pod.as_str())).collect();
        assert_eq!(names, [("/var/app/app.log".to_owned(), "new"), ("/var/app/sub/x.log".to_owned(), "new")]);
        assert_eq!(find(&[mount(dir.path(), "future", i64::MAX)]), []);
        let chosen = LogMount { patterns: vec!["/var/app/*.db".to_owned()], ..mount(dir.path(), "a", 0) };
        assert_eq!(find(&[chosen]).len(), 1);
    }
}
