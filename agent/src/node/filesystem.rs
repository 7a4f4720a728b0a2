//! Sizes of the mounted file systems.

use std::path::{Path, PathBuf};

use super::{Collector, Failure, Roots};
use crate::kernel::{Buffer, KernelFile};
use crate::sample::Scrape;

/// File systems without a size of their own: node_exporter's default choice.
const NO_SIZE: [&str; 27] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "erofs",
    "efivarfs",
    "fuse.lxcfs",
];

/// At or below these nothing is reported.
const NOT_BELOW: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Strictly below these nothing is reported.
const NOT_INSIDE: [&str; 3] = ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"];

/// Most file systems of one node.
const MAX_MOUNTS: usize = 1_000;

/// One mounted file system, as the mount table has it.
struct Mount {
    device: String,
    point: String,
    kind: String,
    read_only: bool,
}

/// `statvfs` of each mount.
pub(super) struct FileSystem {
    /// Of the first process: the agent may see other mounts.
    first: KernelFile,
    own: KernelFile,
    host: PathBuf,
    table: String,
    mounts: Vec<Mount>,
}

impl FileSystem {
    pub(super) fn new(roots: &Roots) -> Self {
        Self {
            first: KernelFile::listing(&roots.proc, "1/mounts"),
            own: KernelFile::listing(&roots.proc, "self/mounts"),
            host: roots.host.clone(),
            table: String::new(),
            mounts: Vec::new(),
        }
    }
}

impl Collector for FileSystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let table = match self.first.read(buffer) {
            Some(table) if !table.is_empty() => table,
            _ => self.own.read(buffer).ok_or(Failure::NotOffered)?,
        };
        if table != self.table {
            self.table = table.to_owned();
            self.mounts = table.lines().filter_map(parse).take(MAX_MOUNTS).collect();
        }
        for mount in &self.mounts {
            let labels = [
                ("device", mount.device.as_str()),
                ("fstype", mount.kind.as_str()),
                ("mountpoint", mount.point.as_str()),
            ];
            let relative = mount.point.strip_prefix('/').unwrap_or(&mount.point);
            let path = if relative.is_empty() { self.host.clone() } else { self.host.join(relative) };
            let Ok(stat) = rustix::fs::statvfs(&path) else {
                scrape.emit("node_filesystem_device_error", &labels, 1.0);
                continue;
            };
            let unit = stat.f_frsize as f64;
            scrape.emit("node_filesystem_device_error", &labels, 0.0);
            scrape.emit("node_filesystem_size_bytes", &labels, stat.f_blocks as f64 * unit);
            scrape.emit("node_filesystem_free_bytes", &labels, stat.f_bfree as f64 * unit);
            scrape.emit("node_filesystem_avail_bytes", &labels, stat.f_bavail as f64 * unit);
            scrape.emit("node_filesystem_files", &labels, stat.f_files as f64);
            scrape.emit("node_filesystem_files_free", &labels, stat.f_ffree as f64);
            scrape.emit("node_filesystem_readonly", &labels, f64::from(u8::from(mount.read_only)));
        }
        Ok(())
    }
}

/// A line of `/proc/PID/mounts`, unless it is of no interest.
fn parse(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let (device, point, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let point = crate::cgroup::unescape(point).into_os_string().into_string().ok()?;
    let at = Path::new(&point);
    let hidden = NOT_BELOW.iter().any(|dir| at.starts_with(dir))
        || NOT_INSIDE.iter().any(|dir| at.starts_with(dir) && at != Path::new(dir));
    if hidden || NO_SIZE.contains(&kind) {
        return None;
    }
    let read_only = options.split(',').any(|option| option == "ro");
    Some(Mount { device: device.to_owned(), point, kind: kind.to_owned(), read_only })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn file_systems_with_a_size_are_reported() {
        let mount = parse("/dev/vda1 /mnt/my\\040disk ext4 ro,relatime 0 0").unwrap();
        assert_eq!((mount.point.as_str(), mount.read_only), ("/mnt/my disk", true));
        assert!(!parse("tmpfs /run tmpfs rw,nosuid 0 0").unwrap().read_only);
    }

    #[test]
    fn those_without_one_are_not() {
        for line in [
            "proc /proc proc rw 0 0",
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
            "tmpfs /dev/shm tmpfs rw 0 0",
            "overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0",
            "tmpfs /run/credentials/a.service tmpfs ro 0 0",
            "short line",
        ] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
