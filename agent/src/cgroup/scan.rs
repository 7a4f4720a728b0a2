//! Finds the cgroups below the node's own.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use super::{Cgroups, Controller};

/// Most cgroups one node reports; the others are counted and left out.
pub(crate) const MAX_CGROUPS: usize = 5_000;

/// Deeper trees are not followed.
const MAX_DEPTH: usize = 16;

/// The cgroups that exist now: id (relative to the node's own cgroup, `/` for that one itself) and
/// the inode of its directory in the first hierarchy that has it. A new inode is a new cgroup, though
/// the name be the same. The second value is how many were left out.
pub(crate) fn scan(cgroups: &Cgroups) -> (BTreeMap<String, u64>, usize) {
    let mut walk = Walk { found: BTreeMap::new(), left_out: 0 };
    let mut mounts: Vec<&Path> =
        Controller::ALL.iter().filter_map(|controller| Some(cgroups.home(*controller)?.mount())).collect();
    mounts.dedup();
    for mount in mounts {
        let top = cgroups.below(mount, "/");
        if let Ok(meta) = top.metadata() {
            walk.add("/".to_owned(), meta.ino());
            walk.children(&top, "", 0);
        }
    }
    (walk.found, walk.left_out)
}

struct Walk {
    found: BTreeMap<String, u64>,
    left_out: usize,
}

impl Walk {
    fn children(&mut self, dir: &Path, id: &str, depth: usize) {
        // A directory that vanishes meanwhile has no children.
        let Ok(entries) = dir.read_dir() else { return };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let child = format!("{id}/{name}");
            self.add(child.clone(), entry.ino());
            if depth < MAX_DEPTH {
                self.children(&entry.path(), &child, depth + 1);
            }
        }
    }

    fn add(&mut self, id: String, inode: u64) {
        if self.found.contains_key(&id) {
            return;
        }
        if self.found.len() >= MAX_CGROUPS {
            self.left_out += 1;
            return;
        }
        self.found.insert(id, inode);
    }
}
