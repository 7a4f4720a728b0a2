//! What the kernel says of this process, under the names that Prometheus' clients use.

use std::fs;

use super::family;

/// Writes the families that can be read; the others are absent.
pub(super) fn render(out: &mut String) {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    if let Some(stat) = Stat::read() {
        let cpu = (stat.user_ticks + stat.system_ticks) as f64 / ticks;
        family(out, "process_cpu_seconds_total", "counter", "User and system CPU time.", cpu);
        let resident = stat.resident_pages as f64 * page;
        family(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident);
        family(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.", stat.virtual_bytes as f64);
        family(out, "process_threads", "gauge", "Threads.", stat.threads as f64);
        if let Some(boot) = boot_time_s() {
            let start = boot + stat.start_ticks as f64 / ticks;
            family(out, "process_start_time_seconds", "gauge", "Start, Unix time.", start);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        family(out, "process_open_fds", "gauge", "Open file descriptors.", open.count() as f64);
    }
}

/// Fields of `/proc/self/stat` (proc(5)).
struct Stat {
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The command, in parentheses, may hold anything: count from the last one. Field 3 comes next.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            user_ticks: field(14)?,
            system_ticks: field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_time_s() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
