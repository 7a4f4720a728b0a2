//! The directory of a group of log files: the node's own, or one that a container fills.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::Content;
use super::root::{self, Root};

/// A directory.
#[derive(Debug)]
pub(super) enum Folder {
    /// Links are followed: `/var/log/pods` may hold links to the engine's own files.
    Node(PathBuf),
    /// Below a root that is not left.
    Below(Below),
}

/// A directory below a root.
#[derive(Debug)]
pub(super) struct Below {
    /// `None`: its container has ended and was looked at for the last time.
    root: Option<Arc<Root>>,
    dir: PathBuf,
    /// As it was when it was looked at last: mounts of a container end with it, what is open stays.
    held: Option<OwnedFd>,
    ending: bool,
}

impl Folder {
    /// `dir` below `root`.
    pub(super) fn below(root: Arc<Root>, dir: PathBuf) -> Self {
        Self::Below(Below { root: Some(root), dir, held: None, ending: false })
    }

    /// The directory's path, as who writes there sees it.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Node(dir) => dir,
            Self::Below(below) => &below.dir,
        }
    }

    /// Whether it can be watched by its path.
    pub(super) fn is_node(&self) -> bool {
        matches!(self, Self::Node(_))
    }

    /// The container goes on with another root.
    pub(super) fn set_root(&mut self, root: Arc<Root>) {
        if let Self::Below(below) = self {
            *below = Below { root: Some(root), dir: below.dir.clone(), held: None, ending: false };
        }
    }

    /// The container has ended: only what was found before is there to be looked at.
    pub(super) fn end(&mut self) {
        if let Self::Below(below) = self {
            if let (None, Some(root)) = (&below.held, &below.root) {
                below.held = root.dir(&below.dir).ok();
            }
            below.ending = true;
        }
    }

    /// Nothing will be found any more.
    pub(super) fn leave(&mut self) {
        if let Self::Below(below) = self {
            (below.root, below.held) = (None, None);
        }
    }

    /// Names of the files; none when there is no such directory.
    pub(super) fn names(&mut self) -> io::Result<Vec<OsString>> {
        let names = match self {
            Self::Node(dir) => {
                fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
            }
            Self::Below(below) => below.names(),
        };
        match names {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
            names => names,
        }
    }

    /// What is known of a file without opening it.
    pub(super) fn look(&self, name: &OsStr) -> io::Result<Metadata> {
        match self {
            Self::Node(dir) => fs::metadata(dir.join(name)),
            Self::Below(below) => below.look(name),
        }
    }

    /// Opens a file.
    pub(super) fn open(&self, name: &OsStr) -> io::Result<Content> {
        let file = match self {
            Self::Node(dir) => fs::File::open(dir.join(name))?,
            Self::Below(below) => below.open(name)?,
        };
        Ok(Content::new(file, Path::new(name).extension().is_some_and(|end| end == "gz")))
    }
}

impl Below {
    fn names(&mut self) -> io::Result<Vec<OsString>> {
        let Some(root) = &self.root else { return Ok(Vec::new()) };
        if !self.ending {
            self.held = None;
            self.held = Some(root.dir(&self.dir)?);
        }
        let Some(held) = &self.held else { return Ok(Vec::new()) };
        Ok(root::names(held)?.0.into_iter().map(|(name, _)| name).collect())
    }

    fn look(&self, name: &OsStr) -> io::Result<Metadata> {
        match (&self.root, &self.held) {
            (Some(root), _) if !self.ending => root.look(&self.dir.join(name), true),
            (Some(_), Some(held)) => root::file_in(held, Path::new(name))?.metadata(),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn open(&self, name: &OsStr) -> io::Result<fs::File> {
        match (&self.root, &self.held) {
            (Some(root), _) if !self.ending => root.file(&self.dir.join(name)),
            (Some(_), Some(held)) => root::file_in(held, Path::new(name)),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }
}
