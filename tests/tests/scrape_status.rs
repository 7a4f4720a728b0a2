//! What agents scrape is shown as Prometheus shows its targets, and exemplars arrive: beside a real Prometheus 3 with
//! the same configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use binnacle_tests::client::http_client;
use binnacle_tests::differential;
use binnacle_tests::metrics_server::{Program, free_port, until};
use binnacle_tests::process::{Agent, Server};
use serde_json::Value;

const NO_ARGS: [&str; 0] = [];
const PATIENCE: Duration = Duration::from_secs(60);

/// Without escapes in exemplars: Prometheus 3.5 keeps them as they are written.
const EXPOSITION: &str = "# TYPE latency histogram\n\
     latency_bucket{le=\"0.5\"} 3 # {trace_id=\"KOO5S4vxi0o\",span=\"é\"} 0.25 1.7e9\n\
     latency_bucket{le=\"+Inf\"} 4 # {trace_id=\"oHg5SJYRHA0\"} 9.5\n\
     latency_sum 10\nlatency_count 4\n\
     # TYPE requests counter\nrequests_total{code=\"200\"} 4 # {} 1\n# EOF\n";

async fn exposing() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let open = [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let router =
        Router::new().route("/metrics", axum::routing::get(move || async move { (open, EXPOSITION) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn config(target: SocketAddr, nobody: u16) -> String {
    format!(
        r#"
global: {{ scrape_interval: 1s, scrape_timeout: 900ms }}
scrape_configs:
  - job_name: good
    params: {{ a: [b] }}
    static_configs: [ {{ targets: ['{target}'], labels: {{ env: test }} }} ]
    relabel_configs:
      - {{ source_labels: [env], regex: '(.*)', target_label: where, replacement: 'in $1' }}
  - job_name: gone
    scrape_interval: 1500ms
    scrape_timeout: 1s
    static_configs: [ {{ targets: ['127.0.0.1:{nobody}'] }} ]
  - job_name: mixed
    scrape_interval: 1m
    metrics_path: /nothing
    static_configs: [ {{ targets: ['127.0.0.1:{nobody}', 'localhost:{nobody}'] }} ]
    relabel_configs:
      - {{ source_labels: [__address__], regex: 'localhost.*', action: drop }}
"#
    )
}

struct Site {
    url: String,
    http: reqwest::Client,
}

impl Site {
    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.http.get(format!("{}/api/v1/{path}", self.url)).send().await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        Ok(answer.json::<Value>().await?["data"].clone())
    }
}

/// A list of targets without what depends on the moment and on who scrapes.
fn comparable(mut data: Value) -> Result<Value> {
    for target in data["activeTargets"].as_array_mut().context("no activeTargets")? {
        let target = target.as_object_mut().context("a target is an object")?;
        target.remove("node");
        for field in ["lastScrape", "globalUrl", "lastError"] {
            let text = target.get(field).and_then(Value::as_str).with_context(|| format!("no {field}"))?;
            // The words of an error are everybody's own.
            let shown = if field == "lastError" { text.is_empty() } else { true };
            target.insert(field.to_owned(), shown.into());
        }
        let took = target.get("lastScrapeDuration").and_then(Value::as_f64);
        target.insert("lastScrapeDuration".to_owned(), took.is_some().into());
    }
    let by_url = |target: &Value| format!("{} {}", target["scrapePool"], target["scrapeUrl"]);
    data["activeTargets"].as_array_mut().context("no activeTargets")?.sort_by_key(by_url);
    Ok(data)
}

/// Exemplars without the times that targets do not say.
fn untimed(mut data: Value) -> Result<Value> {
    for series in data.as_array_mut().context("no list")? {
        for exemplar in series["exemplars"].as_array_mut().context("no exemplars")? {
            if exemplar["timestamp"].as_f64().context("no timestamp")? > 1.75e9 {
                exemplar["timestamp"] = "now".into();
            }
        }
    }
    Ok(data)
}

fn agent(folder: &Path, server: &Server, file: &Path) -> Result<Agent> {
    let text = |path: &Path| path.display().to_string();
    let args = [
        ("--server", server.grpc_url()),
        ("--node", "here".to_owned()),
        ("--state-dir", text(&folder.join("state"))),
        ("--pod-log-dir", text(&folder.join("pods"))),
        ("--scrape-config", text(file)),
    ];
    Agent::start(folder, args.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]))
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_and_exemplars_are_those_of_prometheus() -> Result<()> {
    let Some(prometheus) = differential::find() else {
        println!("skipped: no Prometheus 3 (run tests/peers.sh or set PROMETHEUS_BIN)");
        return Ok(());
    };
    let server = Server::start(NO_ARGS).await?;
    let folder = server.folder().to_owned();
    let (target, nobody, port) = (exposing().await?, free_port()?, free_port()?);
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config(target, nobody))?;
    let args = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=error".to_owned(),
        "--enable-feature=exemplar-storage".to_owned(),
    ];
    let peer = Program::start(&prometheus, &args, &folder)?;
    let mut agent = agent(&folder, &server, &file)?;
    let site = |url: String| Ok::<_, anyhow::Error>(Site { url, http: http_client(PATIENCE, None)? });
    let (ours, theirs) = (site(server.http_url())?, site(format!("http://127.0.0.1:{port}"))?);

    // Both have asked their targets once, but for the one that is asked once a minute.
    let settled = |data: &Value| {
        let health = |pool: &str| {
            let all = data["activeTargets"].as_array().into_iter().flatten();
            all.filter(|target| target["scrapePool"] == pool).all(|target| target["health"] != "unknown")
        };
        data["activeTargets"].as_array().is_some_and(|all| all.len() == 3) && health("good") && health("gone")
    };
    for (name, of) in [("our", &ours), ("their", &theirs)] {
        let what = format!("{name} targets");
        let there = || async { of.get("targets").await.is_ok_and(|data| settled(&data)).then_some(()) };
        until(&what, PATIENCE, there).await.with_context(|| format!("{}\n{}", agent.log(), peer.output()))?;
    }
    for path in [
        "targets?scrapePool=good",
        "targets?scrapePool=gone&state=active",
        "targets?state=Dropped",
        "targets?state=dropped&scrapePool=good",
        "targets?state=active&scrapePool=nosuch",
        "targets?state=any&scrapePool=gone",
        "targets?state=nonsense",
        "scrape_pools",
    ] {
        let (our, their) = (ours.get(path).await?, theirs.get(path).await?);
        if path == "scrape_pools" {
            ensure!(our == their, "{path}: {our:#} and {their:#}");
        } else {
            let (our, their) = (comparable(our)?, comparable(their)?);
            ensure!(our == their, "{path}: {our:#} and {their:#}");
        }
    }
    let all = ours.get("targets").await?;
    let gone = all["activeTargets"].as_array().into_iter().flatten().find(|t| t["scrapePool"] == "gone");
    let gone = gone.context("no target of the job gone")?;
    ensure!(
        gone["node"] == "here" && gone["globalUrl"] == format!("http://here:{nobody}/metrics"),
        "{gone:#}"
    );
    ensure!(gone["lastError"].as_str().is_some_and(|error| error.contains("refused")), "{gone:#}");

    let path = "query_exemplars?query=latency_bucket%20or%20requests_total&start=0&end=99999999999";
    let same = || async {
        let both = (untimed(ours.get(path).await.ok()?).ok()?, untimed(theirs.get(path).await.ok()?).ok()?);
        let count = both.0.as_array().map_or(0, Vec::len);
        (sorted(both.0.clone()) == sorted(both.1.clone()) && count == 3).then_some(())
    };
    if let Err(error) = until("the same exemplars", PATIENCE, same).await {
        let (our, their) = (ours.get(path).await?, theirs.get(path).await?);
        anyhow::bail!("{error}: {our:#} and {their:#}\n{}", agent.log());
    }

    // Of an agent that is away nobody knows how its targets are.
    agent.stop().await?;
    let unknown = || async {
        let data = ours.get("targets").await.ok()?;
        let all = data["activeTargets"].as_array()?;
        let is_unknown = |target: &Value| target["health"] == "unknown" && target["lastError"] != "";
        (all.len() == 3 && all.iter().all(is_unknown)).then_some(())
    };
    until("the targets of the agent that is gone", PATIENCE, unknown).await
}

fn sorted(mut data: Value) -> Value {
    if let Some(all) = data.as_array_mut() {
        all.sort_by_key(|series| series["seriesLabels"].to_string());
    }
    data
}
