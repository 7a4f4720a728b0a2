//! What a process uses, from its files in /proc, and its system calls.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

#[derive(Clone, Copy)]
pub struct Meter {
    pub cpu_seconds: f64,
    pub resident_mib: f64,
    pub peak_mib: f64,
    /// Of all threads.
    pub switches: f64,
}

impl Meter {
    pub fn read(pid: u32) -> Result<Self> {
        // Nanoseconds on the processor, thread by thread: the ticks of `stat` are too coarse for so little.
        let (mut cpu_seconds, mut switches) = (0.0, 0.0);
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let schedstat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let ns: f64 = schedstat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
            cpu_seconds += ns / 1e9;
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0.0);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            cpu_seconds,
            resident_mib: field(&status, "VmRSS:").context("no VmRSS")? / 1024.0,
            peak_mib: field(&status, "VmHWM:").context("no VmHWM")? / 1024.0,
            switches,
        })
    }

    /// Counters as differences; memory as it is now.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            switches: self.switches - earlier.switches,
            ..*self
        }
    }
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// System calls in all, and by name, the most frequent first.
pub struct Calls {
    pub total: f64,
    pub by_name: Vec<(String, f64)>,
}

/// How many system calls a process makes in so many seconds, in all and by name; `None` without strace.
pub fn system_calls(pid: u32, seconds: u64, folder: &Path) -> Result<Option<Calls>> {
    let report = folder.join("strace.txt");
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", &seconds.to_string(), "strace", "-f", "-c", "-p", &pid.to_string(), "-o"]);
    command.arg(&report).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status()?;
    let Ok(text) = fs::read_to_string(&report) else { return Ok(None) };
    let mut table = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // `% time, seconds, usecs/call, calls, [errors], syscall`
        if let (Some(count), Some(name)) =
            (words.get(3).and_then(|word| word.parse::<f64>().ok()), words.last())
            && *name != "total"
        {
            table.push(((*name).to_owned(), count));
        }
    }
    table.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Some(Calls { total: table.iter().map(|(_, count)| count).sum(), by_name: table }))
}
