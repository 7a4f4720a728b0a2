//! Network protocols: `/proc/net/{netstat,snmp,snmp6,sockstat,sockstat6,softnet_stat,arp}` and the
//! connection tracker.

use std::collections::BTreeMap;

use super::{Collector, Failure, Roots, field};
use crate::kernel::{Buffer, KernelFile, number};
use crate::sample::Scrape;

/// node_exporter's default choice, by protocol; `*` ends a prefix.
const WANTED: [(&str, &[&str]); 10] = [
    ("Ip", &["Forwarding"]),
    ("Ip6", &["InOctets", "OutOctets"]),
    ("IpExt", &["InOctets", "OutOctets"]),
    ("Icmp", &["InMsgs", "OutMsgs"]),
    ("Icmp6", &["InMsgs", "OutMsgs"]),
    ("TcpExt", &["Listen*", "Syncookies*", "TCPSynRetrans", "TCPTimeouts", "TCPOFOQueue", "TCPRcvQDrop"]),
    ("Tcp", &["ActiveOpens", "InSegs", "OutSegs", "OutRsts", "PassiveOpens", "RetransSegs", "CurrEstab"]),
    ("Udp", &["InDatagrams", "OutDatagrams", "NoPorts", "RcvbufErrors", "SndbufErrors"]),
    ("Udp6", &["InDatagrams", "OutDatagrams", "NoPorts", "RcvbufErrors", "SndbufErrors"]),
    ("UdpLite", &[]),
];

/// Counters of IP, ICMP, TCP and UDP.
pub(super) struct NetStat {
    tables: [KernelFile; 2],
    list: KernelFile,
    name: String,
}

impl NetStat {
    pub(super) fn new(roots: &Roots) -> Self {
        let file = |name| KernelFile::listing(&roots.proc, name);
        Self { tables: [file("net/netstat"), file("net/snmp")], list: file("net/snmp6"), name: String::new() }
    }

    fn emit(
        name: &mut String,
        protocol: &str,
        key: &str,
        value: &str,
        scrape: &mut Scrape<'_>,
    ) -> Result<(), Failure> {
        if is_wanted(protocol, key) {
            name.clear();
            name.extend(["node_netstat_", protocol, "_", key]);
            scrape.emit(name, &[], field(Some(value), key)?);
        }
        Ok(())
    }
}

fn is_wanted(protocol: &str, key: &str) -> bool {
    if matches!(key, "InErrors" | "InErrs") {
        return true;
    }
    let keys = WANTED.iter().find(|(name, _)| *name == protocol).map_or(&[][..], |(_, keys)| keys);
    keys.iter().any(|wanted| match wanted.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == *wanted,
    })
}

impl Collector for NetStat {
    fn name(&self) -> &'static str {
        "netstat"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let mut offered = false;
        for file in &mut self.tables {
            let Some(text) = file.read(buffer) else { continue };
            offered = true;
            // Pairs of lines: `Tcp: keys…`, `Tcp: values…`.
            let mut lines = text.lines();
            while let (Some(keys), Some(values)) = (lines.next(), lines.next()) {
                let (Some((protocol, keys)), Some((_, values))) =
                    (keys.split_once(':'), values.split_once(':'))
                else {
                    return Err(Failure::Malformed(format!("netstat: {keys:?}")));
                };
                for (key, value) in keys.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
                    Self::emit(&mut self.name, protocol, key, value, scrape)?;
                }
            }
        }
        if let Some(text) = self.list.read(buffer) {
            offered = true;
            // Lines `Udp6InErrors 0`.
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace();
                let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
                if let Some(at) = key.find('6') {
                    let (protocol, key) = key.split_at(at + 1);
                    Self::emit(&mut self.name, protocol, key, value, scrape)?;
                }
            }
        }
        if offered { Ok(()) } else { Err(Failure::NotOffered) }
    }
}

/// Sockets in use.
pub(super) struct SockStat {
    files: [(KernelFile, bool); 2],
    name: String,
    page_size: f64,
}

impl SockStat {
    pub(super) fn new(roots: &Roots) -> Self {
        let file = |name| KernelFile::listing(&roots.proc, name);
        Self {
            files: [(file("net/sockstat"), true), (file("net/sockstat6"), false)],
            name: String::new(),
            page_size: rustix::param::page_size() as f64,
        }
    }
}

