//! The system calls of a process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

/// System calls in all, and by name, the most frequent first.
pub struct Calls {
    pub total: f64,
    pub by_name: Vec<(String, f64)>,
}

/// How many system calls a process makes in so many seconds, in all and by name; `None` without strace.
pub fn count(pid: u32, seconds: u64, folder: &Path) -> Result<Option<Calls>> {
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
