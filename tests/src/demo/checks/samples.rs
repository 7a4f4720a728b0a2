//! Samples of real cgroups of both nodes, and a CPU rate that agrees with `/proc`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::procs;
use crate::stage::NODES;
use binnacle_tests::client::Client;

/// Length of the window that is compared, in seconds.
const WINDOW: f64 = 20.0;
/// Least CPU in the window that makes a comparison meaningful, in cores.
const LEAST_CORES: f64 = 0.1;
/// Largest relative difference.
const TOLERANCE: f64 = 0.2;

/// CPU seconds of the processes of each `web` container over time, from `/proc`.
#[derive(Default)]
pub struct Check {
    seen: BTreeMap<(String, String), Vec<Reading>>,
}

struct Reading {
    at_s: f64,
    pids: Vec<u32>,
    cpu_s: f64,
}

/// A window in which one container ran the same processes all the time.
struct Window<'a> {
    node: &'a str,
    id: &'a str,
    end_s: f64,
    length_s: f64,
    cores: f64,
}

impl Check {
    pub async fn observe(&mut self, client: &Client, now_s: f64) -> Result<()> {
        for sample in client.query(r#"container_cpu_usage_seconds_total{container="web"}"#, None).await? {
            let (Some(node), Some(id)) = (sample.labels.get("node"), sample.labels.get("id")) else {
                continue;
            };
            let pids = procs::container_pids(node, id);
            let Some(cpu_s) = procs::cpu_seconds(&pids).filter(|_| !pids.is_empty()) else { continue };
            let readings = self.seen.entry((node.clone(), id.clone())).or_default();
            readings.push(Reading { at_s: now_s, pids, cpu_s });
        }
        Ok(())
    }

    pub async fn verdict(&self, client: &Client) -> Result<String> {
        let window = self.busiest_window().with_context(|| {
            format!("no container `web` used {LEAST_CORES} cores for {WINDOW} s, by /proc")
        })?;
        let Window { node, id, end_s, length_s, cores } = window;
        let expr = format!(
            "rate(container_cpu_usage_seconds_total{{node={node:?},id={id:?}}}[{}ms])",
            (length_s * 1000.0) as i64
        );
        let rate = client.number(&expr, Some(end_s)).await?.with_context(|| format!("{expr} is empty"))?;
        let off = rate / cores - 1.0;
        let text = format!(
            "{rate:.3} cores by PromQL, {cores:.3} by /proc over {length_s:.0} s ({:+.1}%)",
            off * 100.0
        );
        ensure!(off.abs() <= TOLERANCE, "{text}: more than {:.0}% apart", TOLERANCE * 100.0);
        Ok(text)
    }

    fn busiest_window(&self) -> Option<Window<'_>> {
        let mut best: Option<Window<'_>> = None;
        for ((node, id), readings) in &self.seen {
            for (at, first) in readings.iter().enumerate() {
                let same = readings[at..].iter().take_while(|r| r.pids == first.pids);
                let Some(last) = same.into_iter().find(|r| r.at_s - first.at_s >= WINDOW) else { continue };
                let length_s = last.at_s - first.at_s;
                let cores = (last.cpu_s - first.cpu_s) / length_s;
                if cores >= best.as_ref().map_or(LEAST_CORES, |best| best.cores) {
                    best = Some(Window { node, id, end_s: last.at_s, length_s, cores });
                }
            }
        }
        best
    }
}

/// Both nodes have sent series of containers.
pub async fn both_nodes(client: &Client) -> Result<String> {
    let counts = client.query(r#"count by (node) ({__name__=~"container_.+"})"#, None).await?;
    let count = |node: &str| counts.iter().find(|c| c.labels.get("node").is_some_and(|n| n == node));
    let mut text = Vec::new();
    for node in NODES {
        let count = count(node).with_context(|| format!("no container series of node {node}"))?;
        text.push(format!("{node}: {} series", count.value));
    }
    Ok(text.join(", "))
}
