//! The agent and a real Prometheus 3 scrape the same targets with the same file: the same series with the same labels
//! in both, and both end them alike.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use binnacle_tests::client::Client;
use binnacle_tests::differential;
use binnacle_tests::metrics_server::{Program, free_port, program_or_skip, until};
use binnacle_tests::process::{Agent, Server};

/// Nothing beside the defaults.
const NO_ARGS: [&str; 0] = [];

const PATIENCE: Duration = Duration::from_secs(60);

/// Text with what is easily read differently: bounds, quantiles, escapes, labels of the target, names in quotes.
const AWKWARD: &str = r#"# HELP latency_seconds Help with \ and "quotes"
# TYPE latency_seconds histogram
latency_seconds_bucket{le="1",path="C:\\DIR\n\"x\""} 1
latency_seconds_bucket{le="1000000",path="b"} 2
latency_seconds_bucket{le="+Inf",path="b"} 3
latency_seconds_sum{path="b"} 3.5
latency_seconds_count{path="b"} 3
# TYPE rpc summary
rpc{quantile="0"} 1
rpc{quantile="0.99"} 2
rpc{quantile="1"} NaN
# TYPE plain gauge
plain{le="1",job="theirs",instance="their instance",exported_job="older"} 4
{"quoted.name","label.with.dots"="v"} 5
empty_label{a="",b="x"} 6
go_dropped 7
renamed_me{kind="a"} 8
"#;

const OPEN_METRICS: &str = "# TYPE requests counter\n# TYPE disk_bytes gauge\n# UNIT disk_bytes bytes\ndisk_bytes 1\n\
     requests_total{code=\"200\"} 5 # {trace_id=\"abc\"} 0.5 1700000000\nrequests_created{code=\"200\"} 1.7e9\n\
     # TYPE build info\nbuild_info{version=\"1\"} 1\n# TYPE state stateset\nstate{state=\"on\"} 1\n# EOF\n";

/// What the awkward target was asked with, and whether it answers.
#[derive(Default)]
struct Seen {
    requests: Vec<HeaderMap>,
    broken: bool,
}

type Shared = Arc<Mutex<Seen>>;

async fn answer(
    State(seen): State<Shared>,
    Path(which): Path<String>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let mut seen = seen.lock().expect("no thread panicked");
    seen.requests.push(headers);
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match which.as_str() {
        "text" if seen.broken => {
            (StatusCode::OK, [("content-type", text)], format!("{AWKWARD}not a number\n"))
        }
        "text" => (StatusCode::OK, [("content-type", text)], AWKWARD.to_owned()),
        "open" if seen.broken => (StatusCode::SERVICE_UNAVAILABLE, [("content-type", open)], String::new()),
        "open" => (StatusCode::OK, [("content-type", open)], OPEN_METRICS.to_owned()),
        "truncated" => (StatusCode::OK, [("content-type", open)], "a 1\n".to_owned()),
        "html" => (StatusCode::OK, [("content-type", "text/html")], "<html/>".to_owned()),
        _ => (StatusCode::NOT_FOUND, [("content-type", text)], String::new()),
    }
}

