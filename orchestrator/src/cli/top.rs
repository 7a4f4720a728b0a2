//! `binnacle top`: who uses what now.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value;

use super::ServerUrl;
use super::client::Client;
use super::table::Table;
use super::time::format_age;

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to list.
    #[arg(value_enum, default_value_t = What::Nodes)]
    what: What,
    /// Only pods of this namespace.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    server: ServerUrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Nodes,
    Pods,
}

/// Use of a node: its root cgroup, else what the kernel says of the whole machine.
const NODE_CPU: &str = "sum by (node) (rate(container_cpu_usage_seconds_total{id=\"/\"}[1m]))";
const NODE_MEMORY: &str = "sum by (node) (container_memory_working_set_bytes{id=\"/\"})";
/// Use of a pod: the sum of its containers, so that the pod's own cgroup is not counted twice.
const POD_CPU: &str =
    "sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{pod!=\"\", container!=\"\"}[1m]))";
const POD_MEMORY: &str =
    "sum by (namespace, pod) (container_memory_working_set_bytes{pod!=\"\", container!=\"\"})";

pub(super) async fn run(args: Args, now_ms: i64) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.server)?;
    match args.what {
        What::Nodes => {
            let nodes = client.get("/api/v1/binnacle/nodes", &[]).await?;
            let cpu = vector(&client, NODE_CPU, &["node"]).await?;
            let memory = vector(&client, NODE_MEMORY, &["node"]).await?;
            print!("{}", node_table(&nodes, &cpu, &memory, now_ms));
        }
        What::Pods => {
            let pods = client.get("/api/v1/binnacle/pods", &[]).await?;
            let cpu = vector(&client, POD_CPU, &["namespace", "pod"]).await?;
            let memory = vector(&client, POD_MEMORY, &["namespace", "pod"]).await?;
            print!("{}", pod_table(&pods, &cpu, &memory, args.namespace.as_deref()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

type ByLabels = BTreeMap<Vec<String>, f64>;

/// The values of an instant query by some of their labels.
async fn vector(client: &Client, query: &str, labels: &[&str]) -> anyhow::Result<ByLabels> {
    let data = client.get("/api/v1/query", &[("query", query.to_owned())]).await?;
    let elements = data["result"].as_array().into_iter().flatten();
    let pairs = elements.filter_map(|element| {
        let key = labels.iter().map(|label| text(&element["metric"][label])).collect();
        Some((key, element["value"][1].as_str()?.parse().ok()?))
    });
    Ok(pairs.collect())
}

fn node_table(nodes: &Value, cpu: &ByLabels, memory: &ByLabels, now_ms: i64) -> String {
    let mut table = Table::new(["NODE", "STATE", "CPU", "CPU%", "MEMORY", "MEMORY%", "PODS", "SEEN"]);
    (2..7).for_each(|column| table.align_right(column));
    let nodes = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
    if nodes.is_empty() {
        return "no nodes: start an agent with `binnacle-agent --server http://…`\n".into();
    }
    for node in nodes {
        let name = text(&node["name"]);
        let key = vec![name.clone()];
        let cores = node["capacity"]["cpuMillis"].as_f64().unwrap_or(0.0) / 1000.0;
        let bytes = node["capacity"]["memoryBytes"].as_f64().unwrap_or(0.0);
        let state = if node["connected"] == true { "connected" } else { "away" };
        let seen_ms = node["lastSeenMs"].as_i64().unwrap_or(0);
        let pods = node["pods"].as_array().map_or_else(|| "?".to_owned(), |pods| pods.len().to_string());
        table.row([
            name,
            state.to_owned(),
            known(cpu.get(&key), format_cores),
            known(cpu.get(&key), |used| share(used, cores)),
            known(memory.get(&key), format_bytes),
            known(memory.get(&key), |used| share(used, bytes)),
            pods,
            if seen_ms > 0 { format!("{} ago", format_age(now_ms - seen_ms)) } else { "never".into() },
        ]);
    }
    table.to_string()
}

fn pod_table(pods: &Value, cpu: &ByLabels, memory: &ByLabels, namespace: Option<&str>) -> String {
    let mut table = Table::new(["NAMESPACE", "POD", "NODE", "PHASE", "CPU", "MEMORY"]);
    (4..6).for_each(|column| table.align_right(column));
    // Pods that the server runs, and those that only the agents see (another system runs them).
    let mut rows: BTreeMap<Vec<String>, (String, String)> = BTreeMap::new();
    for key in cpu.keys().chain(memory.keys()) {
        rows.insert(key.clone(), (String::new(), String::new()));
    }
    for pod in pods.as_array().into_iter().flatten() {
        rows.insert(
            vec![text(&pod["namespace"]), text(&pod["name"])],
            (text(&pod["node"]), text(&pod["phase"])),
        );
    }
    rows.retain(|key, _| namespace.is_none_or(|namespace| key[0] == namespace));
    if rows.is_empty() {
        return "no pods\n".into();
    }
    for (key, (node, phase)) in rows {
        let used = (known(cpu.get(&key), format_cores), known(memory.get(&key), format_bytes));
        table.row([key[0].clone(), key[1].clone(), node, phase, used.0, used.1]);
    }
    table.to_string()
}

/// A value, or a dash when there is none: absent is not zero.
fn known(value: Option<&f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format(*value))
}

/// Thousandths of a core, as kubectl shows them.
fn format_cores(cores: f64) -> String {
    format!("{}m", (cores * 1000.0).round())
}

fn format_bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes >= 10.0 * 1024f64.powi(3) => format!("{:.1}Gi", bytes / 1024f64.powi(3)),
        bytes if bytes >= 1024f64.powi(2) => format!("{:.0}Mi", bytes / 1024f64.powi(2)),
        bytes => format!("{:.0}Ki", bytes / 1024.0),
    }
}

fn share(used: f64, of: f64) -> String {
    if of > 0.0 { format!("{:.0}%", used / of * 100.0) } else { "-".into() }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn node_without_samples_shows_dashes_not_zeros() {
        let nodes = json!([
            {"name": "alpha", "connected": true, "lastSeenMs": 1_000, "pods": [{}],
             "capacity": {"cpuMillis": 1000, "memoryBytes": 2_147_483_648u64}},
            {"name": "beta", "connected": false, "lastSeenMs": 0, "pods": null, "capacity": {}},
        ]);
        let cpu = ByLabels::from([(vec!["alpha".into()], 0.25)]);
        let memory = ByLabels::from([(vec!["alpha".into()], 1_073_741_824.0)]);
        let shown = node_table(&nodes, &cpu, &memory, 4_000);
        let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["alpha", "connected", "250m", "25%", "1024Mi", "50%", "1", "3s", "ago"]);
        assert_eq!(rows[2], ["beta", "away", "-", "-", "-", "-", "?", "never"]);
    }

    #[test]
    fn pods_of_others_are_listed_too() {
        let pods = json!([{"namespace": "default", "name": "web-1", "node": "alpha", "phase": "Running"}]);
        let cpu = ByLabels::from([(vec!["kube-system".into(), "dns".into()], 0.001)]);
        let shown = pod_table(&pods, &cpu, &ByLabels::new(), None);
        assert!(shown.contains("web-1") && shown.contains("dns"), "{shown}");
        assert!(!pod_table(&pods, &cpu, &ByLabels::new(), Some("default")).contains("dns"));
    }
}
