//! Network interfaces: `/proc/net/dev`.

use super::{Collector, Failure, Roots, field};
use crate::kernel::{Buffer, KernelFile};
use crate::sample::Scrape;

/// The columns of an interface's line, in order.
pub(super) const COLUMNS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

/// Traffic by interface.
pub(super) struct NetDev {
    file: KernelFile,
}

impl NetDev {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::listing(&roots.proc, "net/dev") }
    }
}

impl Collector for NetDev {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        for line in text.lines().skip(2) {
            let Some((device, rest)) = line.rsplit_once(':') else {
                return Err(Failure::Malformed(format!("net/dev: {line:?}")));
            };
            let device = device.trim();
            let mut words = rest.split_ascii_whitespace();
            for name in COLUMNS {
                scrape.emit(name, &[("device", device)], field(words.next(), name)?);
            }
        }
        Ok(())
    }
}
