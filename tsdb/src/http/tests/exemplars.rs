//! Exemplars.

use super::*;

#[tokio::test]
async fn exemplars_of_remote_write_are_kept_and_found() {
    let server = Server::start();
    let mut series = v1_series(&[("__name__", "took_bucket"), ("le", "1")], &[(NOW_MS, 3.0)]);
    let mut exemplar = Vec::new();
    let mut label = Vec::new();
    put::bytes(&mut label, 1, b"trace_id");
    put::bytes(&mut label, 2, b"abc");
    put::bytes(&mut exemplar, 1, &label);
    put::double(&mut exemplar, 2, 0.25);
    put::number(&mut exemplar, 3, NOW_MS as u64);
    put::bytes(&mut series, 3, &exemplar);
    let (status, text, _) = server.write(&[("content-encoding", "snappy")], v1_request(&[series])).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{text}");

    // The same by 2.0, on its own and a second later.
    let mut exemplar = Vec::new();
    put::bytes(&mut exemplar, 1, &[5, 6]);
    put::double(&mut exemplar, 2, 0.5);
    put::number(&mut exemplar, 3, (NOW_MS + 1000) as u64);
    let mut series = Vec::new();
    put::bytes(&mut series, 1, &[1, 2, 3, 4]);
    put::bytes(&mut series, 4, &exemplar);
    let symbols = ["", "__name__", "took_bucket", "le", "1", "trace_id", "def"];
    let (status, text, response) = server.write(&V2, v2_request(&symbols, &[series])).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{text}");
    assert_eq!(response.headers()["x-prometheus-remote-write-exemplars-written"], "1");

    let path = "/api/v1/query_exemplars?query=histogram_quantile(0.9,rate(took_bucket[5m]))&start=1&end=2e9";
    let (_, answer) = server.get(path).await;
    assert_eq!(
        answer["data"],
        json!([{"seriesLabels": {"__name__": "took_bucket", "le": "1"}, "exemplars": [
            {"labels": {"trace_id": "abc"}, "value": "0.25", "timestamp": 1_700_000_000},
            {"labels": {"trace_id": "def"}, "value": "0.5", "timestamp": 1_700_000_001}]}])
    );
    let (_, answer) = server.get("/api/v1/query_exemplars?query=other&start=1&end=2e9").await;
    assert_eq!(answer["data"], json!([]));
    let (status, answer) = server.get("/api/v1/query_exemplars?query=sum(&start=1&end=2").await;
    assert_eq!((status, answer["errorType"].as_str()), (StatusCode::BAD_REQUEST, Some("bad_data")));
    assert!(server.api.metrics_text().contains("binnacle_exemplars 2\n"));
}
