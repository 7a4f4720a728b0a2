//! Names and units of container series: those of cAdvisor.

use std::path::Path;

use hashbrown::HashMap;

use super::usage::{DeviceIo, Memory, Usage};
use crate::sample::Scrape;

/// Nanoseconds and microseconds in a second. Divided by, for that rounds rightly.
const NS: f64 = 1e9;
const US: f64 = 1e6;

fn count(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn seconds(value: Option<u64>, unit: f64) -> Option<f64> {
    value.map(|value| value as f64 / unit)
}

/// Emits what a cgroup uses.
pub(super) fn emit(usage: &Usage, devices: &mut Devices, scrape: &mut Scrape<'_>) {
    cpu(usage, scrape);
    memory(&usage.memory, scrape);
    for io in &usage.io {
        device(io, devices.name(&io.device), scrape);
    }
    scrape.maybe("container_processes", &[], count(usage.processes));
    scrape.maybe("container_threads", &[], count(usage.threads));
    let pressure = &usage.pressure;
    for (waiting, stalled, pressure) in [
        (
            "container_pressure_cpu_waiting_seconds_total",
            "container_pressure_cpu_stalled_seconds_total",
            pressure.cpu,
        ),
        (
            "container_pressure_memory_waiting_seconds_total",
            "container_pressure_memory_stalled_seconds_total",
            pressure.memory,
        ),
        (
            "container_pressure_io_waiting_seconds_total",
            "container_pressure_io_stalled_seconds_total",
            pressure.io,
        ),
    ] {
        scrape.maybe(waiting, &[], seconds(pressure.waiting_us, US));
        scrape.maybe(stalled, &[], seconds(pressure.stalled_us, US));
    }
}

fn cpu(usage: &Usage, scrape: &mut Scrape<'_>) {
    let cpu = &usage.cpu;
    scrape.maybe("container_cpu_usage_seconds_total", &[("cpu", "total")], seconds(cpu.usage_ns, NS));
    scrape.maybe("container_cpu_user_seconds_total", &[], seconds(cpu.user_ns, NS));
    scrape.maybe("container_cpu_system_seconds_total", &[], seconds(cpu.system_ns, NS));
    scrape.maybe("container_spec_cpu_period", &[], count(cpu.period_us));
    scrape.maybe("container_spec_cpu_shares", &[], count(cpu.shares));
    // Without a quota nothing is ever throttled, and dashboards divide by these.
    if cpu.quota_us.is_some() {
        scrape.maybe("container_spec_cpu_quota", &[], count(cpu.quota_us));
        scrape.maybe("container_cpu_cfs_periods_total", &[], count(cpu.periods));
        scrape.maybe("container_cpu_cfs_throttled_periods_total", &[], count(cpu.throttled_periods));
        scrape.maybe("container_cpu_cfs_throttled_seconds_total", &[], seconds(cpu.throttled_ns, NS));
    }
}

fn memory(memory: &Memory, scrape: &mut Scrape<'_>) {
    for (name, value) in [
        ("container_memory_usage_bytes", memory.usage),
        ("container_memory_working_set_bytes", memory.working_set()),
        ("container_memory_rss", memory.rss),
        ("container_memory_cache", memory.cache),
        ("container_memory_swap", memory.swap),
        ("container_memory_mapped_file", memory.mapped_file),
        ("container_memory_max_usage_bytes", memory.max_usage),
        ("container_memory_failcnt", memory.failcnt),
        ("container_spec_memory_limit_bytes", memory.limit),
        ("container_spec_memory_reservation_limit_bytes", memory.soft_limit),
        ("container_spec_memory_swap_limit_bytes", memory.swap_limit),
    ] {
        scrape.maybe(name, &[], count(value));
    }
    let faults = [("container", memory.faults), ("hierarchy", memory.hierarchy_faults)];
    for (scope, faults) in faults {
        for (kind, value) in [("pgfault", faults.all), ("pgmajfault", faults.major)] {
            let labels = [("failure_type", kind), ("scope", scope)];
            scrape.maybe("container_memory_failures_total", &labels, count(value));
        }
    }
    let events = &memory.events;
    for (event, value) in [
        ("low", events.low),
        ("high", events.high),
        ("max", events.max),
        ("oom", events.oom),
        ("oom_kill", events.oom_kill),
        ("oom_group_kill", events.oom_group_kill),
    ] {
        scrape.maybe("container_memory_events_total", &[("event", event)], count(value));
    }
}

fn device(io: &DeviceIo, name: &str, scrape: &mut Scrape<'_>) {
    let labels = [("device", name)];
    scrape.maybe("container_fs_reads_bytes_total", &labels, count(io.read_bytes));
    scrape.maybe("container_fs_writes_bytes_total", &labels, count(io.write_bytes));
    scrape.maybe("container_fs_reads_total", &labels, count(io.reads));
    scrape.maybe("container_fs_writes_total", &labels, count(io.writes));
}

/// Names of block devices by `major:minor`.
pub(super) struct Devices {
    sys: std::path::PathBuf,
    names: HashMap<String, String>,
}

/// Most names remembered; then they are looked up anew.
const MAX_DEVICES: usize = 1_000;

impl Devices {
    pub(super) fn new(sys: &Path) -> Self {
        Self { sys: sys.to_owned(), names: HashMap::new() }
    }

    /// `/dev/vda`; the numbers themselves where sysfs does not know them.
    fn name(&mut self, numbers: &str) -> &str {
        if self.names.len() > MAX_DEVICES {
            self.names.clear();
        }
        let sys = &self.sys;
        self.names.entry_ref(numbers).or_insert_with(|| {
            let uevent = crate::kernel::read_once(&sys.join("dev/block").join(numbers).join("uevent"));
            let name =
                uevent.as_deref().and_then(|text| text.lines().find_map(|l| l.strip_prefix("DEVNAME=")));
            name.map_or_else(|| numbers.to_owned(), |name| format!("/dev/{name}"))
        })
    }
}
