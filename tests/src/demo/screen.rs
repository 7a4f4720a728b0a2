//! What the person at the terminal sees.

use std::time::Duration;

use anyhow::Result;

use crate::checks::Verdict;
use crate::stage::NODES;
use binnacle_tests::client::{Client, Sample};

/// Says where to look.
pub fn welcome(http: &str) {
    println!("Binnacle runs on this machine with two nodes, {} and {}.\n", NODES[0], NODES[1]);
    println!("  web page    http://{http}/");
    println!(
        "  PromQL      binnacle query 'sum by (node) (rate(container_cpu_usage_seconds_total{{id=\"/\"}}[30s]))'"
    );
    println!("  logs        binnacle logs '{{container=\"chatty\"}}' --follow");
    println!("  why         binnacle why hpa web");
    println!("  Grafana     a Prometheus and a Loki data source, both with http://{http}");
    println!("  stop        Ctrl-C\n");
    println!(
        "{:>6}  {:>9}  {:>8}  {:>11}  {:>11}  {:>20}",
        "time", "web pods", "web cpu", "alpha cores", "beta cores", "leaky MiB (oom_adj)"
    );
}

/// One line of the state of things, all of it from PromQL.
pub async fn line(age: Duration, client: &Client) -> Result<()> {
    let have = client.number(r#"kube_deployment_status_replicas{deployment="web"}"#, None).await?;
    let want = client.number(r#"kube_deployment_spec_replicas{deployment="web"}"#, None).await?;
    let web = r#"sum(rate(container_cpu_usage_seconds_total{container="web"}[15s]))"#;
    let web = client.number(web, None).await?;
    let nodes = client.query(r#"rate(container_cpu_usage_seconds_total{id="/"}[15s])"#, None).await?;
    let leaky = r#"max(container_memory_working_set_bytes{container="leaky"}) / 2^20"#;
    let leaky = client.number(leaky, None).await?;
    let adj = client.number("max(binnacle_oom_observed_score_adj{container=\"leaky\"})", None).await?;
    println!(
        "{:>5}s  {:>9}  {:>8}  {:>11}  {:>11}  {:>20}",
        age.as_secs(),
        format!("{} / {}", show(have, 0), show(want, 0)),
        show(web, 2),
        show(of_node(&nodes, NODES[0]), 2),
        show(of_node(&nodes, NODES[1]), 2),
        format!("{} ({})", show(leaky, 0), show(adj, 0)),
    );
    Ok(())
}

fn of_node(samples: &[Sample], node: &str) -> Option<f64> {
    let of_node = |sample: &&Sample| sample.labels.get("node").is_some_and(|name| name == node);
    samples.iter().find(of_node).map(|sample| sample.value)
}

fn show(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Prints the table; true when everything was observed.
pub fn summary(verdicts: &[Verdict]) -> bool {
    println!("\nwhat was observed through the public interfaces:");
    for verdict in verdicts {
        let (mark, text) = match &verdict.outcome {
            Ok(seen) => ("yes", seen),
            Err(missing) => ("NO", missing),
        };
        println!("  {mark:>3}  {:<22} {text}", verdict.name);
    }
    let missing: Vec<&str> = verdicts.iter().filter(|v| v.outcome.is_err()).map(|v| v.name).collect();
    if missing.is_empty() {
        println!("\nall {} observed", verdicts.len());
    } else {
        println!("\nnot observed: {}", missing.join(", "));
    }
    missing.is_empty()
}
