//! `/proc/diskstats`: reads, writes, discards and flushes of block devices.

use std::path::PathBuf;

use hashbrown::HashMap;

use super::{Collector, Failure, Roots, field};
use crate::kernel::{Buffer, KernelFile, read_once};
use crate::sample::Scrape;

/// Columns after the device's name, with what turns them into the unit of the name. Source:
/// the kernel's Documentation/admin-guide/iostats.rst; sectors are 512 bytes, times milliseconds.
const COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", 512.0),
    ("node_disk_read_time_seconds_total", 0.001),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", 512.0),
    ("node_disk_write_time_seconds_total", 0.001),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", 0.001),
    ("node_disk_io_time_weighted_seconds_total", 0.001),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", 0.001),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", 0.001),
];

/// What udev knows of a device, by label of `node_disk_info`.
const UDEV: [(&str, &str); 5] = [
    ("path", "E:ID_PATH="),
    ("wwn", "E:ID_WWN="),
    ("model", "E:ID_MODEL="),
    ("serial", "E:ID_SERIAL_SHORT="),
    ("revision", "E:ID_REVISION="),
];

/// Block devices without their partitions, RAM disks and loops.
pub(super) struct DiskStats {
    file: KernelFile,
    udev: PathBuf,
    /// By `major:minor`: values for [`UDEV`].
    infos: HashMap<String, [String; UDEV.len()]>,
}

impl DiskStats {
    pub(super) fn new(roots: &Roots) -> Self {
        Self {
            file: KernelFile::listing(&roots.proc, "diskstats"),
            udev: roots.host.join("run/udev/data"),
            infos: HashMap::new(),
        }
    }

    fn info(&mut self, numbers: &str) -> &[String; UDEV.len()] {
        let udev = &self.udev;
        self.infos.entry_ref(numbers).or_insert_with(|| {
            let text = read_once(&udev.join(format!("b{numbers}"))).unwrap_or_default();
            UDEV.map(|(_, key)| text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default().to_owned())
        })
    }
}

/// node_exporter's default choice: not `ram0`, `zram0`, `loop0`, `fd0`, `sda1`, `vda1`, `nvme0n1p1`.
fn is_left_out(device: &str) -> bool {
    let name = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if name == device {
        return false;
    }
    if matches!(name, "ram" | "zram" | "loop" | "fd") {
        return true;
    }
    let disk = ["hd", "sd", "vd", "xvd"].iter().find_map(|kind| name.strip_prefix(kind));
    if disk.is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase())) {
        return true;
    }
    let nvme = name.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p'));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    nvme.and_then(|rest| rest.split_once('n')).is_some_and(|(a, b)| digits(a) && digits(b))
}

impl Collector for DiskStats {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?.to_owned();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(major), Some(minor), Some(device)) = (words.next(), words.next(), words.next()) else {
                return Err(Failure::Malformed(format!("diskstats: {line:?}")));
            };
            if is_left_out(device) {
                continue;
            }
            let values = self.info(&format!("{major}:{minor}"));
            let mut labels = [("device", device); 3 + UDEV.len()];
            labels[1] = ("major", major);
            labels[2] = ("minor", minor);
            for (slot, ((label, _), value)) in labels[3..].iter_mut().zip(UDEV.iter().zip(values)) {
                *slot = (label, value);
            }
            scrape.emit("node_disk_info", &labels, 1.0);
            // Older kernels have fewer columns.
            for ((name, unit), value) in COLUMNS.iter().zip(words) {
                scrape.emit(name, &[("device", device)], field(Some(value), name)? * unit);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_left_out;

    #[test]
    fn partitions_and_memory_disks_are_left_out() {
        for device in ["ram0", "zram1", "loop7", "fd0", "sda1", "vdb12", "xvda1", "nvme0n1p2"] {
            assert!(is_left_out(device), "{device}");
        }
        for device in ["sda", "vda", "nvme0n1", "dm-0", "md127", "sr0", "mmcblk0", "sdaa1"] {
            assert!(!is_left_out(device), "{device}");
        }
    }
}
