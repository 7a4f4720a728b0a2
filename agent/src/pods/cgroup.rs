//! Cgroups that this agent makes for pods: where they are in each hierarchy, made, emptied, removed.

mod limits;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use limits::Limits;

use crate::cgroup::{Cgroups, Controller};

/// Version of a hierarchy's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// One mount for one or a few controllers.
    V1,
    /// One mount for all.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone)]
struct Hierarchy {
    version: Version,
    controllers: Vec<Controller>,
    /// Where it is mounted.
    root: PathBuf,
}

/// The hierarchies in which pods live, and the cgroup below which this agent may make its own.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    hierarchies: Vec<Hierarchy>,
    /// Relative to each root, without slashes at the ends; empty: the root.
    parent: PathBuf,
}

/// What went wrong with a cgroup, and where.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub(crate) struct Error {
    /// File or directory.
    pub(crate) path: PathBuf,
    /// The kernel's answer.
    pub(crate) source: io::Error,
}

impl Error {
    fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }

    /// Whether the cgroup is not there (any more).
    pub(crate) fn is_gone(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound || self.source.raw_os_error() == Some(libc::ENODEV)
    }
}

impl Tree {
    /// The hierarchies that the machine mounts. The unified one is used even where it has no controllers: it
    /// has pressure files, and can kill a cgroup at once.
    pub(crate) fn new(cgroups: &Cgroups) -> Self {
        let hierarchy = |root: &Path| {
            let version = if cgroups.unified() == Some(root) { Version::V2 } else { Version::V1 };
            let here = |c: &Controller| cgroups.home(*c).is_some_and(|home| home.mount() == root);
            let controllers = Controller::ALL.into_iter().filter(here).collect();
            Hierarchy { version, controllers, root: root.to_owned() }
        };
        Self {
            hierarchies: cgroups.hierarchies().into_iter().map(hierarchy).collect(),
            parent: PathBuf::from(cgroups.parent().trim_matches('/')),
        }
    }

    /// A host without cgroups: pods run, but nothing limits them.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self { hierarchies: Vec::new(), parent: PathBuf::new() }
    }

    /// The cgroup at `relative`, below the parent; the parent itself when that is empty.
    pub(crate) fn group(&self, relative: &str) -> Group {
        Group { tree: self.clone(), relative: PathBuf::from(relative.trim_matches('/')) }
    }

    /// Makes the parent where it is missing. Returns the directories that were made, outermost first.
    pub(crate) fn create_parent(&self) -> Result<Vec<PathBuf>, Error> {
        self.group("").make()
    }
}

/// One cgroup, in every hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    tree: Tree,
    relative: PathBuf,
}

impl Group {
    /// The last part of its path: a container's id.
    pub(crate) fn name(&self) -> String {
        self.relative.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Its directory in every hierarchy.
    pub(crate) fn dirs(&self) -> Vec<PathBuf> {
        self.tree.hierarchies.iter().map(|h| self.dir(h)).collect()
    }

    fn dir(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.root.join(&self.tree.parent).join(&self.relative)
    }

    /// The directory that controls `controller`, and its interface; `None` where the host has no such
    /// controller.
    fn controlled(&self, controller: Controller) -> Option<(Version, PathBuf)> {
        let has = |h: &&Hierarchy| h.controllers.contains(&controller);
        self.tree.hierarchies.iter().find(has).map(|h| (h.version, self.dir(h)))
    }

    /// Makes it and its ancestors. In v2 the ancestors hand the controllers down.
    pub(crate) fn create(&self) -> Result<(), Error> {
        self.make().map(|_| ())
    }

    fn make(&self) -> Result<Vec<PathBuf>, Error> {
        let mut made = Vec::new();
        for hierarchy in &self.tree.hierarchies {
            let mut at = hierarchy.root.clone();
            for part in self.tree.parent.join(&self.relative).components() {
                if hierarchy.version == Version::V2 {
                    hand_down(&at, &hierarchy.controllers)?;
                }
                at.push(part);
                match fs::create_dir(&at) {
                    Ok(()) => made.push(at.clone()),
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(Error::new(&at, e)),
                }
            }
        }
        Ok(made)
    }

    /// Whether its directory exists in any hierarchy.
    #[cfg(test)]
    pub(crate) fn exists(&self) -> bool {
        self.dirs().iter().any(|dir| dir.exists())
    }

    /// Processes in it, of every hierarchy, in ascending order. Those of cgroups below are not included.
    pub(crate) fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut pids = BTreeSet::new();
        for dir in self.dirs() {
            let path = dir.join("cgroup.procs");
            match fs::read_to_string(&path) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
                Err(e) => return Err(Error::new(&path, e)),
            }
        }
        // 0 stands for a process of another PID namespace: not ours to touch.
        pids.remove(&0);
        Ok(pids.into_iter().collect())
    }

    /// Sends `SIGKILL` to every process in it. New processes cannot be made meanwhile where the host has the
    /// `pids` controller. Returns how many were there.
    pub(crate) fn kill(&self) -> Result<usize, Error> {
        if let Some((_, dir)) = self.controlled(Controller::Pids) {
            match fs::write(dir.join("pids.max"), "0") {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => tracing::debug!(dir = %dir.display(), error = %e, "pids.max was not set"),
            }
        }
        let pids = self.processes()?;
        for &pid in &pids {
            // SAFETY: a plain system call on numbers.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        Ok(pids.len())
    }

    /// Removes it, and cgroups below it. Fails with `EBUSY` while processes are in it: try again later.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        for dir in self.dirs() {
            remove_tree(&dir)?;
        }
        Ok(())
    }
}

fn remove_tree(dir: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::new(dir, e)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::new(dir, e)),
    }
}

/// Lets the children of a v2 cgroup use `controllers`. One at a time: one that is refused must not take the
/// others with it.
fn hand_down(dir: &Path, controllers: &[Controller]) -> Result<(), Error> {
    if controllers.is_empty() {
        return Ok(());
    }
    let path = dir.join("cgroup.subtree_control");
    let have = fs::read_to_string(&path).map_err(|e| Error::new(&path, e))?;
    for controller in controllers {
        let name = controller.v2_name();
        if have.split_whitespace().any(|c| c == name) {
            continue;
        }
        fs::write(&path, format!("+{name}")).map_err(|e| Error::new(&path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