impl Collector for SockStat {
    fn name(&self) -> &'static str {
        "sockstat"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        for (file, required) in &mut self.files {
            let Some(text) = file.read(buffer) else {
                if *required {
                    return Err(Failure::NotOffered);
                }
                continue;
            };
            for line in text.lines() {
                let Some((protocol, rest)) = line.split_once(':') else { continue };
                let mut words = rest.split_ascii_whitespace();
                while let Some(key) = words.next() {
                    let value = field(words.next(), key)?;
                    self.name.clear();
                    self.name.extend(["node_sockstat_", protocol, "_", key]);
                    scrape.emit(&self.name, &[], value);
                    if key == "mem" {
                        self.name.push_str("_bytes");
                        scrape.emit(&self.name, &[], value * self.page_size);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Packets taken off the interfaces, by processor.
pub(super) struct SoftNet {
    file: KernelFile,
}

impl SoftNet {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::listing(&roots.proc, "net/softnet_stat") }
    }
}

/// Columns of `softnet_stat` that mean something, with their families.
const SOFTNET: [(usize, &str); 7] = [
    (0, "node_softnet_processed_total"),
    (1, "node_softnet_dropped_total"),
    (2, "node_softnet_times_squeezed_total"),
    (8, "node_softnet_cpu_collision_total"),
    (9, "node_softnet_received_rps_total"),
    (10, "node_softnet_flow_limit_count_total"),
    (11, "node_softnet_backlog_len"),
];

/// The column that holds the processor's number, on newer kernels.
const SOFTNET_CPU: usize = 12;

impl Collector for SoftNet {
    fn name(&self) -> &'static str {
        "softnet"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        for (line_number, line) in text.lines().enumerate() {
            let parse = |word: &str| u32::from_str_radix(word, 16).ok();
            let columns: Option<Vec<u32>> = line.split_ascii_whitespace().map(parse).collect();
            let columns = columns.ok_or_else(|| Failure::Malformed(format!("softnet_stat: {line:?}")))?;
            let cpu = columns.get(SOFTNET_CPU).map_or(line_number, |cpu| *cpu as usize).to_string();
            for (at, name) in SOFTNET {
                scrape.maybe(name, &[("cpu", &cpu)], columns.get(at).copied().map(f64::from));
            }
        }
        Ok(())
    }
}

/// Neighbours known, by interface.
pub(super) struct Arp {
    file: KernelFile,
}

impl Arp {
    pub(super) fn new(roots: &Roots) -> Self {
        Self { file: KernelFile::listing(&roots.proc, "net/arp") }
    }
}

impl Collector for Arp {
    fn name(&self) -> &'static str {
        "arp"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let text = self.file.read(buffer).ok_or(Failure::NotOffered)?;
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for device in text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(5)) {
            *counts.entry(device).or_default() += 1;
        }
        for (device, count) in counts {
            scrape.emit("node_arp_entries", &[("device", device)], f64::from(count));
        }
        Ok(())
    }
}

/// Connections that the firewall follows.
pub(super) struct Conntrack {
    count: KernelFile,
    max: KernelFile,
    stat: KernelFile,
}

impl Conntrack {
    pub(super) fn new(roots: &Roots) -> Self {
        Self {
            count: KernelFile::new(&roots.proc, "sys/net/netfilter/nf_conntrack_count"),
            max: KernelFile::new(&roots.proc, "sys/net/netfilter/nf_conntrack_max"),
            stat: KernelFile::listing(&roots.proc, "net/stat/nf_conntrack"),
        }
    }
}

/// Columns of `nf_conntrack`'s statistics that have a family of their own.
const CONNTRACK: [&str; 8] =
    ["found", "invalid", "ignore", "insert", "insert_failed", "drop", "early_drop", "search_restart"];

impl Collector for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn collect(&mut self, buffer: &mut Buffer, scrape: &mut Scrape<'_>) -> Result<(), Failure> {
        let count = self.count.read(buffer).and_then(number).ok_or(Failure::NotOffered)?;
        scrape.emit("node_nf_conntrack_entries", &[], count as f64);
        let max = self.max.read(buffer).and_then(number);
        scrape.maybe("node_nf_conntrack_entries_limit", &[], max.map(|max| max as f64));
        let Some(text) = self.stat.read(buffer) else { return Ok(()) };
        let mut lines = text.lines();
        let keys: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
        let mut sums = [None; CONNTRACK.len()];
        for line in lines {
            for (key, word) in keys.iter().zip(line.split_ascii_whitespace()) {
                let wanted = CONNTRACK.iter().position(|name| name == key);
                let value = u32::from_str_radix(word, 16).ok().map(f64::from);
                if let (Some(at), Some(value)) = (wanted, value) {
                    sums[at] = Some(sums[at].unwrap_or(0.0) + value);
                }
            }
        }
        for (key, sum) in CONNTRACK.iter().zip(sums) {
            scrape.maybe(&format!("node_nf_conntrack_stat_{key}"), &[], sum);
        }
        Ok(())
    }
}
