//! Kill the server under load and start it again: what was acknowledged is there, once.

use std::time::Duration;

use anyhow::{Result, ensure};
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
            script.check(&client, acknowledged).await?;
        }
    }
    let last = nodes.iter().map(Node::acknowledged).max().unwrap_or(0) + 100;
    for node in &mut nodes {
        node.finish(last, Duration::from_secs(60)).await?;
    }
    ensure!(last > 200, "too little went through to show anything: {last} batches");
    let client = server.client()?;
    for (script, node) in scripts.iter().zip(&nodes) {
        script.check(&client, node.acknowledged()).await?;
    }
    Ok(())
}
