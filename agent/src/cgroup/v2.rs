//! Files of version 2 controllers.

use std::path::Path;
use std::sync::Arc;

use super::read::faults;
use super::usage::{Cpu, DeviceIo, Events, Memory};
use crate::kernel::{Buffer, KernelFile, keyed, number};

/// The cpu controller's files.
pub(super) struct CpuFiles {
    stat: KernelFile,
    max: KernelFile,
    weight: KernelFile,
}

impl CpuFiles {
    pub(super) fn new(dir: &Arc<Path>) -> Self {
        let file = |name| KernelFile::new(dir, name);
        Self { stat: file("cpu.stat"), max: file("cpu.max"), weight: file("cpu.weight") }
    }

    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Cpu {
        let mut cpu = Cpu::default();
        if let Some(stat) = self.stat.read(buffer) {
            let ns = |key| keyed(stat, key).map(|us| us * 1000);
            cpu.usage_ns = ns("usage_usec");
            cpu.user_ns = ns("user_usec");
            cpu.system_ns = ns("system_usec");
            cpu.periods = keyed(stat, "nr_periods");
            cpu.throttled_periods = keyed(stat, "nr_throttled");
            cpu.throttled_ns = ns("throttled_usec");
        }
        if let Some((quota, period)) = self.max.read(buffer).and_then(|text| text.trim().split_once(' ')) {
            cpu.quota_us = number(quota);
            cpu.period_us = number(period);
        }
        cpu.shares = self.weight.read(buffer).and_then(number).map(shares);
        cpu
    }
}

/// A weight (1…10000) as the shares (2…262144) container engines made it from: the inverse of their
/// conversion.
fn shares(weight: u64) -> u64 {
    2 + (weight.clamp(1, 10_000) - 1) * 262_142 / 9_999
}

/// The memory controller's files.
pub(super) struct MemoryFiles {
    current: KernelFile,
    stat: KernelFile,
    peak: KernelFile,
    events: KernelFile,
    max: KernelFile,
    low: KernelFile,
    swap_current: KernelFile,
    swap_max: KernelFile,
}

impl MemoryFiles {
    pub(super) fn new(dir: &Arc<Path>) -> Self {
        let file = |name| KernelFile::new(dir, name);
        Self {
            current: file("memory.current"),
            stat: file("memory.stat"),
            peak: file("memory.peak"),
            events: file("memory.events"),
            max: file("memory.max"),
            low: file("memory.low"),
            swap_current: file("memory.swap.current"),
            swap_max: file("memory.swap.max"),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut Buffer) -> Memory {
        let mut memory = Memory::default();
        if let Some(stat) = self.stat.read(buffer) {
            memory.inactive_file = keyed(stat, "inactive_file");
            memory.rss = keyed(stat, "anon");
            memory.cache = keyed(stat, "file");
            memory.mapped_file = keyed(stat, "file_mapped");
            memory.faults = faults(stat, "pgfault", "pgmajfault");
            memory.hierarchy_faults = memory.faults;
        }
        if let Some(events) = self.events.read(buffer) {
            memory.events = Events::parse(events);
            memory.failcnt = memory.events.max;
        }
        memory.usage = self.current.read(buffer).and_then(number);
        memory.max_usage = self.peak.read(buffer).and_then(number);
        memory.swap = self.swap_current.read(buffer).and_then(number);
        memory.limit = self.max.read(buffer).and_then(limit);
        memory.soft_limit = self.low.read(buffer).and_then(limit);
        memory.swap_limit = self.swap_max.read(buffer).and_then(limit);
        memory
    }
}

/// A limit in force, 0 for `max`.
fn limit(text: &str) -> Option<u64> {
    if text.trim() == "max" { Some(0) } else { number(text) }
}

/// Lines `254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
pub(super) fn parse_io(text: &str) -> Vec<DeviceIo> {
    let device = |line: &str| {
        let (device, pairs) = line.split_once(' ')?;
        let value =
            |key: &str| pairs.split(' ').find_map(|pair| number(pair.strip_prefix(key)?.strip_prefix('=')?));
        Some(DeviceIo {
            device: device.to_owned(),
            read_bytes: value("rbytes"),
            write_bytes: value("wbytes"),
            reads: value("rios"),
            writes: value("wios"),
        })
    };
    text.lines().filter_map(device).collect()
}
