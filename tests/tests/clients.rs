//! Client libraries of others, from the Python package index, speak to our server.

use std::path::PathBuf;
use std::process::Command;

use binnacle_proto::Labels;
use binnacle_tests::metrics_server::{MetricsServer, now_ms};
use binnacle_tsdb::Sample;

/// The interpreter that `tests/clients.sh` has set up, or `None` after saying visibly what is skipped.
fn python_or_skip() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folder = std::env::var_os("BINNACLE_CLIENTS");
    let folder = folder.map_or(home.join(".cache/binnacle-clients"), PathBuf::from);
    let python = folder.join("bin/python");
    if folder.join("installed").is_file() && python.exists() {
        return Some(python);
    }
    let notice = b"skipped: needs the Python clients that tests/clients.sh installs\n";
    let _ = std::io::Write::write_all(&mut std::io::stderr(), notice);
    None
}

async fn run(python: PathBuf, script: &str, url: &str) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let url = url.to_owned();
    let output = tokio::task::spawn_blocking(move || Command::new(python).arg(script).arg(url).output());
    let output = output.await.expect("no panic").expect("python starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.trim().ends_with("ok"), "{text}\n{errors}");
    errors
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_api_client_reads_our_answers() {
    let Some(python) = python_or_skip() else { return };
    let server = MetricsServer::start().await.unwrap();
    let now = now_ms();
    for (job, value) in [("a", 1.5), ("b", 2.0)] {
        let labels = Labels::from_pairs([("__name__", "fed"), ("job", job)]).unwrap();
        let series = server.db.resolve(&labels).unwrap();
        let samples = (0..10).map(|i| Sample { series, t_ms: now - i * 10_000, value }).collect();
        server.db.append(samples, now).await.unwrap();
    }
    run(python, "ask.py", &server.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetrys_exporter_sends_its_metrics() {
    let Some(python) = python_or_skip() else { return };
    let server = MetricsServer::start().await.unwrap();
    let errors = run(python, "send_metrics.py", &server.url).await;
    for (expr, want) in [
        ("items_sold_total{job=\"eu/shop\", instance=\"i-1\", kind=\"book\"}", 7.0),
        ("sum(items_sold_total)", 8.0),
        ("carts_open", 2.0),
        ("request_duration_seconds_count{route=\"/buy\"}", 5.0),
        ("request_duration_seconds_sum", 56.05),
        ("request_duration_seconds_bucket{le=\"1\"}", 3.0),
        ("request_duration_seconds_bucket{le=\"+Inf\"}", 5.0),
        ("pool_usage_ratio", 0.25),
        ("count(target_info{job=\"eu/shop\", deployment_environment=\"test\"})", 1.0),
        ("count({__name__=~\"exponential.*\"}) or vector(0)", 0.0),
    ] {
        let got = server.number(expr).await.unwrap();
        assert!(got.is_some_and(|got| (got - want).abs() < 1e-9), "{expr}: {got:?}, not {want}\n{errors}");
    }
    let metadata = server.get("/api/v1/metadata", &[("metric", "items_sold_total")]).await.unwrap();
    assert_eq!(metadata["data"]["items_sold_total"][0]["type"], "counter");
    assert_eq!(metadata["data"]["items_sold_total"][0]["help"], "Items sold.");
    let metrics = server.api.metrics_text();
    let refused = metrics.lines().find(|line| line.starts_with("binnacle_otlp_data_points_refused_total"));
    assert_ne!(
        refused,
        Some("binnacle_otlp_data_points_refused_total 0"),
        "the exponential histogram is counted"
    );
}
