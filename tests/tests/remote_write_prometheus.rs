//! A real Prometheus scrapes a real node_exporter and sends it here; both must say the same.

use std::time::Duration;

use binnacle_tests::metrics_server::{MetricsServer, Program, free_port, program_or_skip, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_sends_its_samples() {
    let Some(prometheus) = program_or_skip("prometheus", "prometheus") else { return };
    let Some(exporter) = program_or_skip("prometheus-node-exporter", "prometheus-node-exporter") else {
        return;
    };
    let server = MetricsServer::start().await.unwrap();
    let (exporter_port, prometheus_port) = (free_port().unwrap(), free_port().unwrap());
    let listen = format!("--web.listen-address=127.0.0.1:{exporter_port}");
    let _exporter = Program::start(&exporter, &[listen], server.folder()).unwrap();
    let config = server.folder().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, external_labels: {{site: test}}}}\n\
         scrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['127.0.0.1:{exporter_port}']}}]\n\
         remote_write:\n- url: {}/api/v1/write\n  queue_config: {{batch_send_deadline: 1s}}\n  \
         metadata_config: {{send_interval: 1s}}\n",
        server.url
    );
    std::fs::write(&config, text).unwrap();
    let data = server.folder().join("prometheus");
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", data.display()),
        format!("--web.listen-address=127.0.0.1:{prometheus_port}"),
    ];
    let peer = Program::start(&prometheus, &args, server.folder()).unwrap();
    let timeout = Duration::from_secs(30);
    let arrived = until("up of the exporter", timeout, || async {
        server.number("up{job=\"node\",site=\"test\"} == 1").await.ok().flatten()
    });
    if let Err(error) = arrived.await {
        panic!("{error}\n{}", peer.output());
    }
    until("node_exporter's families", timeout, || async {
        server.number("count(node_cpu_seconds_total)").await.ok().flatten()
    })
    .await
    .unwrap();
    // Samples take a moment to travel: the same past instant is asked of both until they agree.
    let client = binnacle_tests::client::http_client(Duration::from_secs(600), None).unwrap();
    for expr in [
        "count({job=\"node\"})",
        "sum(node_memory_MemTotal_bytes)",
        "count by (__name__) ({__name__=~\"node_cpu.*\",job=\"node\"})",
    ] {
        let at = (binnacle_tests::metrics_server::now_ms() / 1000).to_string();
        until(expr, timeout, || async {
            let ours = server.get("/api/v1/query", &[("query", expr), ("time", &at)]).await.ok()?;
            let url = format!("http://127.0.0.1:{prometheus_port}/api/v1/query");
            let theirs = client.get(url).query(&[("query", expr), ("time", &at)]).send().await.ok()?;
            let theirs: serde_json::Value = theirs.json().await.ok()?;
            let sorted = |answer: &serde_json::Value| {
                let mut rows: Vec<String> =
                    answer["data"]["result"].as_array()?.iter().map(ToString::to_string).collect();
                rows.sort();
                (!rows.is_empty()).then_some(rows)
            };
            (sorted(&ours)? == sorted(&theirs)?).then_some(())
        })
        .await
        .unwrap();
    }
    until("metadata", timeout, || async {
        let answer = server.get("/api/v1/metadata", &[("metric", "node_cpu_seconds_total")]).await.ok()?;
        (answer["data"]["node_cpu_seconds_total"][0]["type"] == "counter").then_some(())
    })
    .await
    .unwrap();
}
