//! What the agents scrape, as the HTTP API shows it.

use binnacle_proto::node::ScrapeTargets;
use binnacle_tsdb::http::{Target, Targets};

use super::Registry;

/// The targets of all nodes.
pub(crate) fn targets(registry: &Registry) -> Targets {
    let mut all = Targets::default();
    for (node, connected, reported) in registry.targets() {
        add(&mut all, &node, connected, &reported);
    }
    // As Prometheus orders them: by job.
    all.active.sort_by(|a, b| (&a.pool, &a.node).cmp(&(&b.pool, &b.node)));
    all
}

fn add(all: &mut Targets, node: &str, connected: bool, reported: &ScrapeTargets) {
    let ordered = |labels: &std::collections::HashMap<String, String>| labels.clone().into_iter().collect();
    for target in &reported.targets {
        // Whether it is scraped is not known of an agent that is away.
        let (health, last_error) = match connected {
            true => (target.health.clone(), target.last_error.clone()),
            false => ("unknown".to_owned(), format!("the agent of node {node} is not connected")),
        };
        all.active.push(Target {
            node: node.to_owned(),
            pool: target.pool.clone(),
            discovered: ordered(&target.discovered_labels),
            labels: ordered(&target.labels),
            url: target.url.clone(),
            health,
            last_error,
            last_scrape_ms: target.last_scrape_ms,
            last_duration_seconds: target.last_duration_seconds,
            interval_ms: target.interval_ms,
            timeout_ms: target.timeout_ms,
        });
    }
    for target in &reported.dropped {
        all.dropped.push((target.pool.clone(), ordered(&target.discovered_labels)));
    }
    for (pool, count) in &reported.dropped_counts {
        *all.dropped_counts.entry(pool.clone()).or_default() += count;
    }
    all.pools.extend(reported.pools.iter().cloned());
}
