//! A real Prometheus 3 sends by remote write 1.0 and 2.0, exemplars and metadata with it, and reads
//! through remote read.

use std::time::Duration;

use binnacle_proto::Labels;
use binnacle_tests::client::http_client;
use binnacle_tests::metrics_server::{MetricsServer, Program, free_port, now_ms, peer_or_skip, until};
use binnacle_tsdb::Sample;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(40);

/// What is scraped: a counter and a histogram with exemplars.
const EXPOSED: &str = "# HELP orders Orders taken.\n# TYPE orders counter\n\
    orders_total{kind=\"book\"} 17 # {trace_id=\"aaa\"} 1.0\n\
    # HELP took_seconds How long.\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n\
    took_seconds_bucket{le=\"0.1\"} 3 # {trace_id=\"bbb\",span_id=\"c\"} 0.05\n\
    took_seconds_bucket{le=\"+Inf\"} 4\ntook_seconds_sum 2.5\ntook_seconds_count 4\n# EOF\n";

async fn exposition() -> String {
    let routes = axum::Router::new().route(
        "/metrics",
        axum::routing::get(|| async {
            ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], EXPOSED)
        }),
    );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    tokio::spawn(async move {
        let _ = axum::serve(listener, routes).await;
    });
    address
}

/// A Prometheus with this configuration.
fn prometheus(server: &MetricsServer, config: &str) -> Option<(Program, String)> {
    let path = peer_or_skip("prometheus")?;
    let port = free_port().expect("a port is free");
    let file = server.folder().join("prometheus.yml");
    std::fs::write(&file, config).expect("written");
    let args = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", server.folder().join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--enable-feature=exemplar-storage,metadata-wal-records".to_owned(),
    ];
    let program = Program::start(&path, &args, server.folder()).expect("it starts");
    Some((program, format!("http://127.0.0.1:{port}")))
}

async fn sent_by(message: &str) {
    let server = MetricsServer::start().await.expect("it starts");
    let target = exposition().await;
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{site: test}}}}\n\
         scrape_configs:\n- job_name: shop\n  static_configs: [{{targets: ['{target}']}}]\n\
         remote_write:\n- url: {}/api/v1/write\n  protobuf_message: {message}\n  send_exemplars: true\n  \
         queue_config: {{batch_send_deadline: 1s}}\n  metadata_config: {{send_interval: 1s}}\n",
        server.url
    );
    let Some((peer, _)) = prometheus(&server, &config) else { return };
    for (expr, want) in [
        ("orders_total{kind=\"book\",site=\"test\",job=\"shop\"}", 17.0),
        ("took_seconds_bucket{le=\"0.1\"}", 3.0),
        ("histogram_quantile(1, took_seconds_bucket)", 0.1),
    ] {
        let arrived = until(expr, TIMEOUT, || async {
            server.number(expr).await.ok().flatten().filter(|got| *got == want)
        });
        if let Err(error) = arrived.await {
            panic!("{error}\n{}", peer.output());
        }
    }
    let range = [("query", "took_seconds_bucket"), ("start", "0"), ("end", "9999999999")];
    let exemplars = until("an exemplar", TIMEOUT, || async {
        let answer = server.get("/api/v1/query_exemplars", &range).await.ok()?;
        answer["data"][0]["exemplars"][0].as_object().cloned()
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", peer.output()));
    assert_eq!(exemplars["labels"], serde_json::json!({"trace_id": "bbb", "span_id": "c"}));
    assert_eq!(exemplars["value"], "0.05");
    until("metadata", TIMEOUT, || async {
        let answer = server.get("/api/v1/metadata", &[]).await.ok()?;
        let of = |family: &str| answer["data"][family][0]["type"].as_str().map(str::to_owned);
        let counter = of("orders_total").or(of("orders"))?;
        (counter == "counter" && of("took_seconds")? == "histogram").then_some(())
    })
    .await
    .expect("metadata arrives");
    let metrics = server.api.metrics_text();
    assert!(metrics.contains("binnacle_remote_write_requests_total{result=\"failed\"} 0"), "{metrics}");
    assert!(
        metrics.contains("binnacle_remote_write_requests_total{result=\"refused\"} 0"),
        "{}",
        peer.output()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_3_sends_remote_write_1() {
    sent_by("prometheus.WriteRequest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_3_sends_remote_write_2() {
    sent_by("io.prometheus.write.v2.Request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_3_reads_through_remote_read() {
    let server = MetricsServer::start().await.unwrap();
    let now = now_ms() / 1000 * 1000;
    for i in 0..20 {
        let labels = Labels::from_pairs([("__name__", "held"), ("i", &i.to_string())]).unwrap();
        let series = server.db.resolve(&labels).unwrap();
        // More samples than one chunk of the stream holds, and a gap.
        let samples = (0..600).filter(|step| *step % 100 != 7);
        let samples =
            samples.map(|step| Sample { series, t_ms: now - step * 5_000, value: (step * i) as f64 });
        server.db.append(samples.collect(), now).await.unwrap();
    }
    let config = format!("remote_read:\n- url: {}/api/v1/read\n  read_recent: true\n", server.url);
    let Some((peer, url)) = prometheus(&server, &config) else { return };
    let client = http_client(Duration::from_secs(600), None).unwrap();
    let ask = async |base: &str, expr: &str| -> Option<Value> {
        let (start, end) = ((now / 1000 - 3000).to_string(), (now / 1000).to_string());
        let form = [("query", expr), ("start", &start), ("end", &end), ("step", "30")];
        let answer = client.post(format!("{base}/api/v1/query_range")).form(&form).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        let rows = answer["data"]["result"].as_array()?;
        let mut rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
        rows.sort();
        (!rows.is_empty()).then_some(rows.into())
    };
    for expr in ["held", "rate(held[2m])", "sum(held{i=~\"1.*\"})", "count_over_time(held{i!=\"3\"}[10m])"] {
        let theirs = until(expr, TIMEOUT, || ask(&url, expr)).await;
        let theirs = theirs.unwrap_or_else(|error| panic!("{error}\n{}", peer.output()));
        assert_eq!(ask(&server.url, expr).await, Some(theirs), "{expr}");
    }
}
