//! `/proc/meminfo` and `/proc/vmstat`.

use super::{Collector, Failure, Roots, field};
use crate::kernel::{Buffer, KernelFile};
use crate::sample::Scrape;

/// Every line of `/proc/meminfo`.
pub(super) struct MemInfo {
    file: KernelFile,
    name: String,
}

impl MemInfo {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::new(&roots.proc, "meminfo"), name: String::new() }
    }
}

impl Collector for MemInfo {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        for line in text.lines() {
            let Some((key, rest)) = line.split_once(':') else { continue };
            let mut words = rest.split_ascii_whitespace();
            let value = field(words.next(), key)?;
            self.name.clear();
            self.name.push_str("node_memory_");
            // Active(anon) is called Active_anon.
            self.name.extend(key.chars().filter(|c| *c != ')').map(|c| if c == '(' { '_' } else { c }));
            match words.next() {
                Some("kB") => {
                    self.name.push_str("_bytes");
                    scrape.emit(&self.name, &[], value * 1024.0);
                }
                _ => scrape.emit(&self.name, &[], value),
            }
        }
        Ok(())
    }
}

/// Paging, swapping, faults and OOM kills from `/proc/vmstat`.
pub(super) struct VmStat {
    file: KernelFile,
    name: String,
}

impl VmStat {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::listing(&roots.proc, "vmstat"), name: String::new() }
    }
}

/// The choice node_exporter makes by default: `oom_kill`, `pgpg…`, `pswp…`, `pg…fault…`.
fn is_wanted(key: &str) -> bool {
    ["oom_kill", "pgpg", "pswp"].iter().any(|prefix| key.starts_with(prefix))
        || (key.starts_with("pg") && key.contains("fault"))
}

impl Collector for VmStat {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(' ').filter(|(key, _)| is_wanted(key)) else { continue };
            self.name.clear();
            self.name.push_str("node_vmstat_");
            self.name.push_str(key);
            scrape.emit(&self.name, &[], field(Some(value), key)?);
        }
        Ok(())
    }
}
