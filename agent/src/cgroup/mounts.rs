//! Reads a mount table (`/proc/PID/mountinfo`) for cgroup hierarchies.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The hierarchies mounted below one directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    pub(super) v1: Vec<V1>,
    pub(super) v2: Option<PathBuf>,
}

/// A version 1 hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct V1 {
    pub(super) path: PathBuf,
    /// Options of the file system: controllers, `name=…`, `rw`.
    pub(super) options: Vec<String>,
}

impl V1 {
    /// Whether it controls anything: `name=systemd` alone does not.
    pub(super) fn has_controller(&self) -> bool {
        !self.options.iter().any(|option| option.starts_with("name="))
    }
}

/// The cgroup file systems mounted at or below `root`. Of several mounts of the unified hierarchy the
/// one nearest to `root` is taken; of several mounts of a controller likewise.
pub(super) fn below(mountinfo: &str, root: &Path) -> Mounts {
    let mut found: Vec<(PathBuf, &str, &str)> = mountinfo.lines().filter_map(parse_line).collect();
    found.retain(|(path, kind, _)| path.starts_with(root) && matches!(*kind, "cgroup" | "cgroup2"));
    found.sort_by_key(|(path, ..)| path.components().count());
    let mut mounts = Mounts::default();
    for (path, kind, options) in found {
        if kind == "cgroup" {
            mounts.v1.push(V1 { path, options: options.split(',').map(str::to_owned).collect() });
        } else if mounts.v2.is_none() {
            mounts.v2 = Some(path);
        }
    }
    mounts
}

/// Mount point, file system type and its options. The format is in proc_pid_mountinfo(5): six fields,
/// optional ones, ` - `, then type, source and options.
fn parse_line(line: &str) -> Option<(PathBuf, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let path = left.split(' ').nth(4)?;
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    Some((unescape(path), kind, options))
}

/// Blanks, tabs, line ends and backslashes in paths are written as three octal digits.
pub(crate) fn unescape(path: &str) -> PathBuf {
    let bytes = path.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (bytes[at], code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                at += 4;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    OsString::from_vec(plain).into()
}
