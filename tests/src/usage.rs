//! What a process and a folder take, as the kernel counts it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// User and system CPU of a process so far, of threads that have ended too; the kernel tells it in steps of
/// 1/100 s.
///
/// # Errors
/// When the process is gone.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("odd stat")?.1.split(' ').collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

/// User and system CPU of the children of this process that have ended.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn children_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("odd stat")?.1.split(' ').collect();
    Ok((fields[13].parse::<f64>()? + fields[14].parse::<f64>()?) / 100.0)
}

const MIB: f64 = (1 << 20) as f64;

/// Memory of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Now, in bytes.
    pub resident: u64,
    /// At most so far, in bytes.
    pub peak: u64,
}

impl Memory {
    /// That of a process.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).context("a field is missing")?;
            let kib: u64 = line.split_whitespace().next().context("a field is empty")?.parse()?;
            Ok::<_, anyhow::Error>(kib << 10)
        };
        Ok(Self { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Resident memory in MiB.
    pub fn resident_mib(&self) -> f64 {
        self.resident as f64 / MIB
    }

    /// Most memory so far, in MiB.
    pub fn peak_mib(&self) -> f64 {
        self.peak as f64 / MIB
    }
}

/// Bytes that the files of a folder occupy: preallocated and sparse files count as the disk counts them.
///
/// # Errors
/// When the folder cannot be read.
pub fn disk_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    sum(folder, |metadata| metadata.blocks() * 512)
}

/// Lengths of the files of a folder together, in bytes.
///
/// # Errors
/// When the folder cannot be read.
pub fn content_bytes(folder: &Path) -> Result<u64> {
    sum(folder, fs::Metadata::len)
}

fn sum(folder: &Path, size: fn(&fs::Metadata) -> u64) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // It may be gone by now.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { sum(&entry.path(), size)? } else { size(&metadata) };
    }
    Ok(bytes)
}
