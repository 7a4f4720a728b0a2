//! The requests that Grafana's Prometheus data source sends, and the shapes it expects.

use binnacle_proto::Labels;
use binnacle_tests::metrics_server::{MetricsServer, now_ms};
use binnacle_tsdb::Sample;
use serde_json::{Value, json};

async fn filled() -> (MetricsServer, String, String) {
    let server = MetricsServer::start().await.expect("it starts");
    let now = now_ms() / 15_000 * 15_000;
    for instance in ["a", "b"] {
        let pairs = [("__name__", "node_load1"), ("instance", instance), ("job", "node")];
        let series =
            server.db.resolve(&Labels::from_pairs(pairs).expect("it is taken")).expect("it is taken");
        let samples =
            (0..60).map(|i| Sample { series, t_ms: now - i * 15_000, value: i as f64 / 2.0 }).collect();
        server.db.append(samples, now).await.expect("it is taken");
    }
    (server, ((now - 600_000) / 1000).to_string(), (now / 1000).to_string())
}

fn is_success(answer: &Value) {
    assert_eq!(answer["status"], "success", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn save_and_test() {
    let (server, start, end) = filled().await;
    // The health check evaluates a constant and asks what the server is.
    let answer = server.post("/api/v1/query", &[("query", "1+1"), ("time", &end)]).await.unwrap();
    let at: i64 = end.parse().unwrap();
    assert_eq!(answer, json!({"status": "success", "data": {"resultType": "scalar", "result": [at, "2"]}}));
    let answer = server.get("/api/v1/status/buildinfo", &[]).await.unwrap();
    is_success(&answer);
    assert!(answer["data"]["version"].as_str().unwrap().starts_with("3."), "{answer}");
    assert!(answer["data"].get("features").is_none(), "Grafana would take it for Mimir");
    let answer =
        server.get("/api/v1/query_exemplars", &[("query", "up"), ("start", &start), ("end", &end)]).await;
    assert_eq!(answer.unwrap(), json!({"status": "success", "data": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn explore_and_panels() {
    let (server, start, end) = filled().await;
    let form =
        [("query", "avg by (job) (node_load1)"), ("start", start.as_str()), ("end", &end), ("step", "15")];
    let answer = server.post("/api/v1/query_range", &form).await.unwrap();
    is_success(&answer);
    assert_eq!(answer["data"]["resultType"], "matrix");
    let series = &answer["data"]["result"][0];
    assert_eq!(series["metric"], json!({"job": "node"}));
    assert_eq!(series["values"].as_array().unwrap().len(), 41);
    assert!(series["values"][0][0].is_number() && series["values"][0][1].is_string(), "{series}");
    let answer = server.post("/api/v1/query", &[("query", "node_load1"), ("time", &end)]).await.unwrap();
    assert_eq!(answer["data"]["resultType"], "vector");
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 2);
    let broken = server
        .post("/api/v1/query_range", &[("query", "sum("), ("start", &start), ("end", &end), ("step", "15")])
        .await;
    let broken = broken.unwrap();
    assert_eq!(broken["errorType"], "bad_data");
    assert!(broken["error"].as_str().unwrap().contains("invalid parameter \"query\""), "{broken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn label_browser_and_variables() {
    let (server, start, end) = filled().await;
    let range = [("start", start.as_str()), ("end", end.as_str())];
    let answer = server.post("/api/v1/labels", &range).await.unwrap();
    assert_eq!(answer["data"], json!(["__name__", "instance", "job"]));
    let answer = server.get("/api/v1/label/__name__/values", &range).await.unwrap();
    assert_eq!(answer["data"], json!(["node_load1"]));
    // label_values(node_load1{job="node"}, instance)
    let with_match = [range[0], range[1], ("match[]", "node_load1{job=\"node\"}"), ("limit", "40000")];
    let answer = server.get("/api/v1/label/instance/values", &with_match).await.unwrap();
    assert_eq!(answer["data"], json!(["a", "b"]));
    let answer = server.post("/api/v1/series", &with_match).await.unwrap();
    assert_eq!(answer["data"][0], json!({"__name__": "node_load1", "instance": "a", "job": "node"}));
    let answer = server.get("/api/v1/metadata", &[("limit", "5000")]).await.unwrap();
    assert!(answer["data"].is_object(), "{answer}");
    // query_result(topk(1, node_load1))
    let answer =
        server.post("/api/v1/query", &[("query", "topk(1, node_load1)"), ("time", &start)]).await.unwrap();
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerting_page() {
    let (server, _, _) = filled().await;
    let answer = server.get("/api/v1/rules", &[]).await.unwrap();
    assert_eq!(answer, json!({"status": "success", "data": {"groups": []}}));
    let rules = server.folder().join("r.yml");
    let text = "groups: [{name: g, interval: 1s, rules: [{record: load, expr: sum(node_load1)}, \
                {alert: Busy, expr: node_load1 >= 0, for: 1h, labels: {severity: low}}]}]";
    std::fs::write(&rules, text).unwrap();
    let files = vec![rules.display().to_string()];
    let _rules = server.run_rules(binnacle_tsdb::rules::RulesConfig { files, ..Default::default() }).unwrap();
    let answer = binnacle_tests::metrics_server::until(
        "an evaluation",
        std::time::Duration::from_secs(10),
        || async {
            let answer = server.get("/api/v1/rules", &[]).await.ok()?;
            let rules = &answer["data"]["groups"][0]["rules"];
            (rules[1]["state"] == "pending" && rules[0]["health"] == "ok").then_some(answer)
        },
    );
    let answer = answer.await.unwrap();
    let group = &answer["data"]["groups"][0];
    assert_eq!((&group["name"], &group["interval"]), (&json!("g"), &json!(1.0)));
    assert_eq!(group["rules"][0]["type"], "recording");
    let alert = &group["rules"][1]["alerts"][0];
    assert_eq!(alert["labels"]["severity"], "low");
    assert!(alert["activeAt"].as_str().unwrap().ends_with('Z'), "{alert}");
    let answer = server.get("/api/v1/rules", &[("type", "alert"), ("exclude_alerts", "true")]).await.unwrap();
    assert_eq!(answer["data"]["groups"][0]["rules"].as_array().unwrap().len(), 1);
    assert_eq!(answer["data"]["groups"][0]["rules"][0]["alerts"], json!([]));
    let answer = server.get("/api/v1/alerts", &[]).await.unwrap();
    assert_eq!(answer["data"]["alerts"].as_array().unwrap().len(), 2);
}
