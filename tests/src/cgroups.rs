//! Cgroups of a test's own.

use std::fs;
use std::path::Path;

/// A folder of cgroups below which everything of a test is; removed in all hierarchies when dropped, which
/// must be after the processes in them have ended.
pub struct Parent(String);

impl Parent {
    /// One that no other process uses; the kernel makes none before it is needed.
    pub fn new(name: &str) -> Self {
        Self(format!("binnacle-{name}-{}", std::process::id()))
    }

    /// Its name, without slashes.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else { return };
        let roots = hierarchies.flatten().map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
        roots.for_each(|root| remove_tree(&root.join(&self.0)));
    }
}

fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // Only empty ones go.
    let _ = fs::remove_dir(cgroup);
}
