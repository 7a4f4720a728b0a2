//! Limits of a cgroup, written in the interface the hierarchy has, and read back.

use std::fs;
use std::io;
use std::path::Path;

use super::{Error, Group, Version};
use crate::cgroup::{Controller, Events};
use crate::kernel::keyed;
use crate::pods::qos::{CPU_PERIOD_US, cpu_weight};

/// What a cgroup is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Relative CPU weight, 1024 a core.
    pub(crate) cpu_shares: u64,
    /// CPU time per period of 100 ms in microseconds; `None`: no limit.
    pub(crate) cpu_quota_us: Option<u64>,
    /// Bytes; 0: no limit.
    pub(crate) memory_bytes: u64,
    /// Whether the kernel kills the cgroup as one (v2 only).
    pub(crate) oom_group: bool,
}

/// v1 shows "no limit" as the largest number of whole pages.
const V1_NO_LIMIT: u64 = 0x7fff_ffff_ffff_0000;

impl Group {
    /// Puts the limits in force. A controller the host does not have is left out.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<(), Error> {
        match self.controlled(Controller::Cpu) {
            Some((Version::V1, dir)) => {
                put(&dir, "cpu.shares", limits.cpu_shares)?;
                put(&dir, "cpu.cfs_period_us", CPU_PERIOD_US)?;
                let quota = limits.cpu_quota_us.map_or_else(|| "-1".to_owned(), |us| us.to_string());
                put(&dir, "cpu.cfs_quota_us", quota)?;
            }
            Some((Version::V2, dir)) => {
                put(&dir, "cpu.weight", cpu_weight(limits.cpu_shares))?;
                let quota = limits.cpu_quota_us.map_or_else(|| "max".to_owned(), |us| us.to_string());
                put(&dir, "cpu.max", format!("{quota} {CPU_PERIOD_US}"))?;
            }
            None => {}
        }
        if limits.memory_bytes > 0 {
            self.set_memory_limit(limits.memory_bytes)?;
        }
        if let (true, Some((Version::V2, dir))) = (limits.oom_group, self.controlled(Controller::Memory)) {
            put(&dir, "memory.oom.group", 1)?;
        }
        Ok(())
    }

    /// Changes the memory limit of a running cgroup; swap is not added to it.
    pub(crate) fn set_memory_limit(&self, bytes: u64) -> Result<(), Error> {
        match self.controlled(Controller::Memory) {
            Some((Version::V1, dir)) => {
                let with_swap = dir.join("memory.memsw.limit_in_bytes");
                if !with_swap.exists() {
                    return put(&dir, "memory.limit_in_bytes", bytes);
                }
                // The kernel keeps limit ≤ limit with swap at every moment.
                if self.memory_limit()?.is_none_or(|now| now >= bytes) {
                    put(&dir, "memory.limit_in_bytes", bytes)?;
                    put(&dir, "memory.memsw.limit_in_bytes", bytes)
                } else {
                    put(&dir, "memory.memsw.limit_in_bytes", bytes)?;
                    put(&dir, "memory.limit_in_bytes", bytes)
                }
            }
            Some((Version::V2, dir)) => {
                put(&dir, "memory.max", bytes)?;
                if dir.join("memory.swap.max").exists() {
                    put(&dir, "memory.swap.max", 0)?;
                }
                Ok(())
            }
            None => {
                let missing = io::Error::new(io::ErrorKind::Unsupported, "the host has no memory controller");
                Err(Error::new(&self.relative, missing))
            }
        }
    }

    /// The memory limit in force in bytes, `None` without one.
    pub(crate) fn memory_limit(&self) -> Result<Option<u64>, Error> {
        let Some((version, dir)) = self.controlled(Controller::Memory) else { return Ok(None) };
        match version {
            Version::V1 => {
                Ok(number(&dir, "memory.limit_in_bytes")?.filter(|&bytes| bytes < V1_NO_LIMIT && bytes > 0))
            }
            Version::V2 => number(&dir, "memory.max"),
        }
    }

    /// Memory in use in bytes, less what the kernel can drop at once (inactive file pages).
    pub(crate) fn working_set(&self) -> Result<Option<u64>, Error> {
        let Some((version, dir)) = self.controlled(Controller::Memory) else { return Ok(None) };
        let (usage, inactive) = match version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.current", "inactive_file"),
        };
        let Some(usage) = number(&dir, usage)? else { return Ok(None) };
        let inactive = keyed(&text(&dir, "memory.stat")?, inactive).unwrap_or(0);
        Ok(Some(usage.saturating_sub(inactive)))
    }

    /// Most memory ever in use in bytes, where the kernel keeps it.
    pub(crate) fn memory_peak(&self) -> Result<Option<u64>, Error> {
        let Some((version, dir)) = self.controlled(Controller::Memory) else { return Ok(None) };
        let file = match version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        match number(&dir, file) {
            Err(e) if e.is_gone() && dir.exists() => Ok(None),
            other => other,
        }
    }

    /// How often the kernel killed in it for want of memory.
    pub(crate) fn oom_kills(&self) -> Result<u64, Error> {
        let Some((version, dir)) = self.controlled(Controller::Memory) else { return Ok(0) };
        let count = match version {
            Version::V1 => keyed(&text(&dir, "memory.oom_control")?, "oom_kill"),
            Version::V2 => Events::parse(&text(&dir, "memory.events")?).kills(),
        };
        Ok(count.unwrap_or(0))
    }
}

fn put(dir: &Path, file: &str, value: impl ToString) -> Result<(), Error> {
    let path = dir.join(file);
    fs::write(&path, value.to_string()).map_err(|e| Error::new(&path, e))
}

/// The number in a file; `None` for `max`.
fn number(dir: &Path, file: &str) -> Result<Option<u64>, Error> {
    match text(dir, file)?.trim() {
        "max" => Ok(None),
        digits => match digits.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                let what = format!("{digits:?} is not a number");
                Err(Error::new(&dir.join(file), io::Error::new(io::ErrorKind::InvalidData, what)))
            }
        },
    }
}

/// What a file of the cgroup holds.
fn text(dir: &Path, file: &str) -> Result<String, Error> {
    let path = dir.join(file);
    fs::read_to_string(&path).map_err(|e| Error::new(&path, e))
}
