//! The kernel's name, its clock, and open files.

use std::path::PathBuf;

use super::{Collector, Failure, Roots, field};
use crate::clock;
use crate::kernel::{Buffer, KernelFile, read_once};
use crate::sample::Scrape;

/// Open file descriptions of the whole machine.
pub(super) struct FileFd {
    file: KernelFile,
}

impl FileFd {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::new(&roots.proc, "sys/fs/file-nr") }
    }
}

impl Collector for FileFd {
    fn name(&self) -> &'static str {
        "filefd"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        let mut words = text.split_ascii_whitespace();
        scrape.emit("node_filefd_allocated", &[], field(words.next(), "allocated")?);
        scrape.emit("node_filefd_maximum", &[], field(words.nth(1), "maximum")?);
        Ok(())
    }
}

/// Kernel and host name.
pub(super) struct Uname;

impl Collector for Uname {
    fn name(&self) -> &'static str {
        "uname"
    }

    fn collect(&mut self, _: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let (sysname, release, version) =
            (text(uname.sysname()), text(uname.release()), text(uname.version()));
        let (machine, nodename) = (text(uname.machine()), text(uname.nodename()));
        let domainname = text(uname.domainname());
        let labels = [
            ("sysname", sysname.as_str()),
            ("release", release.as_str()),
            ("version", version.as_str()),
            ("machine", machine.as_str()),
            ("nodename", nodename.as_str()),
            ("domainname", domainname.as_str()),
        ];
        scrape.emit("node_uname_info", &labels, 1.0);
        Ok(())
    }
}

/// The wall clock, its zone, and what it is made from.
pub(super) struct Time {
    clocks: PathBuf,
}

impl Time {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { clocks: roots.sys.join("devices/system/clocksource") }
    }
}

impl Collector for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn collect(&mut self, _: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let now_ns = clock::now_ns();
        scrape.emit("node_time_seconds", &[], now_ns as f64 / 1e9);
        let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns));
        if let Ok(now) = now {
            let zone = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
            let info = zone.to_offset_info(now);
            let offset = f64::from(info.offset().seconds());
            scrape.emit("node_time_zone_offset_seconds", &[("time_zone", info.abbreviation())], offset);
        }
        let Ok(sources) = self.clocks.read_dir() else { return Ok(()) };
        for source in sources.flatten() {
            let name = source.file_name();
            let device = name.to_str().and_then(|name| name.strip_prefix("clocksource"));
            let Some(device) = device else { continue };
            for available in read_once(&source.path().join("available_clocksource"))
                .unwrap_or_default()
                .split_ascii_whitespace()
            {
                let labels = [("clocksource", available), ("device", device)];
                scrape.emit("node_time_clocksource_available_info", &labels, 1.0);
            }
            if let Some(current) = read_once(&source.path().join("current_clocksource")) {
                let labels = [("clocksource", current.trim()), ("device", device)];
                scrape.emit("node_time_clocksource_current_info", &labels, 1.0);
            }
        }
        Ok(())
    }
}
