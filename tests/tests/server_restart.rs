//! Kill the server under load and start it again: what was acknowledged is there, once.

use std::time::Duration;

use anyhow::{Result, ensure};
use binnacle_tests::client::Client;
use binnacle_tests::node::{Node, Script};
use binnacle_tests::process::Server;

/// Nothing beside the defaults.
const NO_ARGS: [&str; 0] = [];
/// Times the server is killed.
const KILLS: u32 = 4;

fn script(node: &str) -> Script {
    Script {
        node: node.into(),
        metric: "restart_test".into(),
        series: 50,
        lines: 20,
        start_ms: now_ms() - 600_000,
        step_ms: 20,
    }
}

#[expect(clippy::disallowed_methods, reason = "samples must be of today")]
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_or_twice_when_the_server_is_killed() -> Result<()> {
    let mut server = Server::start(NO_ARGS).await?;
    let scripts = [script("alpha"), script("beta")];
    let mut nodes: Vec<Node> = scripts.iter().map(|s| Node::new(s.clone(), &server.grpc_url())).collect();
    for kill in 1..=KILLS {
        let target = u64::from(kill) * 150;
        let work = nodes.iter_mut().map(|node| async move {
            // Runs on beyond the target: the kill comes in the middle of what is sent.
            while node.acknowledged() < target + 200 {
                if node.step().await.is_err() {
                    return;
                }
            }
        });
        let kill_later = async {
            tokio::time::sleep(Duration::from_millis(150 + 70 * u64::from(kill))).await;
            server.kill()
        };
        let (_, killed) = tokio::join!(futures::future::join_all(work), kill_later);
        killed?;
        let acknowledged: Vec<u64> = nodes.iter().map(Node::acknowledged).collect();
        server.start_again().await?;
        let client = server.client()?;
        for (script, acknowledged) in scripts.iter().zip(acknowledged) {
            check(&client, script, acknowledged).await?;
        }
    }
    let last = nodes.iter().map(Node::acknowledged).max().unwrap_or(0) + 100;
    for node in &mut nodes {
        node.finish(last, Duration::from_secs(60)).await?;
    }
    ensure!(last > 200, "too little went through to show anything: {last} batches");
    let client = server.client()?;
    for (script, node) in scripts.iter().zip(&nodes) {
        check(&client, script, node.acknowledged()).await?;
    }
    Ok(())
}

/// Every sample and line up to batch `acknowledged` is there, once.
async fn check(client: &Client, script: &Script, acknowledged: u64) -> Result<()> {
    if acknowledged == 0 {
        return Ok(());
    }
    let node = &script.node;
    let (end_ms, step_ms) = (script.time_ms(acknowledged), script.step_ms);
    let span_ms = step_ms * acknowledged as i64;
    // Left-open: from just after batch 0 to the acknowledged one.
    let selector = format!(r#"restart_test{{node="{node}"}}[{span_ms}ms]"#);
    let at = Some(end_ms as f64 / 1000.0);
    let counts = client.query(&format!("count_over_time({selector})"), at).await?;
    ensure!(counts.len() == script.series as usize, "{node}: {} series", counts.len());
    for sample in &counts {
        ensure!(sample.value == acknowledged as f64, "{node}: {sample:?}, acknowledged {acknowledged}");
    }
    let sums = client.query(&format!("sum_over_time({selector})"), at).await?;
    let sum = (acknowledged * (acknowledged + 1) / 2) as f64;
    for sample in &sums {
        ensure!(sample.value == sum, "{node}: {sample:?}, the sum must be {sum}");
    }

    let (start_ns, end_ns) = (script.start_ms * 1_000_000, (end_ms + 1) * 1_000_000);
    let lines = client.logs(&format!(r#"{{node="{node}",job="test"}}"#), start_ns, end_ns).await?;
    let expected = acknowledged * u64::from(script.lines);
    let found: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.line.as_str()).collect();
    let missing: Vec<u64> = (0..expected).filter(|n| !found.contains(script.line(*n).as_str())).collect();
    ensure!(
        missing.is_empty() && lines.len() as u64 == expected,
        "{node}: {} lines found, {expected} acknowledged, {} missing, first {:?}",
        lines.len(),
        missing.len(),
        missing.iter().take(3).collect::<Vec<_>>(),
    );
    for (number, line) in lines.iter().enumerate() {
        let expected = script.line(number as u64);
        ensure!(line.line == expected, "{node}: {:?} where {expected:?} comes", line.line);
    }
    Ok(())
}
