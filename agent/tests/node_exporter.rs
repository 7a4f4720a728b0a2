//! The agent beside Prometheus' node_exporter (Debian package `prometheus-node-exporter`): the same
//! families, the same label sets, values within what time changes.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const EXPORTER: &str = "/usr/bin/prometheus-node-exporter";

/// node_exporter's collectors that the agent has too.
const COLLECTORS: [&str; 20] = [
    "arp",
    "conntrack",
    "cpu",
    "diskstats",
    "entropy",
    "filefd",
    "filesystem",
    "loadavg",
    "meminfo",
    "netclass",
    "netdev",
    "netstat",
    "pressure",
    "schedstat",
    "sockstat",
    "softnet",
    "stat",
    "time",
    "timex",
    "uname",
];

/// Collectors that the exporter has under a name of their own.
const MORE: [&str; 1] = ["vmstat"];

/// About the exporter itself, not about the node.
const ABOUT_ITSELF: [&str; 3] =
    ["node_exporter_build_info", "node_scrape_collector_duration_seconds", "node_scrape_collector_success"];

/// These differ from one moment to the next by more than any tolerance, or on purpose.
const RESTLESS: [&str; 12] = [
    "node_procs_running",
    "node_procs_blocked",
    "node_entropy_available_bits",
    "node_timex_offset_seconds",
    "node_disk_io_now",
    "node_arp_entries",
    // The scrapes themselves hold connections.
    "node_netstat_Tcp_CurrEstab",
    "node_sockstat_TCP_alloc",
    "node_sockstat_TCP_inuse",
    "node_sockstat_TCP_mem",
    "node_sockstat_TCP_mem_bytes",
    "node_sockstat_sockets_used",
];

type Samples = BTreeMap<String, f64>;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn pause(time: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// Samples by series, labels sorted, without empty ones.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| line.starts_with("node_")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels: Vec<&str> = labels
            .trim_end_matches('}')
            .split("\",")
            .map(|label| label.trim_end_matches('"'))
            // Newer than the package; see `netclass`.
            .filter(|label| !label.starts_with("adminstate="))
            .filter(|label| !label.is_empty() && !label.ends_with("=\"") && !label.ends_with('='))
            .collect();
        labels.sort_unstable();
        samples.insert(format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap());
    }
    samples
}

fn families(samples: &Samples) -> BTreeSet<&str> {
    samples.keys().map(|series| family(series)).collect()
}

fn family(series: &str) -> &str {
    series.split('{').next().unwrap()
}

/// Fetches until there is an answer with samples.
fn wait_for(address: SocketAddr, path: &str) -> Samples {
    for _ in 0..300 {
        if let Some(samples) =
            get(address, path).map(|text| parse(&text)).filter(|samples| samples.len() > 50)
        {
            return samples;
        }
        pause(Duration::from_millis(50));
    }
    panic!("no answer from {address}{path}");
}

#[test]
fn every_family_of_node_exporter_has_the_same_series_and_values() {
    if !Path::new(EXPORTER).exists() {
        println!("skipped: needs the package prometheus-node-exporter");
        return;
    }
    let (exporter_at, agent_at) = (free_port(), free_port());
    let mut exporter = Command::new(EXPORTER);
    exporter.arg("--collector.disable-defaults").arg(format!("--web.listen-address={exporter_at}"));
    exporter.args(COLLECTORS.iter().chain(&MORE).map(|name| format!("--collector.{name}")));
    // The package narrows these choices; the agent's are those of node_exporter itself.
    exporter.args([
        "--collector.diskstats.device-exclude=^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\\d+n\\d+p)\\d+$",
        "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)",
        "--collector.netdev.device-exclude=^$",
    ]);
    let _exporter = Process(exporter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_binnacle-agent"));
    agent.args(["--server", "http://127.0.0.1:1", "--node", "here", "--interval", "150ms"]);
    agent.args(["--http", &agent_at.to_string()]);
    agent.arg("--state-dir").arg(dir.path().join("state")).arg("--pod-log-dir").arg(dir.path().join("pods"));
    let _agent = Process(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for(exporter_at, "/metrics");
    wait_for(agent_at, "/metrics/node");

    // The agent's round lies between two scrapes of the exporter.
    let before = wait_for(exporter_at, "/metrics");
    pause(Duration::from_millis(500));
    let agent = wait_for(agent_at, "/metrics/node");
    let after = wait_for(exporter_at, "/metrics");

    let theirs: BTreeSet<&str> =
        families(&after).into_iter().filter(|name| !ABOUT_ITSELF.contains(name)).collect();
    assert!(theirs.len() > 150, "the exporter shows only {} families", theirs.len());
    let missing: Vec<&&str> = theirs.iter().filter(|name| !families(&agent).contains(**name)).collect();
    assert!(missing.is_empty(), "families the agent lacks: {missing:?}");

    let mut problems = Vec::new();
    for (series, late) in &after {
        let Some(early) = before.get(series) else { continue };
        if !theirs.contains(family(series)) || RESTLESS.contains(&family(series)) {
            continue;
        }
        let Some(ours) = agent.get(series) else {
            problems.push(format!("absent: {series}"));
            continue;
        };
        let (low, high) = (early.min(*late), early.max(*late));
        // Counters lie between the two; gauges may swing beyond them for a moment.
        let slack = if series.contains("_total{") { 1e-6 * high.abs() } else { 0.05 * high.abs() + 0.05 };
        if *ours < low - slack || *ours > high + slack {
            problems.push(format!("{series}: {ours} is not within {low}…{high}"));
        }
    }
    for series in agent.keys().filter(|series| theirs.contains(family(series))) {
        if !after.contains_key(series) && !before.contains_key(series) && !RESTLESS.contains(&family(series))
        {
            problems.push(format!("only ours: {series}"));
        }
    }
    assert!(problems.is_empty(), "{} of {} differ:\n{}", problems.len(), after.len(), problems.join("\n"));
    println!("{} families, {} series compared", theirs.len(), after.len());
}
