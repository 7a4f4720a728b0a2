//! How busy the node is: load averages and pressure.

use super::{Collector, Failure, Roots, field};
use crate::cgroup::parse_pressure;
use crate::kernel::{Buffer, KernelFile};
use crate::sample::Scrape;

/// `/proc/loadavg`.
pub(super) struct LoadAvg {
    file: KernelFile,
}

impl LoadAvg {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::new(&roots.proc, "loadavg") }
    }
}

impl Collector for LoadAvg {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        let mut words = text.split_ascii_whitespace();
        for name in ["node_load1", "node_load5", "node_load15"] {
            scrape.emit(name, &[], field(words.next(), name)?);
        }
        Ok(())
    }
}

/// `/proc/pressure`: seconds that tasks waited for processor, memory or disk.
pub(super) struct Pressure {
    cpu: KernelFile,
    memory: KernelFile,
    io: KernelFile,
}

impl Pressure {
    pub(super) fn new(roots: &Roots) -> Self {
        let file = |name| KernelFile::new(&roots.proc, name);
        Self { cpu: file("pressure/cpu"), memory: file("pressure/memory"), io: file("pressure/io") }
    }
}

impl Collector for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let cpu = parse_pressure(self.cpu.read(buffer).ok_or(Failure::NotOffered)?);
        let memory = self.memory.read(buffer).map(parse_pressure).unwrap_or_default();
        let io = self.io.read(buffer).map(parse_pressure).unwrap_or_default();
        for (name, us) in [
            ("node_pressure_cpu_waiting_seconds_total", cpu.waiting_us),
            ("node_pressure_memory_waiting_seconds_total", memory.waiting_us),
            ("node_pressure_memory_stalled_seconds_total", memory.stalled_us),
            ("node_pressure_io_waiting_seconds_total", io.waiting_us),
            ("node_pressure_io_stalled_seconds_total", io.stalled_us),
        ] {
            scrape.maybe(name, &[], us.map(|us| us as f64 / 1e6));
        }
        Ok(())
    }
}
