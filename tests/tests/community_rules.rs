//! Rules in the forms of the community's load unchanged and run over what a real agent sends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::metrics_server::{peer_or_skip, until};
use binnacle_tests::process::{Agent, Server};

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/community_forms.yml")
}

/// Rules that every machine's agent feeds.
const FED: [&str; 6] = [
    "instance:cpus:count",
    "instance:cpu_busy:ratio_rate",
    "instance:load1_per_cpu:ratio",
    "instance:memory_used:ratio",
    "instance:bytes_received_without_lo:rate",
    "cluster:cpu_busy:ratio",
];

#[test]
fn rules_in_the_forms_of_the_community_are_in_order() {
    let (count, findings) = binnacle_tsdb::rules::check(&[rules()], None);
    assert!(findings.is_empty(), "{findings:#?}");
    assert!(count >= 40, "{count} rules");
    let Some(promtool) = peer_or_skip("promtool") else { return };
    let output =
        Command::new(promtool).args(["check", "rules"]).arg(rules()).output().expect("promtool starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_in_the_forms_of_the_community_run_over_an_agents_series() -> Result<()> {
    let path = rules().display().to_string();
    let server = Server::start(["--rules", path.as_str()]).await?;
    let state = server.folder().join("agent").display().to_string();
    let logs = server.folder().join("pods").display().to_string();
    std::fs::create_dir_all(&logs)?;
    let (url, node) = (server.grpc_url(), "forms".to_owned());
    let args = ["--server", &url, "--node", &node, "--state-dir", &state, "--pod-log-dir", &logs];
    let agent = Agent::start(server.folder(), args)?;
    let client = server.client()?;
    for name in FED {
        let arrived = until(name, Duration::from_secs(90), || async {
            client.number(&format!("count({name})"), None).await.ok().flatten()
        });
        arrived.await.with_context(|| format!("{}\n{}", server.log(), agent.log()))?;
    }
    let groups = client.get("/api/v1/rules", &[]).await?;
    let mut seen = 0;
    for rule in groups["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array())
        .flatten()
    {
        ensure!(rule["health"] == "ok", "{}: {}", rule["name"], rule["lastError"]);
        for alert in rule["alerts"].as_array().into_iter().flatten() {
            let annotations = alert["annotations"].to_string();
            ensure!(!annotations.contains("error expanding"), "{}: {annotations}", rule["name"]);
        }
        seen += 1;
    }
    ensure!(seen >= 40, "{seen} rules were evaluated");
    let fires = client.number(r#"ALERTS{alertname="AlwaysFires",alertstate="firing"}"#, None).await?;
    ensure!(fires == Some(1.0), "{fires:?}");
    Ok(())
}
