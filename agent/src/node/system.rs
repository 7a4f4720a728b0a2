//! The kernel's name, open files and entropy.

use super::{Collector, Failure, Roots, field};
use crate::kernel::{Buffer, KernelFile, number};
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

/// The kernel's random pool.
pub(super) struct Entropy {
    available: KernelFile,
    size: KernelFile,
}

impl Entropy {
    pub(super) fn new(roots: &Roots) -> Self {
        let file = |name| KernelFile::new(&roots.proc, name);
        Self { available: file("sys/kernel/random/entropy_avail"), size: file("sys/kernel/random/poolsize") }
    }
}

impl Collector for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let available = self.available.read(buffer).and_then(number).ok_or(Failure::NotOffered)?;
        scrape.emit("node_entropy_available_bits", &[], available as f64);
        let size = self.size.read(buffer).and_then(number);
        scrape.maybe("node_entropy_pool_size_bits", &[], size.map(|size| size as f64));
        Ok(())
    }
}
