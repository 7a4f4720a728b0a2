//! A pod's traffic, seen from within its network namespace through a process of its sandbox.

use std::path::{Path, PathBuf};

use crate::kernel::read_once;
use crate::sample::Scrape;

/// Columns of an interface's line in `net/dev`, with their families.
const COLUMNS: [(usize, &str); 8] = [
    (0, "container_network_receive_bytes_total"),
    (1, "container_network_receive_packets_total"),
    (2, "container_network_receive_errors_total"),
    (3, "container_network_receive_packets_dropped_total"),
    (8, "container_network_transmit_bytes_total"),
    (9, "container_network_transmit_packets_total"),
    (10, "container_network_transmit_errors_total"),
    (11, "container_network_transmit_packets_dropped_total"),
];

/// Reads the interfaces of sandboxes.
pub(super) struct Networks {
    proc: PathBuf,
    /// The node's own namespace: pods in it have no traffic of their own.
    host: Option<PathBuf>,
}

impl Networks {
    pub(super) fn new(proc: &Path) -> Self {
        Self { proc: proc.to_owned(), host: std::fs::read_link(proc.join("1/ns/net")).ok() }
    }

    /// Emits the traffic of the pod that `pid` belongs to; nothing when it has the node's network.
    pub(super) fn emit(&self, pid: u32, scrape: &mut Scrape<'_>) {
        let dir = self.proc.join(pid.to_string());
        let namespace = std::fs::read_link(dir.join("ns/net")).ok();
        if namespace.is_none() || namespace == self.host {
            return;
        }
        let Some(text) = read_once(&dir.join("net/dev")) else { return };
        for line in text.lines().skip(2) {
            let Some((interface, counts)) = line.rsplit_once(':') else { continue };
            let interface = interface.trim();
            if interface == "lo" || interface.starts_with("veth") || interface.starts_with("docker") {
                continue;
            }
            let counts: Vec<f64> =
                counts.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
            for (at, family) in COLUMNS {
                scrape.maybe(family, &[("interface", interface)], counts.get(at).copied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use binnacle_proto::LabelsBuilder;

    use super::*;
    use crate::sample::Page;

    fn emitted(networks: &Networks, pid: u32) -> Vec<(String, f64)> {
        let (mut page, mut samples) = (Page::new(LabelsBuilder::new()), Vec::new());
        let mut scrape = page.scrape(&mut samples);
        networks.emit(pid, &mut scrape);
        scrape.finish();
        samples.iter().map(|(series, value)| (series.labels().to_string(), *value)).collect()
    }

    #[test]
    fn a_pod_with_a_network_of_its_own_has_traffic_and_one_without_has_none() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, namespace) in [("1", "net:[1]"), ("7", "net:[2]"), ("8", "net:[1]")] {
            std::fs::create_dir_all(dir.path().join(pid).join("ns")).unwrap();
            std::fs::create_dir_all(dir.path().join(pid).join("net")).unwrap();
            symlink(namespace, dir.path().join(pid).join("ns/net")).unwrap();
            let text =
                "a\nb\n    lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";
            std::fs::write(dir.path().join(pid).join("net/dev"), text).unwrap();
        }
        let networks = Networks::new(dir.path());
        let samples = emitted(&networks, 7);
        assert_eq!(samples.len(), 8);
        let dropped = r#"container_network_transmit_packets_dropped_total{interface="eth0"}"#;
        assert!(samples.contains(&(dropped.to_owned(), 8.0)), "{samples:?}");
        assert!(emitted(&networks, 8).is_empty(), "it has the node's network");
        assert!(emitted(&networks, 9).is_empty(), "it is gone");
    }
}
