//! What sysfs says about network interfaces: state, speed, addresses.

use std::path::{Path, PathBuf};

use super::{Collector, Failure, Roots};
use crate::kernel::{Buffer, read_once};
use crate::sample::Scrape;

/// Numbers of an interface: file, family, factor to the family's unit.
const NUMBERS: [(&str, &str, f64); 16] = [
    ("addr_assign_type", "node_network_address_assign_type", 1.0),
    ("carrier", "node_network_carrier", 1.0),
    ("carrier_changes", "node_network_carrier_changes_total", 1.0),
    ("carrier_up_count", "node_network_carrier_up_changes_total", 1.0),
    ("carrier_down_count", "node_network_carrier_down_changes_total", 1.0),
    ("dev_id", "node_network_device_id", 1.0),
    ("dormant", "node_network_dormant", 1.0),
    ("flags", "node_network_flags", 1.0),
    ("ifindex", "node_network_iface_id", 1.0),
    ("iflink", "node_network_iface_link", 1.0),
    ("link_mode", "node_network_iface_link_mode", 1.0),
    ("mtu", "node_network_mtu_bytes", 1.0),
    ("name_assign_type", "node_network_name_assign_type", 1.0),
    ("netdev_group", "node_network_net_dev_group", 1.0),
    // The kernel says megabits a second.
    ("speed", "node_network_speed_bytes", 125_000.0),
    ("tx_queue_len", "node_network_transmit_queue_length", 1.0),
];

/// Most interfaces of one node: some machines have thousands of veth pairs.
const MAX_INTERFACES: usize = 512;

/// The first bit of an interface's flags: an administrator has switched it on.
const IFF_UP: u64 = 1;

/// `/sys/class/net`.
pub(super) struct NetClass {
    dir: PathBuf,
}

impl NetClass {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { dir: roots.sys.join("class/net") }
    }
}

impl Collector for NetClass {
    fn name(&self) -> &'static str {
        "netclass"
    }

    fn collect(&mut self, _: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let entries = self.dir.read_dir().map_err(|_| Failure::NotOffered)?;
        for entry in entries.flatten().take(MAX_INTERFACES) {
            let name = entry.file_name();
            // Some drivers put plain files there, such as `bonding_masters`.
            if let (Some(device), true) = (name.to_str(), entry.path().join("ifindex").exists()) {
                interface(&entry.path(), device, scrape);
            }
        }
        Ok(())
    }
}

fn interface(dir: &Path, device: &str, scrape: &mut Scrape<'_>) {
    // Some files cannot be read of some interfaces (the speed of one that is down): absent.
    let text = |file: &str| read_once(&dir.join(file)).map(|text| text.trim().to_owned());
    let labels = [("device", device)];
    for (file, name, factor) in NUMBERS {
        let value = text(file).and_then(|text| number(&text));
        scrape.maybe(name, &labels, value.map(|value| value * factor));
    }
    scrape.maybe("node_network_protocol_type", &labels, text("type").and_then(|text| number(&text)));
    let statistics = text("statistics/rx_nohandler").and_then(|text| number(&text));
    scrape.maybe("node_network_receive_nohandler_total", &labels, statistics);
    let flags = text("flags").and_then(|text| number(&text)).unwrap_or_default() as u64;
    let state = text("operstate").unwrap_or_default();
    let [address, broadcast, duplex, alias] =
        ["address", "broadcast", "duplex", "ifalias"].map(|file| text(file).unwrap_or_default());
    let info = [
        ("device", device),
        ("address", address.as_str()),
        ("adminstate", if flags & IFF_UP != 0 { "up" } else { "down" }),
        ("broadcast", broadcast.as_str()),
        ("duplex", duplex.as_str()),
        ("ifalias", alias.as_str()),
        ("operstate", state.as_str()),
    ];
    scrape.emit("node_network_info", &info, 1.0);
    scrape.emit("node_network_up", &labels, f64::from(u8::from(state == "up")));
}

/// Decimal, or hexadecimal behind `0x`.
fn number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|value| value as f64),
        None => text.parse().ok(),
    }
}
