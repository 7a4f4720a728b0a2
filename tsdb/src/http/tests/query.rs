//! Queries, and parameters of all endpoints.

use super::*;

#[tokio::test]
async fn wrong_parameters_are_named() {
    let server = Server::start();
    for (path, part) in [
        ("/api/v1/query_range?query=up&start=x&end=2&step=1", "invalid parameter \"start\""),
        ("/api/v1/query_range?query=up&start=3&end=2&step=1", "invalid parameter \"end\""),
        ("/api/v1/query_range?query=up&start=1&end=2&step=0", "zero or negative"),
        ("/api/v1/query_range?query=up&start=1&end=2", "invalid parameter \"step\""),
        ("/api/v1/query_range?query=up&start=0&end=11001&step=1", "11,000 points"),
        ("/api/v1/query?query=up&time=yesterday", "invalid parameter \"time\""),
        ("/api/v1/query?query=up&timeout=soon", "invalid parameter \"timeout\""),
        ("/api/v1/query?query=up&limit=-1", "invalid parameter \"limit\""),
        ("/api/v1/series", "no match[] parameter provided"),
        ("/api/v1/query?query=sum(up", "1:7: parse error: unclosed left parenthesis"),
        ("/api/v1/query_range?query=up&start=1&end=2&step=-1", "zero or negative"),
        ("/api/v1/query_range?query=up[1m]&start=1&end=2&step=1", "invalid parameter \"query\""),
        ("/api/v1/targets/metadata?match_target=%7B", "invalid parameter \"match_target\""),
        ("/api/v1/status/tsdb?limit=0", "limit must be a positive number"),
        ("/api/v1/labels?match[]=%7B", "invalid parameter \"match[]\""),
        ("/api/v1/format_query?query=sum(", "invalid parameter \"query\""),
        ("/api/v1/rules?type=both", "invalid parameter \"type\""),
    ] {
        let (status, answer) = server.get(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
        assert_eq!(answer["status"], "error");
        assert_eq!(answer["errorType"], "bad_data");
        assert!(answer["error"].as_str().unwrap().contains(part), "{path}: {answer}");
    }
    let (status, answer) = server.get("/api/v1/nonsense").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(answer["errorType"], "not_found");
}

#[tokio::test]
async fn scalars_have_no_exponent_and_vectors_have() {
    let server = Server::start();
    let (_, answer) = server.get("/api/v1/query?query=1e-7&time=5").await;
    assert_eq!(answer["data"]["result"], json!([5, "0.0000001"]));
    let (_, answer) = server.get("/api/v1/query?query=vector(1e-7)&time=5&stats=all").await;
    assert_eq!(answer["data"]["result"][0]["value"], json!([5, "1e-07"]));
    assert!(answer["data"]["stats"]["samples"]["peakSamples"].is_number(), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_answered_as_prometheus_answers_them() {
    let server = Server::start();
    for (job, value) in [("a", 1.5), ("b", 2.0)] {
        server.append("m", &[("job", job)], &[(NOW_MS - 30_000, value), (NOW_MS, value * 2.0)]).await;
    }
    let (status, answer) = server.get("/api/v1/query?query=sum(m)&time=1700000000").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer,
        json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {}, "value": [1_700_000_000, "7"]}
        ]}})
    );
    let (_, answer) = server.get("/api/v1/query?query=%22text%22&time=1700000000.5").await;
    assert_eq!(answer["data"], json!({"resultType": "string", "result": [1_700_000_000.5, "text"]}));
    let (_, answer) = server.post_form("/api/v1/query", "query=m&limit=1&stats=all&time=1700000000").await;
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(answer["warnings"], json!(["results truncated due to limit"]));
    assert!(answer["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64().unwrap() >= 2, "{answer}");
    let path = "/api/v1/query_range?query=m&start=1699999970&end=1700000000&step=30";
    let (_, answer) = server.get(path).await;
    assert_eq!(answer["data"]["resultType"], "matrix");
    assert_eq!(answer["data"]["result"][0]["values"], json!([[1_699_999_970, "1.5"], [1_700_000_000, "3"]]));
    let (status, answer) = server.get("/api/v1/query?query=m+*+on(none)+m").await;
    assert_eq!((status, &answer["errorType"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("execution")));
    let metrics = server.api.metrics_text();
    assert!(metrics.contains("binnacle_query_failures_total 1\n"), "{metrics}");
    // The place of a query is given back when its thread ends, which may be after the answer.
    while !server.api.metrics_text().contains("binnacle_queries_running 0\n") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_come_in_parts_and_whole() {
    let server = Server::start();
    let samples: Vec<(i64, f64)> = (0..2000).map(|i| (NOW_MS - i * 1000, i as f64 + 0.25)).collect();
    for i in 0..20 {
        server.append("big", &[("i", &i.to_string())], &samples).await;
    }
    let path = "/api/v1/query_range?query=big&start=1699998001&end=1700000000&step=1";
    let response = server.send(Request::get(path).body(Body::empty()).unwrap()).await;
    assert!(response.headers().get(header::CONTENT_LENGTH).is_none(), "it is streamed");
    let answer = body_json(response).await;
    let series = answer["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), 20);
    assert!(series.iter().all(|one| one["values"].as_array().unwrap().len() == 2000));
    // A client that reads the beginning and goes away leaves nothing running.
    let response = server.send(Request::get(path).body(Body::empty()).unwrap()).await;
    drop(response);
    for _ in 0..500 {
        if server.api.metrics_text().contains("binnacle_queries_running 0\n") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a query goes on though its client has gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_query_are_named() {
    let config = ApiConfig { query_max_samples: 10, query_concurrency: 1, ..ApiConfig::default() };
    let server = Server::with(config);
    let samples: Vec<(i64, f64)> = (0..100).map(|i| (NOW_MS - i * 1000, 1.0)).collect();
    server.append("m", &[], &samples).await;
    let (status, answer) = server.get("/api/v1/query?query=sum_over_time(m[2m])").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer["error"].as_str().unwrap().contains("http.query_max_samples"), "{answer}");
    let _busy = server.api.0.queries.clone().acquire_owned().await.unwrap();
    let (status, answer) = server.get("/api/v1/query?query=1&timeout=50ms").await;
    assert_eq!((status, &answer["errorType"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("timeout")));
    assert!(answer["error"].as_str().unwrap().contains("http.query_concurrency"), "{answer}");
}

#[tokio::test]
async fn expressions_are_formatted_and_parsed() {
    let server = Server::start();
    let (_, answer) = server.get("/api/v1/format_query?query=sum+by(job)(rate(up[5m]))").await;
    assert_eq!(answer["data"], "sum by (job) (rate(up[5m]))");
    let (_, answer) = server.get("/api/v1/parse_query?query=foo%7Ba!~%22b%22%7D+offset+1m+/+2").await;
    let tree = &answer["data"];
    assert_eq!(tree["type"], "binaryExpr");
    assert_eq!(tree["op"], "/");
    assert_eq!(tree["lhs"]["offset"], 60_000);
    assert_eq!(tree["lhs"]["matchers"][0], json!({"name": "a", "type": "!~", "value": "b"}));
    assert_eq!(tree["rhs"], json!({"type": "numberLiteral", "val": "2"}));
}
