//! Files of version 1 controllers.

use std::path::Path;
use std::sync::Arc;

use super::read::faults;
use super::usage::{Cpu, DeviceIo, Events, Memory};
use crate::kernel::{Buffer, KernelFile, keyed, number};

/// `cpuacct.stat` counts in ticks of `USER_HZ`, which is 100 on every architecture Linux has today.
const TICK_NS: u64 = 10_000_000;

/// From here on a limit in bytes is none: the kernel's "unlimited" is `i64::MAX` rounded down to a page.
const UNLIMITED: u64 = 1 << 62;

/// `cpu` and `cpuacct`, which may be two hierarchies.
pub(super) struct CpuFiles {
    usage: Option<KernelFile>,
    split: Option<KernelFile>,
    stat: Option<KernelFile>,
    period: Option<KernelFile>,
    quota: Option<KernelFile>,
    shares: Option<KernelFile>,
}

impl CpuFiles {
    pub(super) fn new(cpu: Option<Arc<Path>>, cpuacct: Option<Arc<Path>>) -> Self {
        let file = |dir: &Option<Arc<Path>>, name| dir.as_ref().map(|dir| KernelFile::new(dir, name));
        Self {
            usage: file(&cpuacct, "cpuacct.usage"),
            split: file(&cpuacct, "cpuacct.stat"),
            stat: file(&cpu, "cpu.stat"),
            period: file(&cpu, "cpu.cfs_period_us"),
            quota: file(&cpu, "cpu.cfs_quota_us"),
            shares: file(&cpu, "cpu.shares"),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Cpu {
        let mut cpu = Cpu { usage_ns: value(&mut self.usage, buffer), ..Cpu::default() };
        if let Some(text) = self.split.as_mut().and_then(|file| file.read(buffer)) {
            cpu.user_ns = keyed(text, "user").map(|ticks| ticks * TICK_NS);
            cpu.system_ns = keyed(text, "system").map(|ticks| ticks * TICK_NS);
        }
        if let Some(text) = self.stat.as_mut().and_then(|file| file.read(buffer)) {
            cpu.periods = keyed(text, "nr_periods");
            cpu.throttled_periods = keyed(text, "nr_throttled");
            cpu.throttled_ns = keyed(text, "throttled_time");
        }
        cpu.period_us = value(&mut self.period, buffer);
        // -1 is no quota, which is not a number here.
        cpu.quota_us = value(&mut self.quota, buffer);
        cpu.shares = value(&mut self.shares, buffer);
        cpu
    }
}

fn value(file: &mut Option<KernelFile>, buffer: &mut Buffer) -> Option<u64> {
    file.as_mut()?.read(buffer).and_then(number)
}

/// The memory controller's files.
pub(super) struct MemoryFiles {
    usage: KernelFile,
    stat: KernelFile,
    max_usage: KernelFile,
    failcnt: KernelFile,
    limit: KernelFile,
    soft_limit: KernelFile,
    swap_limit: KernelFile,
    oom: KernelFile,
}

impl MemoryFiles {
    pub(super) fn new(dir: &Arc<Path>) -> Self {
        let file = |name| KernelFile::new(dir, name);
        Self {
            usage: file("memory.usage_in_bytes"),
            stat: file("memory.stat"),
            max_usage: file("memory.max_usage_in_bytes"),
            failcnt: file("memory.failcnt"),
            limit: file("memory.limit_in_bytes"),
            soft_limit: file("memory.soft_limit_in_bytes"),
            swap_limit: file("memory.memsw.limit_in_bytes"),
            oom: file("memory.oom_control"),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Memory {
        let mut memory = Memory::default();
        if let Some(stat) = self.stat.read(buffer) {
            memory.inactive_file = keyed(stat, "total_inactive_file");
            memory.rss = keyed(stat, "total_rss");
            memory.cache = keyed(stat, "total_cache");
            memory.swap = keyed(stat, "total_swap");
            memory.mapped_file = keyed(stat, "total_mapped_file");
            memory.faults = faults(stat, "pgfault", "pgmajfault");
            memory.hierarchy_faults = faults(stat, "total_pgfault", "total_pgmajfault");
        }
        memory.events = Events {
            oom_kill: self.oom.read(buffer).and_then(|text| keyed(text, "oom_kill")),
            ..Events::default()
        };
        let mut value = |file: &mut KernelFile| file.read(buffer).and_then(number);
        memory.usage = value(&mut self.usage);
        memory.max_usage = value(&mut self.max_usage);
        memory.failcnt = value(&mut self.failcnt);
        memory.limit = value(&mut self.limit).map(limit);
        memory.soft_limit = value(&mut self.soft_limit).map(limit);
        memory.swap_limit = value(&mut self.swap_limit).map(limit);
        memory
    }
}

/// A limit in force, 0 for none.
fn limit(bytes: u64) -> u64 {
    if bytes >= UNLIMITED { 0 } else { bytes }
}

/// The block controller's files.
pub(super) struct IoFiles {
    bytes: KernelFile,
    operations: KernelFile,
}

impl IoFiles {
    pub(super) fn new(dir: &Arc<Path>) -> Self {
        Self {
            bytes: KernelFile::new(dir, "blkio.throttle.io_service_bytes_recursive"),
            operations: KernelFile::new(dir, "blkio.throttle.io_serviced_recursive"),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Vec<DeviceIo> {
        let mut devices = Vec::new();
        if let Some(text) = self.bytes.read(buffer) {
            parse_io(text, &mut devices, |io| (&mut io.read_bytes, &mut io.write_bytes));
        }
        if let Some(text) = self.operations.read(buffer) {
            parse_io(text, &mut devices, |io| (&mut io.reads, &mut io.writes));
        }
        devices
    }
}

/// Lines `254:0 Read 1234`; a line `Total 1234` ends the file.
fn parse_io(
    text: &str,
    devices: &mut Vec<DeviceIo>,
    fields: fn(&mut DeviceIo) -> (&mut Option<u64>, &mut Option<u64>),
) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(kind), Some(count)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let at = devices.iter().position(|io| io.device == device).unwrap_or_else(|| {
            devices.push(DeviceIo { device: device.to_owned(), ..DeviceIo::default() });
            devices.len() - 1
        });
        let (read, write) = fields(&mut devices[at]);
        match kind {
            "Read" => *read = number(count),
            "Write" => *write = number(count),
            _ => {}
        }
    }
}
