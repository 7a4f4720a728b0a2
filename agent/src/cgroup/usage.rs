//! What one cgroup uses, in the same terms whichever version it was read from. `None`: the kernel
//! does not say.

use crate::kernel::keyed;

/// Everything read of one cgroup in one round.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu: Cpu,
    pub(crate) memory: Memory,
    pub(crate) io: Vec<DeviceIo>,
    /// Processes in this very cgroup.
    pub(crate) processes: Option<u64>,
    /// One of them.
    pub(crate) a_process: Option<u32>,
    /// Threads in the cgroup and below.
    pub(crate) threads: Option<u64>,
    pub(crate) pressure: Pressures,
}

/// Processor time and its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) usage_ns: Option<u64>,
    pub(crate) user_ns: Option<u64>,
    pub(crate) system_ns: Option<u64>,
    pub(crate) periods: Option<u64>,
    pub(crate) throttled_periods: Option<u64>,
    pub(crate) throttled_ns: Option<u64>,
    pub(crate) period_us: Option<u64>,
    /// Absent without a quota.
    pub(crate) quota_us: Option<u64>,
    pub(crate) shares: Option<u64>,
}

/// Memory and its limits, in bytes where not said otherwise. A limit of 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) usage: Option<u64>,
    pub(crate) inactive_file: Option<u64>,
    pub(crate) rss: Option<u64>,
    pub(crate) cache: Option<u64>,
    pub(crate) swap: Option<u64>,
    pub(crate) mapped_file: Option<u64>,
    pub(crate) max_usage: Option<u64>,
    /// How often a limit was hit.
    pub(crate) failcnt: Option<u64>,
    /// Page faults of the cgroup itself.
    pub(crate) faults: Faults,
    /// Page faults of the cgroup and all below.
    pub(crate) hierarchy_faults: Faults,
    pub(crate) limit: Option<u64>,
    pub(crate) soft_limit: Option<u64>,
    pub(crate) swap_limit: Option<u64>,
    pub(crate) events: Events,
}

impl Memory {
    /// What cannot be reclaimed easily: never below 0, and absent when a part is.
    pub(crate) fn working_set(&self) -> Option<u64> {
        Some(self.usage?.saturating_sub(self.inactive_file?))
    }
}

/// Counts of page faults.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Faults {
    pub(crate) all: Option<u64>,
    pub(crate) major: Option<u64>,
}

/// How often what happened to the cgroup's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Events {
    pub(crate) low: Option<u64>,
    pub(crate) high: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) oom: Option<u64>,
    pub(crate) oom_kill: Option<u64>,
    /// Kills of the cgroup as a whole (`memory.oom.group`), version 2 only.
    pub(crate) oom_group_kill: Option<u64>,
}

impl Events {
    /// From the text of `memory.events`.
    pub(crate) fn parse(text: &str) -> Self {
        Self {
            low: keyed(text, "low"),
            high: keyed(text, "high"),
            max: keyed(text, "max"),
            oom: keyed(text, "oom"),
            oom_kill: keyed(text, "oom_kill"),
            oom_group_kill: keyed(text, "oom_group_kill"),
        }
    }

    /// How often the kernel killed for want of memory. With `memory.oom.group` it counts the victim and
    /// every process of the group in `oom_kill`, the victim among them again: there a kill of the group
    /// is one.
    pub(crate) fn kills(&self) -> Option<u64> {
        self.oom_group_kill.filter(|kills| *kills > 0).or(self.oom_kill)
    }
}

/// Reads and writes of one block device.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeviceIo {
    /// `major:minor`.
    pub(crate) device: String,
    pub(crate) read_bytes: Option<u64>,
    pub(crate) write_bytes: Option<u64>,
    pub(crate) reads: Option<u64>,
    pub(crate) writes: Option<u64>,
}

/// Time lost for want of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pressures {
    pub(crate) cpu: Pressure,
    pub(crate) memory: Pressure,
    pub(crate) io: Pressure,
}

/// One pressure file's totals.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pressure {
    /// Some task waited.
    pub(crate) waiting_us: Option<u64>,
    /// All tasks waited.
    pub(crate) stalled_us: Option<u64>,
}
