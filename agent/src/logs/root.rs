//! A directory tree that somebody else fills: whatever links are in it, no path leads out of it.
//!
//! Links are resolved by the kernel as if the tree were the whole file system (`openat2`), links of `/proc` not at all.
//! A file is looked at before it is opened: opening a device or a pipe may have effects, and a lease may make who opens
//! wait. What a container could make hang, a file system of its own (FUSE), takes privileges with which it owns the
//! node anyway.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Most entries of a directory that are looked at.
pub(super) const MAX_ENTRIES: usize = 2000;

/// The tree.
#[derive(Debug)]
pub(super) struct Root(At);

#[derive(Debug)]
enum At {
    /// The root of a container's mount namespace, through one of its processes; held beyond its end.
    Container { fd: OwnedFd, cgroup: PathBuf, id: String },
    /// A directory of the node that is mounted into a container. Paths are the node's.
    Volume(PathBuf),
}

impl Root {
    /// The root of the container `id`, of which `pid` is a process.
    ///
    /// # Errors
    /// When the process is gone, or is now another's.
    pub(super) fn of_container(proc: &Path, pid: i32, id: &str) -> io::Result<Self> {
        let process = proc.join(pid.to_string());
        let options = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(process.join("root"), options, Mode::empty())?;
        let root = Self(At::Container { fd, cgroup: process.join("cgroup"), id: id.to_owned() });
        // Asked for after it was opened: the number may have been given to another process meanwhile.
        if root.lives() { Ok(root) } else { Err(ErrorKind::NotFound.into()) }
    }

    /// A volume.
    pub(super) fn of_volume(path: PathBuf) -> Self {
        Self(At::Volume(path))
    }

    /// Whether the container's process is still there.
    pub(super) fn lives(&self) -> bool {
        match &self.0 {
            At::Container { cgroup, id, .. } => {
                !id.is_empty() && fs::read_to_string(cgroup).is_ok_and(|text| text.contains(id.as_str()))
            }
            At::Volume(_) => true,
        }
    }

    /// Opens a directory of the tree.
    pub(super) fn dir(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// What is there; a link itself unless `follow`.
    pub(super) fn look(&self, path: &Path, follow: bool) -> io::Result<Metadata> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        File::from(self.open(path, OFlags::PATH | nofollow)?).metadata()
    }

    /// Opens a regular file; anything else is refused with [`ErrorKind::InvalidInput`].
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        regular(self.open(path, OFlags::PATH)?)
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        match &self.0 {
            At::Container { fd, .. } => {
                let relative = path.strip_prefix("/").unwrap_or(path);
                open_below(fd, relative, flags, ResolveFlags::IN_ROOT)
            }
            At::Volume(volume) => {
                let relative = path.strip_prefix(volume).unwrap_or(path);
                let options = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(volume, options, Mode::empty())?;
                open_below(&fd, relative, flags, ResolveFlags::BENEATH)
            }
        }
    }
}

/// Opens a regular file directly in a directory; not through a link.
pub(super) fn file_in(dir: impl AsFd, name: &Path) -> io::Result<File> {
    regular(open_below(dir, name, OFlags::PATH, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?)
}

fn open_below(dir: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(openat2(dir, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)?)
}

/// Opens for reading what was only found until now.
fn regular(found: OwnedFd) -> io::Result<File> {
    let found = File::from(found);
    if !found.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

/// Names in a directory, with what they may be; the second value says whether there were too many.
pub(super) fn names(dir: impl AsFd) -> io::Result<(Vec<(OsString, FileType)>, bool)> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if names.len() == MAX_ENTRIES {
            return Ok((names, true));
        }
        names.push((OsString::from_vec(name.to_vec()), entry.file_type()));
    }
    Ok((names, false))
}

/// Whether a path was refused because it leads out of the tree.
pub(super) fn is_outside(error: &io::Error) -> bool {
    [Errno::XDEV, Errno::LOOP].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn container(dir: &Path) -> Root {
        let proc = dir.join("proc");
        fs::create_dir_all(proc.join("7")).unwrap();
        fs::create_dir_all(dir.join("rootfs/var/log")).unwrap();
        symlink(dir.join("rootfs"), proc.join("7/root")).unwrap();
        fs::write(proc.join("7/cgroup"), "0::/kubepods/podx/abc\n").unwrap();
        assert!(Root::of_container(&proc, 7, "other").is_err(), "the process is another's");
        Root::of_container(&proc, 7, "abc").unwrap()
    }

    #[test]
    fn links_stay_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = container(dir.path());
        let rootfs = dir.path().join("rootfs");
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::write(rootfs.join("secret"), "inside").unwrap();
        for (name, to) in [
            ("absolute", "/secret"),
            ("up", "../../../../../secret"),
            ("far", dir.path().join("secret").to_str().unwrap()),
            ("magic", "/proc/self/root/secret"),
        ] {
            symlink(to, rootfs.join("var/log").join(name)).unwrap();
        }
        let read = |name: &str| io::read_to_string(root.file(&Path::new("/var/log").join(name))?);
        assert_eq!(read("absolute").unwrap(), "inside");
        assert_eq!(read("up").unwrap(), "inside");
        assert!(read("far").is_err() && read("magic").is_err());
        assert!(!root.look(Path::new("/var/log/up"), false).unwrap().is_file());
    }

    #[test]
    fn real_links_of_proc_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/", dir.path().join("7")).unwrap();
        let (id, own) = ("x", std::process::id());
        fs::create_dir(dir.path().join("8")).unwrap();
        symlink("/", dir.path().join("8/root")).unwrap();
        fs::write(dir.path().join("8/cgroup"), id).unwrap();
        let root = Root::of_container(dir.path(), 8, id).unwrap();
        let error = root.file(Path::new(&format!("/proc/{own}/root/etc/passwd"))).unwrap_err();
        assert!(is_outside(&error), "{error}");
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = container(dir.path());
        let log = dir.path().join("rootfs/var/log");
        let fifo = std::ffi::CString::new(log.join("pipe").to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string that lives long enough.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        std::os::unix::net::UnixListener::bind(log.join("socket")).unwrap();
        symlink("/dev/null", log.join("null")).unwrap();
        for name in ["pipe", "socket", "."] {
            let error = root.file(&Path::new("/var/log").join(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        }
        assert_eq!(root.file(Path::new("/var/log/null")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_volume_is_not_left() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("volume")).unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::write(dir.path().join("volume/a.log"), "inside").unwrap();
        symlink("../secret", dir.path().join("volume/up.log")).unwrap();
        symlink(dir.path().join("secret"), dir.path().join("volume/far.log")).unwrap();
        let root = Root::of_volume(dir.path().join("volume"));
        assert_eq!(
            io::read_to_string(root.file(&dir.path().join("volume/a.log")).unwrap()).unwrap(),
            "inside"
        );
        for name in ["up.log", "far.log"] {
            assert!(is_outside(&root.file(&dir.path().join("volume").join(name)).unwrap_err()), "{name}");
        }
        let (names, more) = names(root.dir(&dir.path().join("volume")).unwrap()).unwrap();
        assert!(names.len() == 3 && !more);
    }
}
