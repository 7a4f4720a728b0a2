//! Where this machine's cgroup hierarchies are: found from its mounts, not guessed.

mod containers;
mod descriptors;
mod emit;
mod mounts;
mod network;
mod oom;
mod read;
mod scan;
mod usage;
mod v1;
mod v2;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Config, Error};
pub(crate) use containers::Containers;
pub(crate) use mounts::unescape;
pub(crate) use read::parse_pressure;
pub(crate) use usage::Events;

/// What a kernel offers of cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Version 1 hierarchies only.
    V1,
    /// The unified hierarchy only.
    V2,
    /// Both are mounted; each controller is in one of them.
    Hybrid,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        })
    }
}

/// The controllers the agent reads or sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Controller {
    Cpu,
    /// Part of `Cpu` in version 2.
    Cpuacct,
    Memory,
    /// `blkio` in version 1.
    Io,
    Pids,
}

impl Controller {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Cpu, Self::Cpuacct, Self::Memory, Self::Io, Self::Pids];

    /// Name among the mount options of a version 1 hierarchy.
    fn v1_name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Io => "blkio",
            Self::Pids => "pids",
        }
    }

    /// Name in `cgroup.controllers`.
    pub(crate) fn v2_name(self) -> &'static str {
        match self {
            Self::Cpu | Self::Cpuacct => "cpu",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Pids => "pids",
        }
    }
}

/// Where a controller's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// A version 1 hierarchy, mounted here.
    V1(PathBuf),
    /// The unified hierarchy, mounted here.
    V2(PathBuf),
}

impl Home {
    /// The mount point.
    pub(crate) fn mount(&self) -> &Path {
        let (Self::V1(mount) | Self::V2(mount)) = self;
        mount
    }
}

/// The machine's hierarchies and the cgroup that is this node.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    mode: Mode,
    /// By `Controller as usize`; `None` where the kernel does not offer it.
    homes: [Option<Home>; 5],
    /// Mount point of the unified hierarchy, also where it holds no controller: it still has
    /// pressure files.
    unified: Option<PathBuf>,
    /// `""` for the whole machine, else like `/binnacle/alpha`.
    parent: String,
}

impl Cgroups {
    /// Reads the mount table of `proc_root` and keeps what is mounted below `cgroup_root`.
    ///
    /// # Errors
    /// When the table cannot be read or names no cgroup hierarchy there.
    pub(crate) fn discover(config: &Config) -> Result<Self, Error> {
        let table = config.proc_root.join("self/mountinfo");
        let text = std::fs::read_to_string(&table).map_err(|e| Error::io(&table, e))?;
        let mounts = mounts::below(&text, &config.cgroup_root);
        if mounts.v1.is_empty() && mounts.v2.is_none() {
            return Err(Error::NoCgroups { root: config.cgroup_root.clone(), mounts: table });
        }
        let mode = match (mounts.v1.iter().any(mounts::V1::has_controller), &mounts.v2) {
            (true, Some(_)) => Mode::Hybrid,
            (true, None) => Mode::V1,
            (false, _) => Mode::V2,
        };
        let offered = match &mounts.v2 {
            Some(mount) => {
                let file = mount.join("cgroup.controllers");
                std::fs::read_to_string(&file).map_err(|e| Error::io(&file, e))?
            }
            None => String::new(),
        };
        let home = |controller: Controller| {
            let v1 = mounts.v1.iter().find(|mount| mount.options.iter().any(|o| o == controller.v1_name()));
            let v2 =
                mounts.v2.as_ref().filter(|_| offered.split_whitespace().any(|c| c == controller.v2_name()));
            v1.map(|mount| Home::V1(mount.path.clone())).or_else(|| v2.map(|path| Home::V2(path.clone())))
        };
        let homes = Controller::ALL.map(home);
        Ok(Self { mode, homes, unified: mounts.v2, parent: config.cgroup_parent.clone() })
    }

    /// What this machine mounts.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Where `controller` is, or `None` when the kernel does not offer it.
    pub(crate) fn home(&self, controller: Controller) -> Option<&Home> {
        self.homes[controller as usize].as_ref()
    }

    /// Mount point of the unified hierarchy, if it is mounted, with or without controllers.
    pub(crate) fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// The cgroup that is this node: `""` for the whole machine, else like `/binnacle/alpha`.
    pub(crate) fn parent(&self) -> &str {
        &self.parent
    }

    /// The directory of cgroup `id` (relative to the parent, like `/kubepods/podX/C`, or `/`) in the
    /// hierarchy of `controller`.
    pub(crate) fn dir(&self, controller: Controller, id: &str) -> Option<PathBuf> {
        self.home(controller).map(|home| self.below(home.mount(), id))
    }

    /// The directory of cgroup `id` in the unified hierarchy, whatever it controls there.
    pub(crate) fn unified_dir(&self, id: &str) -> Option<PathBuf> {
        self.unified().map(|mount| self.below(mount, id))
    }

    /// Every mounted hierarchy that holds one of the controllers, and the unified one: each mount
    /// point once. A pod's cgroup is made in all of them.
    pub(crate) fn hierarchies(&self) -> Vec<&Path> {
        let mut mounts: Vec<&Path> =
            self.homes.iter().flatten().map(Home::mount).chain(self.unified()).collect();
        mounts.sort();
        mounts.dedup();
        mounts
    }

    /// The directory of cgroup `id` below a mount point of [`Self::hierarchies`].
    pub(crate) fn below(&self, mount: &Path, id: &str) -> PathBuf {
        let mut path = mount.as_os_str().to_owned();
        path.push(&self.parent);
        if id != "/" {
            path.push(id);
        }
        path.into()
    }
}

#[cfg(test)]
mod tests;
