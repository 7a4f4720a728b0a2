//! OpenTelemetry metrics come out as in a real Prometheus 3: the same names, labels and values.

use std::io::Write as _;

use binnacle_tests::metrics_server::{MetricsServer, Program, free_port, now_ms, peer_or_skip, until};
use serde_json::{Value, json};

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Names, units and attributes that are hard to translate.
fn request(now: i64) -> Value {
    let at = |back_s: i64| ((now - back_s * 1000) * 1_000_000).to_string();
    let gauge = |name: &str, unit: &str| {
        json!({"name": name, "unit": unit, "description": format!("{name} in {unit}"),
               "gauge": {"dataPoints": [{"timeUnixNano": at(10), "asDouble": 1.25}]}})
    };
    let sum = |name: &str, unit: &str, monotonic: bool| {
        json!({"name": name, "unit": unit, "sum": {"aggregationTemporality": 2, "isMonotonic": monotonic,
               "dataPoints": [{"timeUnixNano": at(10), "asInt": "7", "attributes": [text("http.method", "GET")]}]}})
    };
    let mut metrics = Vec::new();
    for unit in [
        "", "1", "s", "ms", "By", "KiBy", "MBy", "Cel", "%", "{thing}", "m/s", "By/s", "{x}/min", "1/s",
        "req/{op}", "foo", "foo/bar", "$", "kg", "d", "mo", "W", "/s", "s/", " s ", "By/mo", "°C", "a__b",
        "Hz/1",
    ] {
        metrics.push(gauge(&format!("g {}", metrics.len()), unit));
        metrics.push(sum(&format!("c.{}", metrics.len()), unit, true));
        metrics.push(sum(&format!("u-{}", metrics.len()), unit, false));
    }
    for name in [
        "2fast",
        "a..b",
        "_private",
        "__x",
        "with:colon",
        "total.count",
        "x_total",
        "x_seconds_total_y",
        "bytes.ratio",
        "été",
        "trailing_",
        "ends.per.second",
    ] {
        metrics.push(gauge(name, "By/s"));
        metrics.push(sum(&format!("{name}.c"), "s", true));
    }
    let odd = json!([
        text("1st", "digit"), text("_under", "u"), text("__two", "t"), text("a.b", "1"), text("a_b", "2"),
        text("a-b", "0"), text("empty", ""), text("ünï", "x"), text("job", "own"), text("le", "own"),
        {"key": "int", "value": {"intValue": "42"}}, {"key": "bool", "value": {"boolValue": false}},
        {"key": "double", "value": {"doubleValue": 2.5}}, {"key": "whole", "value": {"doubleValue": 3}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "b"}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [text("z", "1"), text("a", "2")]}}}
    ]);
    metrics.push(json!({"name": "odd", "gauge": {"dataPoints": [
        {"timeUnixNano": at(10), "asInt": 1, "attributes": odd}]}}));
    metrics.push(json!({"name": "gone", "gauge": {"dataPoints": [
        {"timeUnixNano": at(20), "asInt": 1}, {"timeUnixNano": at(10), "flags": 1}]}}));
    metrics.push(json!({"name": "delta", "sum": {"aggregationTemporality": 1, "isMonotonic": true,
        "dataPoints": [{"timeUnixNano": at(10), "asInt": 1}]}}));
    metrics.push(json!({"name": "latency", "unit": "ms", "histogram": {"aggregationTemporality": 2, "dataPoints": [
        {"timeUnixNano": at(10), "count": 10, "sum": 12.5, "bucketCounts": [1, 2, 3, 4],
         "explicitBounds": [0.005, 1, 1e6], "attributes": [text("route", "/")],
         "exemplars": [{"timeUnixNano": at(11), "asDouble": 0.7, "traceId": "0af7651916cd43dd8448eb211c80319c",
                        "spanId": "b7ad6b7169203331", "filteredAttributes": [text("user.id", "u")]}]},
        {"timeUnixNano": at(10), "count": 3, "bucketCounts": [3], "attributes": [text("route", "none")]}]}}));
    metrics.push(json!({"name": "sum.mary", "unit": "s", "summary": {"dataPoints": [
        {"timeUnixNano": at(10), "count": 4, "sum": 2, "quantileValues": [
            {"quantile": 0.5, "value": 0.25}, {"quantile": 0.99, "value": 1}, {"quantile": 1, "value": 2}]}]}}));
    let resource = |attributes: Value| json!({"attributes": attributes});
    json!({"resourceMetrics": [
        {"resource": resource(json!([text("service.name", "shop"), text("service.namespace", "eu"),
            text("service.instance.id", "i1"), text("host.name", "h"), text("k8s.pod.name", "p")])),
         "scopeMetrics": [{"scope": {"name": "lib", "version": "1"}, "metrics": metrics}]},
        {"resource": resource(json!([text("service.name", "bare")])),
         "scopeMetrics": [{"metrics": [gauge("bare", "s")]}]},
        {"resource": resource(json!([text("host.name", "unidentified")])),
         "scopeMetrics": [{"metrics": [gauge("nobody", "s")]}]},
        {"scopeMetrics": [{"metrics": [gauge("without.resource", "s")]}]}
    ]})
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_metrics_come_out_as_in_prometheus() {
    let Some(prometheus) = peer_or_skip("prometheus") else { return };
    let server = MetricsServer::start().await.unwrap();
    let port = free_port().unwrap();
    let config = server.folder().join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", server.folder().join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-otlp-receiver".to_owned(),
        "--enable-feature=exemplar-storage,metadata-wal-records".to_owned(),
    ];
    let peer = Program::start(&prometheus, &args, server.folder()).unwrap();
    let peer_url = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::new();
    until("Prometheus", std::time::Duration::from_secs(30), || async {
        client.get(format!("{peer_url}/-/ready")).send().await.ok()?.status().is_success().then_some(())
    })
    .await
    .unwrap();

    let now = now_ms() / 1000 * 1000;
    let body = request(now).to_string();
    let mut answers = Vec::new();
    for url in [&peer_url, &server.url] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(body.as_bytes()).unwrap();
        let answer = client
            .post(format!("{url}/api/v1/otlp/v1/metrics"))
            .header("Content-Type", "application/json")
            .header("Content-Encoding", "gzip")
            .body(gzip.finish().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{url}: {}\n{}", answer.text().await.unwrap(), peer.output());
        answers.push(answer.text().await.unwrap());
    }
    let partial: Value = serde_json::from_str(&answers[1]).unwrap();
    assert_eq!(partial["partialSuccess"]["rejectedDataPoints"], "1", "{partial}");
    assert!(partial["partialSuccess"]["errorMessage"].as_str().unwrap().contains("not cumulative"));

    let ask = async |url: &str, path: &str, parameters: &[(&str, String)]| -> Value {
        let answer = client.get(format!("{url}/api/v1/{path}")).query(parameters).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let at = (now / 1000).to_string();
    let everything = [("query", "{__name__=~\".+\"}".to_owned()), ("time", at)];
    let rows = |answer: &Value| -> Vec<String> {
        let rows = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let mut rows: Vec<String> =
            rows.iter().map(|row| format!("{} {}", row["metric"], row["value"][1])).collect();
        rows.sort();
        rows
    };
    let theirs = rows(&ask(&peer_url, "query", &everything).await);
    let ours = rows(&ask(&server.url, "query", &everything).await);
    assert!(theirs.len() > 100, "{} series\n{}", theirs.len(), peer.output());
    let missing: Vec<&String> = theirs.iter().filter(|row| !ours.contains(row)).collect();
    let more: Vec<&String> = ours.iter().filter(|row| !theirs.contains(row)).collect();
    assert!(missing.is_empty() && more.is_empty(), "only Prometheus:\n{missing:#?}\nonly we:\n{more:#?}");

    let range = [
        ("query", "latency_milliseconds_bucket".to_owned()),
        ("start", ((now - 60_000) / 1000).to_string()),
        ("end", (now / 1000).to_string()),
    ];
    let (theirs, ours) =
        (ask(&peer_url, "query_exemplars", &range).await, ask(&server.url, "query_exemplars", &range).await);
    assert_eq!(theirs["data"].as_array().unwrap().len(), 1, "{theirs}");
    assert_eq!(ours, theirs);
}
