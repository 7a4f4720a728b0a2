//! The community's dashboards and rules on a real agent and server: each family is in a real sample, each query has an
//! answer.

#[path = "community/queries.rs"]
mod queries;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use binnacle_tests::cgroups::Parent;
use binnacle_tests::client::Client;
use binnacle_tests::metrics_server::until;
use binnacle_tests::process::{Agent, Server, is_root};
use queries::{CONTAINERS, NODE, Query};

const MANIFEST: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: sleepy }
spec:
  replicas: 1
  selector: { matchLabels: { app: sleepy } }
  template:
    metadata: { labels: { app: sleepy } }
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: sleepy
          image: host
          command:
            - sh
            - -c
            # Version 1 counts only what goes past the page cache.
            - |
              while :; do
                dd if=/dev/zero of=FOLDER/scratch bs=4k count=4 oflag=direct 2> /dev/null
                dd if=FOLDER/scratch of=/dev/null bs=4k iflag=direct 2> /dev/null
                sleep 0.3
              done
          resources:
            requests: { cpu: 20m, memory: 16Mi }
            limits: { cpu: 100m, memory: 64Mi }
";

/// How long rates take to have enough samples, with reserve.
const PATIENCE: Duration = Duration::from_secs(60);

fn written(expr: &str) -> String {
    expr.replace("NODE", "instance=\"here\", job=\"node-exporter\"")
        .replace("POD", "namespace=\"default\", pod=~\"sleepy-.+\"")
}

async fn families(client: &Client) -> Result<BTreeSet<String>> {
    let names = client.get("/api/v1/label/__name__/values", &[]).await?;
    Ok(names.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect())
}

/// What is wrong with a query now: families that are not there, or no answer.
async fn problem(client: &Client, families: &BTreeSet<String>, query: &Query) -> Option<String> {
    let missing: Vec<&str> = query.families().filter(|family| !families.contains(*family)).collect();
    if !missing.is_empty() {
        return Some(format!("{}: no {missing:?}", query.title));
    }
    match client.query(&written(query.expr), None).await {
        Ok(samples) if samples.is_empty() => Some(format!("{}: empty: {}", query.title, written(query.expr))),
        Ok(_) => None,
        Err(error) => Some(format!("{}: {error:#}", query.title)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_communitys_dashboards_has_an_answer() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let manifests = folder.path().join("manifests");
    std::fs::create_dir_all(&manifests)?;
    let manifest = MANIFEST.replace("FOLDER", &folder.path().display().to_string());
    std::fs::write(manifests.join("sleepy.yaml"), manifest)?;
    let server = Server::start(["--manifests".to_owned(), manifests.display().to_string()]).await?;
    // Before the agent, so that it is dropped after it.
    let parent = Parent::new("community");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut agent = Agent::start(
        folder.path(),
        [
            "--server".to_owned(),
            server.grpc_url(),
            "--node".to_owned(),
            "here".to_owned(),
            "--interval".to_owned(),
            "1s".to_owned(),
            "--cgroup-parent".to_owned(),
            format!("/{}", parent.name()),
            "--capacity".to_owned(),
            "cpu=1,memory=1Gi".to_owned(),
            "--state-dir".to_owned(),
            path("state"),
            "--pod-log-dir".to_owned(),
            path("pods"),
            "--on-exit".to_owned(),
            "stop-pods".to_owned(),
        ],
    )?;
    let client = server.client()?;
    let (mut asked, mut not_offered) = (Vec::new(), Vec::new());
    for query in NODE.iter().chain(CONTAINERS) {
        let is_offered = query.kernel.is_empty() || std::path::Path::new(query.kernel).exists();
        if is_offered { asked.push(query) } else { not_offered.push(query) }
    }
    let settled = until("all queries to have an answer", PATIENCE, || async {
        let families = families(&client).await.ok()?;
        for query in &asked {
            if problem(&client, &families, query).await.is_some() {
                return None;
            }
        }
        Some(())
    })
    .await;
    let families = families(&client).await?;
    let mut problems = Vec::new();
    if settled.is_err() {
        for query in &asked {
            problems.extend(problem(&client, &families, query).await);
        }
    }
    agent.stop().await?;
    assert!(
        problems.is_empty(),
        "{} of {} queries:\n{}\n{}",
        problems.len(),
        asked.len(),
        problems.join("\n"),
        agent.log()
    );
    println!("{} queries have an answer", asked.len());
    for query in not_offered {
        println!("skipped: {} needs {}, which this kernel does not offer", query.title, query.kernel);
    }
    Ok(())
}