async fn awkward_target(seen: Shared) -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/{which}", axum::routing::get(answer)).with_state(seen);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn config(exporter: u16, awkward: SocketAddr, nobody: u16) -> String {
    format!(
        r#"
global: {{ scrape_interval: 1s, evaluation_interval: 15s }}
scrape_configs:
  - job_name: node
    static_configs: [ {{ targets: ['127.0.0.1:{exporter}'], labels: {{ env: test }} }} ]
  - job_name: text
    metrics_path: /text
    static_configs: [ {{ targets: ['{awkward}'] }} ]
    relabel_configs:
      - {{ source_labels: [__address__, job], separator: '@', target_label: where }}
      - {{ source_labels: [__address__], modulus: 7, action: hashmod, target_label: shard }}
      - {{ regex: '__scrape_(.*)__', action: labelmap, replacement: 'scrape_$1' }}
    metric_relabel_configs:
      - {{ source_labels: [__name__], regex: 'go_.*', action: drop }}
      - {{ source_labels: [__name__, kind], regex: 'renamed_(.*);(.*)', target_label: __name__, replacement: '${{1}}_$2' }}
      - {{ source_labels: [where], action: uppercase, target_label: WHERE }}
  - job_name: honest
    honor_labels: true
    metrics_path: /text
    static_configs: [ {{ targets: ['{awkward}'] }} ]
  - job_name: open
    file_sd_configs: [ {{ files: ['open*.yml'] }} ]
    relabel_configs:
      - {{ source_labels: [__meta_filepath], regex: '.*/(open.*)', target_label: file }}
  - job_name: truncated
    metrics_path: /truncated
    static_configs: [ {{ targets: ['{awkward}'] }} ]
  - job_name: html
    metrics_path: /html
    static_configs: [ {{ targets: ['{awkward}'] }} ]
  - job_name: few
    metrics_path: /text
    sample_limit: 3
    static_configs: [ {{ targets: ['{awkward}'] }} ]
  - job_name: gone
    static_configs: [ {{ targets: ['127.0.0.1:{nobody}'] }} ]
  - job_name: dropped
    static_configs: [ {{ targets: ['127.0.0.1:{nobody}'] }} ]
    relabel_configs: [ {{ source_labels: [job], regex: dropped, action: drop }} ]
"#
    )
}

const JOBS: &str = "node|text|theirs|honest|open|truncated|html|few|gone|dropped";

