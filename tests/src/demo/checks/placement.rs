//! New replicas of `web` went to the node with less load.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::stage::NODES;
use binnacle_tests::client::Client;

/// Pods that appear within so many seconds were placed together: until their load shows in the series,
/// the scheduler counts them by their estimates, so only one of them needs to go to the less loaded node.
const TOGETHER: f64 = 15.0;
/// The first start takes no longer: what comes later was added to what runs.
const START: f64 = 5.0;
/// A pod is seen so many seconds after it was placed.
const SEEN_AFTER: f64 = 1.0;
/// Nodes whose load differs by less are equally loaded, in cores.
const EQUAL: f64 = 0.05;

/// When each pod of `web` was first seen, and where.
#[derive(Default)]
pub struct Check {
    pods: BTreeMap<String, (f64, String)>,
}

impl Check {
    pub async fn observe(&mut self, client: &Client, now_s: f64) -> Result<()> {
        for sample in client.query(r#"kube_pod_info{pod=~"web-.+",node!=""}"#, None).await? {
            if let (Some(pod), Some(node)) = (sample.labels.get("pod"), sample.labels.get("node")) {
                self.pods.entry(pod.clone()).or_insert_with(|| (now_s, node.clone()));
            }
        }
        Ok(())
    }

    pub async fn verdict(&self, client: &Client) -> Result<String> {
        let mut pods: Vec<_> = self.pods.values().collect();
        pods.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut groups: Vec<(f64, Vec<&str>)> = Vec::new();
        for (at_s, node) in pods {
            let together = if groups.len() == 1 { START } else { TOGETHER };
            match groups.last_mut() {
                Some((first, nodes)) if at_s - *first <= together => nodes.push(node),
                _ => groups.push((*at_s, vec![node])),
            }
        }
        let (mut right, mut told, mut equal) = (0, Vec::new(), Vec::new());
        // The first group is the first start: nothing ran yet that could have told the nodes apart.
        for (at_s, nodes) in groups.iter().skip(1) {
            // Short: the load has risen only just before it is answered by more replicas.
            let load = r#"rate(container_cpu_usage_seconds_total{id="/"}[5s])"#;
            let found = client.query(load, Some(at_s - SEEN_AFTER)).await?;
            // A node on which no pod has run yet has no cgroup of pods: no series, and no load.
            let load_of = |node: &str| {
                let of_node =
                    found.iter().find(|sample| sample.labels.get("node").is_some_and(|n| n == node));
                of_node.map_or(0.0, |sample| sample.value)
            };
            let mut loads = NODES.map(|node| (load_of(node), node));
            loads.sort_by(|a, b| a.0.total_cmp(&b.0));
            let [(least, least_name), .., (most, _)] = loads;
            if most - least < EQUAL {
                equal.push(format!("{least:.2} cores against {most:.2}"));
                continue;
            }
            told.push(format!(
                "{} of {} to {least_name} ({least:.2} cores against {most:.2})",
                nodes.iter().filter(|node| **node == least_name).count(),
                nodes.len(),
            ));
            right += usize::from(nodes.contains(&least_name));
        }
        let added = groups.len().saturating_sub(1);
        ensure!(
            !told.is_empty(),
            "replicas were added {added} times, never while the nodes' loads differed by {EQUAL} cores: {}",
            equal.join("; ")
        );
        ensure!(right == told.len(), "{right} of {} times: {}", told.len(), told.join("; "));
        Ok(told.join("; "))
    }
}
