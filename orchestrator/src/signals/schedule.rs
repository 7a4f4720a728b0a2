//! Signals of the scheduler.

use std::collections::BTreeMap;

use super::{Ask, Asked};
use crate::decide::NodeView;
use crate::decide::schedule::{Config, NodeLoad, PodUsage, Signals, Usage};

/// Most points of a range query: a long window is asked in larger steps.
const POINTS: i64 = 240;
/// Smallest step in milliseconds.
const LEAST_STEP_MS: i64 = 1_000;

/// Asks for the load of all nodes and the usage of all pods.
pub fn ask(
    ask: &dyn Ask,
    nodes: &[NodeView],
    rate_window_ms: i64,
    config: &Config,
    now_ms: i64,
) -> (Vec<Asked>, Signals) {
    let cpu =
        format!("sum by (node) (rate(container_cpu_usage_seconds_total{{id=\"/\"}}[{rate_window_ms}ms]))");
    let memory = "sum by (node) (container_memory_working_set_bytes{id=\"/\"})";
    let newest = "max by (node) (timestamp(container_cpu_usage_seconds_total{id=\"/\"}))";
    let pod_cpu = format!(
        "sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{{pod!=\"\",container!=\"\"}}[{rate_window_ms}ms]))"
    );
    let pod_memory =
        "sum by (namespace, pod) (container_memory_working_set_bytes{pod!=\"\",container!=\"\"})";
    let mut asked = Vec::new();
    let (long_cpu, long_memory) =
        (over(ask, &cpu, config.long_ms, now_ms), over(ask, memory, config.long_ms, now_ms));
    let (short_cpu, short_memory) =
        (over(ask, &cpu, config.short_ms, now_ms), over(ask, memory, config.short_ms, now_ms));
    for (name, query, answer) in [
        ("node cpu, long window", cpu.as_str(), &long_cpu),
        ("node memory, long window", memory, &long_memory),
        ("node cpu, short window", cpu.as_str(), &short_cpu),
        ("node memory, short window", memory, &short_memory),
    ] {
        asked.push(Asked::new(name, query, answer.as_ref().err().cloned()));
    }
    let mut vector = |name: &str, query: &str| {
        let answer = ask.vector(query, now_ms);
        asked.push(Asked::new(name, query, answer.as_ref().err().cloned()));
        answer.unwrap_or_default()
    };
    let newest: BTreeMap<String, i64> = vector("time of the newest sample", newest)
        .into_iter()
        .filter_map(|s| Some((s.labels.get("node")?.to_owned(), (s.value * 1000.0) as i64)))
        .collect();
    let mut pods: BTreeMap<(String, String), PodUsage> = BTreeMap::new();
    for (resource, samples) in
        [("cpu", vector("pod cpu", &pod_cpu)), ("memory", vector("pod memory", pod_memory))]
    {
        for s in samples.into_iter().filter(|s| s.value.is_finite()) {
            let (Some(namespace), Some(pod)) = (s.labels.get("namespace"), s.labels.get("pod")) else {
                continue;
            };
            let usage = pods
                .entry((namespace.to_owned(), pod.to_owned()))
                .or_insert(PodUsage { cpu_millis: None, memory_bytes: None });
            match resource {
                "cpu" => usage.cpu_millis = Some(s.value * 1000.0),
                _ => usage.memory_bytes = Some(s.value),
            }
        }
    }
    let (long_cpu, long_memory) = (long_cpu.unwrap_or_default(), long_memory.unwrap_or_default());
    let (short_cpu, short_memory) = (short_cpu.unwrap_or_default(), short_memory.unwrap_or_default());
    let empty: Points = Vec::new();
    let loads = nodes.iter().map(|node| {
        let usage = |short: &BTreeMap<String, Points>, long: &BTreeMap<String, Points>, capacity: f64| {
            let of = |points: &BTreeMap<String, Points>| points.get(&node.name).unwrap_or(&empty).clone();
            Usage::of_points(&of(short), &of(long), capacity)
        };
        let load = NodeLoad {
            cpu: usage(&short_cpu, &long_cpu, node.capacity.cpu() as f64 / 1000.0),
            memory: usage(&short_memory, &long_memory, node.capacity.memory() as f64),
            age_ms: newest.get(&node.name).map(|t_ms| now_ms - t_ms),
        };
        (node.name.clone(), load)
    });
    (asked, Signals { nodes: loads.collect(), pods })
}

type Points = Vec<f64>;

/// Values by node over the window that ends now.
fn over(ask: &dyn Ask, query: &str, window_ms: i64, now_ms: i64) -> Result<BTreeMap<String, Points>, String> {
    let step_ms = (window_ms / POINTS).max(LEAST_STEP_MS);
    let series = ask.range(query, now_ms - window_ms + step_ms, now_ms, step_ms)?;
    Ok(series
        .into_iter()
        .filter_map(|s| {
            let node = s.labels.get("node")?.to_owned();
            Some((node, s.points.values.into_iter().filter(|v| v.is_finite()).collect()))
        })
        .collect())
}
