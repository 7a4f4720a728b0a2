//! `/proc/stat` and `/proc/schedstat`: processor time, interrupts, context switches, processes.

use super::{Collector, Failure, Roots, field};
use crate::kernel::{Buffer, KernelFile};
use crate::sample::Scrape;

/// `USER_HZ`: 100 on every architecture Linux has today.
const TICKS_PER_SECOND: f64 = 100.0;

/// The columns of a `cpu` line, in order.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// Time by processor and mode.
pub(super) struct Cpu {
    stat: KernelFile,
}

impl Cpu {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { stat: KernelFile::new(&roots.proc, "stat") }
    }
}

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.stat.read(buffer).ok_or(Failure::NotOffered)?;
        for line in text.lines() {
            // The line of all processors together, "cpu  …", has no number.
            let Some((cpu, rest)) = line.strip_prefix("cpu").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            if cpu.is_empty() {
                continue;
            }
            let mut columns = rest.split_ascii_whitespace();
            for mode in MODES {
                let ticks = field(columns.next(), mode)?;
                scrape.emit(
                    "node_cpu_seconds_total",
                    &[("cpu", cpu), ("mode", mode)],
                    ticks / TICKS_PER_SECOND,
                );
            }
            for mode in ["user", "nice"] {
                let ticks = field(columns.next(), "guest")?;
                let labels = [("cpu", cpu), ("mode", mode)];
                scrape.emit("node_cpu_guest_seconds_total", &labels, ticks / TICKS_PER_SECOND);
            }
        }
        Ok(())
    }
}

/// Counters of the whole machine.
pub(super) struct Stat {
    stat: KernelFile,
}

impl Stat {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { stat: KernelFile::new(&roots.proc, "stat") }
    }
}

impl Collector for Stat {
    fn name(&self) -> &'static str {
        "stat"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.stat.read(buffer).ok_or(Failure::NotOffered)?;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let name = match words.next() {
                Some("intr") => "node_intr_total",
                Some("ctxt") => "node_context_switches_total",
                Some("processes") => "node_forks_total",
                Some("btime") => "node_boot_time_seconds",
                Some("procs_running") => "node_procs_running",
                Some("procs_blocked") => "node_procs_blocked",
                _ => continue,
            };
            scrape.emit(name, &[], field(words.next(), name)?);
        }
        Ok(())
    }
}

/// Time that tasks ran and waited, by processor.
pub(super) struct SchedStat {
    file: KernelFile,
}

impl SchedStat {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::listing(&roots.proc, "schedstat") }
    }
}

impl Collector for SchedStat {
    fn name(&self) -> &'static str {
        "schedstat"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        for line in text.lines() {
            let Some((cpu, rest)) = line.strip_prefix("cpu").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            // Columns 7 and 8 are nanoseconds, 9 is a count.
            let mut columns = rest.split_ascii_whitespace().skip(6);
            for (name, unit) in [
                ("node_schedstat_running_seconds_total", 1e-9),
                ("node_schedstat_waiting_seconds_total", 1e-9),
                ("node_schedstat_timeslices_total", 1.0),
            ] {
                scrape.emit(name, &[("cpu", cpu)], field(columns.next(), name)? * unit);
            }
        }
        Ok(())
    }
}