/// All series that there are now, by their labels.
async fn series(client: &Client) -> Option<BTreeSet<String>> {
    let answer = client.query(&format!("{{job=~\"{JOBS}\"}}"), None).await.ok()?;
    Some(answer.into_iter().map(|sample| format!("{:?}", sample.labels)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_and_prometheus_see_the_same_series() -> Result<()> {
    let Some(exporter) = program_or_skip("prometheus-node-exporter", "prometheus-node-exporter") else {
        return Ok(());
    };
    let Some(prometheus) = differential::find() else {
        println!("skipped: no Prometheus 3 (run tests/peers.sh or set PROMETHEUS_BIN)");
        return Ok(());
    };
    let server = Server::start(NO_ARGS).await?;
    let folder = server.folder().to_owned();
    let seen = Shared::default();
    let awkward = awkward_target(seen.clone()).await?;
    let (exporter_port, prometheus_port, nobody) = (free_port()?, free_port()?, free_port()?);
    // Collectors whose series do not come and go.
    let args = ["cpu", "loadavg", "meminfo", "uname", "time"].map(|name| format!("--collector.{name}"));
    let mut args: Vec<String> = args.into();
    args.push("--collector.disable-defaults".to_owned());
    args.push(format!("--web.listen-address=127.0.0.1:{exporter_port}"));
    let _exporter = Program::start(&exporter, &args, &folder)?;

    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config(exporter_port, awkward, nobody))?;
    let targets = format!("- targets: ['{awkward}']\n  labels: {{ __metrics_path__: /open, from: file }}\n");
    std::fs::write(folder.join("open-1.yml"), &targets)?;
    let args = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{prometheus_port}"),
        "--log.level=error".to_owned(),
    ];
    let peer_process = Program::start(&prometheus, &args, &folder)?;
    let agent_dir = folder.join("agent");
    let text = |path: std::path::PathBuf| path.display().to_string();
    let agent = Agent::start(
        &folder,
        [
            "--server".to_owned(),
            server.grpc_url(),
            "--node".to_owned(),
            "here".to_owned(),
            "--state-dir".to_owned(),
            text(agent_dir.join("state")),
            "--pod-log-dir".to_owned(),
            text(agent_dir.join("pods")),
            "--scrape-config".to_owned(),
            text(file.clone()),
        ],
    )?;
    let ours = server.client()?;
    let theirs = Client::new(&format!("http://127.0.0.1:{prometheus_port}"))?;

    let mut last = (BTreeSet::new(), BTreeSet::new());
    let is_same = until("both to have the same series", PATIENCE, || async {
        let both = (series(&ours).await?, series(&theirs).await?);
        (both.0 == both.1 && both.0.len() > 150 && has_all_reports(&ours).await).then_some(both.0.len())
    });
    let count = match is_same.await {
        Ok(count) => count,
        Err(error) => {
            last = (series(&ours).await.unwrap_or_default(), series(&theirs).await.unwrap_or_default());
            let only_ours: Vec<&String> = last.0.difference(&last.1).take(10).collect();
            let only_theirs: Vec<&String> = last.1.difference(&last.0).take(10).collect();
            panic!(
                "{error}: {} and {} series\nonly ours: {only_ours:#?}\nonly theirs: {only_theirs:#?}\n{}\n{}",
                last.0.len(),
                last.1.len(),
                agent.log(),
                peer_process.output()
            );
        }
    };
    println!("{count} series the same");
    drop(last);

    // What does not depend on the moment has the same value.
    for query in [
        "up",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "latency_seconds_bucket",
        "me_a",
        "requests_created",
    ] {
        let query = format!("{query}{{job=~\"{JOBS}\"}}");
        let shown = |samples: Vec<binnacle_tests::client::Sample>| -> BTreeSet<String> {
            samples.iter().map(|sample| format!("{:?} {}", sample.labels, sample.value)).collect()
        };
        until(&query, PATIENCE, || async {
            let both =
                (shown(ours.query(&query, None).await.ok()?), shown(theirs.query(&query, None).await.ok()?));
            (both.0 == both.1 && !both.0.is_empty()).then_some(())
        })
        .await?;
    }

    // Both ask in the same way.
    let requests = seen.lock().expect("no thread panicked").requests.clone();
    let of = |agent: bool| {
        let is_agent = |headers: &&HeaderMap| {
            let name = headers.get("user-agent").and_then(|name| name.to_str().ok()).unwrap_or_default();
            name.starts_with("binnacle-agent/") == agent
        };
        requests.iter().rev().find(is_agent).cloned()
    };
    let (by_agent, by_peer) = (of(true).context("the agent asked")?, of(false).context("Prometheus asked")?);
    for header in ["accept", "accept-encoding", "x-prometheus-scrape-timeout-seconds"] {
        assert_eq!(by_agent.get(header), by_peer.get(header), "{header}");
    }

    // Refused, malformed, gone from the file: `up` says it, and the series end.
    seen.lock().expect("no thread panicked").broken = true;
    std::fs::write(folder.join("open-2.yml"), targets.replace("from: file", "from: another"))?;
    std::fs::remove_file(folder.join("open-1.yml"))?;
    until("broken targets to end in both", PATIENCE, || async {
        let mut good = true;
        for (client, jobs) in [(&ours, "text|honest|open|theirs"), (&theirs, "open")] {
            let sum = client.number("sum(up{job=~\"text|honest|open\"})", None).await.ok()?;
            // Prometheus 3.5 does not end series that stand before the malformed line, against its own intention.
            let left = format!("{{job=~\"{jobs}\",__name__!~\"up|scrape_.*\"}}");
            good &= sum == Some(0.0) && client.query(&left, None).await.ok()?.is_empty();
        }
        good.then_some(())
    })
    .await?;
    let log = agent.log();
    ensure!(log.contains("line 18") && log.contains("/text"), "the log names target and line:\n{log}");
    until("the former target to end in the agent's series", PATIENCE, || async {
        let left = ours.query("up{job=\"open\",from=\"file\"}", None).await.ok()?;
        let new = ours.query("up{job=\"open\",from=\"another\"}", None).await.ok()?;
        (left.is_empty() && new.len() == 1).then_some(())
    })
    .await?;
    Ok(())
}

async fn has_all_reports(client: &Client) -> bool {
    client
        .query(&format!("scrape_series_added{{job=~\"{JOBS}\"}}"), None)
        .await
        .is_ok_and(|all| all.len() == 8)
}
