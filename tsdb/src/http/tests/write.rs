//! Remote write.

use super::*;

#[tokio::test]
async fn written_series_are_found_and_listed() {
    let server = Server::start();
    let body = v1_request(&[
        v1_series(&[("__name__", "up"), ("job", "a")], &[(NOW_MS - 1000, 1.0), (NOW_MS, 0.5)]),
        v1_series(&[("__name__", "down"), ("job", "b")], &[(NOW_MS, STALE_NAN)]),
    ]);
    for _ in 0..2 {
        // The second time every label block is known and every sample is there already.
        let (status, text, _) = server.write(&[("content-encoding", "snappy")], body.clone()).await;
        assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""));
    }
    let (status, answer) = server.get("/api/v1/labels").await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"status": "success", "data": ["__name__", "job"]})));
    let (_, answer) = server.get("/api/v1/label/__name__/values?match[]=up").await;
    assert_eq!(answer["data"], json!(["up"]));
    let (_, answer) = server.post_form("/api/v1/series", "match[]=up&match[]=%7Bjob%3D%22b%22%7D").await;
    assert_eq!(answer["data"], json!([{"__name__": "down", "job": "b"}, {"__name__": "up", "job": "a"}]));
    let (_, answer) = server.get("/api/v1/series?match[]=up&match[]=down&limit=1").await;
    assert_eq!(answer["data"].as_array().unwrap().len(), 1);
    assert_eq!(answer["warnings"], json!(["results truncated due to limit"]));
    let metrics = server.api.metrics_text();
    assert!(metrics.contains("\n# TYPE binnacle_tsdb_samples_appended_total counter\n"), "{metrics}");
    assert!(metrics.contains("binnacle_remote_write_requests_total{result=\"ok\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn version_two_is_read_through_its_symbols() {
    let server = Server::start();
    let mut series = Vec::new();
    put::bytes(&mut series, 1, &[1, 2, 3, 4]);
    put::bytes(&mut series, 2, &sample(NOW_MS, 7.0));
    let mut metadata = Vec::new();
    put::number(&mut metadata, 1, 1);
    put::number(&mut metadata, 3, 5);
    put::bytes(&mut series, 5, &metadata);
    let symbols = ["", "__name__", "http_requests_total", "job", "a", "Requests."];
    let (status, text, response) = server.write(&V2, v2_request(&symbols, &[series])).await;
    assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(response.headers()["x-prometheus-remote-write-samples-written"], "1");
    assert_eq!(response.headers()["x-prometheus-remote-write-histograms-written"], "0");
    let (_, answer) = server.get("/api/v1/series?match[]=http_requests_total").await;
    assert_eq!(answer["data"], json!([{"__name__": "http_requests_total", "job": "a"}]));
    let (_, answer) = server.get("/api/v1/metadata").await;
    assert_eq!(
        answer["data"],
        json!({"http_requests_total": [{"type": "counter", "help": "Requests.", "unit": ""}]})
    );
}

#[tokio::test]
async fn what_is_not_remote_write_gets_a_sentence() {
    let server = Server::start();
    let bomb = {
        // A length of 2 GiB in front of a few bytes.
        let mut bomb = Vec::new();
        put::varint(&mut bomb, 2 << 30);
        bomb.extend_from_slice(b"xxxxxxxx");
        bomb
    };
    let not_protobuf = snap::raw::Encoder::new().compress_vec(b"hello, this is text").unwrap();
    for (body, part) in [
        (b"hello".to_vec(), "not remote write"),
        (Vec::new(), "not remote write"),
        (bomb, "cannot hold"),
        (not_protobuf, "not a prometheus.WriteRequest"),
    ] {
        let (status, text, _) = server.write(&[], body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
        assert!(text.contains(part), "{text}");
    }
    let (status, text, _) = server.write(&[("content-encoding", "gzip")], Vec::new()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{text}");
    let unknown = [("content-type", "application/x-protobuf;proto=io.prometheus.write.v9.Request")];
    let (status, text, _) = server.write(&unknown, Vec::new()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{text}");
    assert!(text.contains("io.prometheus.write.v2.Request"), "{text}");
}

#[tokio::test]
async fn the_good_part_of_a_request_is_stored_and_the_bad_part_named() {
    let server = Server::start();
    let body = v1_request(&[
        v1_series(&[("job", "nameless")], &[(NOW_MS, 1.0)]),
        v1_series(&[("__name__", "twice"), ("a", "1"), ("a", "2")], &[(NOW_MS, 1.0)]),
        v1_series(&[("__name__", "good")], &[(NOW_MS, 1.0)]),
    ]);
    let (status, text, _) = server.write(&[], body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("2 samples") && text.contains("no metric name"), "{text}");
    let (_, answer) = server.get("/api/v1/label/__name__/values").await;
    assert_eq!(answer["data"], json!(["good"]));
}

#[tokio::test]
async fn bodies_are_bounded_before_they_are_decoded() {
    let remote_write =
        ReceiverConfig { max_body_bytes: 1000, max_decoded_bytes: 2000, ..ReceiverConfig::default() };
    let server = Server::with(ApiConfig { remote_write, ..ApiConfig::default() });
    let (status, text, _) = server.write(&[], vec![1; 1001]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("http.remote_write.max_body_bytes"), "{text}");
    let large = snap::raw::Encoder::new().compress_vec(&[0; 4000]).unwrap();
    let (status, text, _) = server.write(&[], large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("http.remote_write.max_decoded_bytes"), "{text}");
    let remote_write = ReceiverConfig { max_in_flight_bytes: 10 << 10, ..ReceiverConfig::default() };
    let server = Server::with(ApiConfig { remote_write, ..ApiConfig::default() });
    let large = snap::raw::Encoder::new().compress_vec(&[0; 4000]).unwrap();
    let mut another = server.api.0.receiver.room();
    another.grow(8 << 10).unwrap();
    let (status, _, response) = server.write(&[], large).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "5");
    // What does not fit though it were alone need not come again.
    drop(another);
    let larger = snap::raw::Encoder::new().compress_vec(&[0; 12 << 10]).unwrap();
    let (status, text, response) = server.write(&[], larger).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("http.remote_write.max_in_flight_bytes"), "{text}");
    assert!(response.headers().get("retry-after").is_none());
}

#[tokio::test]
async fn a_long_symbol_is_not_copied_for_every_reference() {
    let server = Server::start();
    let long = "x".repeat(1 << 20);
    let (mut long_series, mut good) = (Vec::new(), Vec::new());
    // References to the long symbol as name and value, 50,000 times: 100 GB as a label set.
    let references: Vec<u8> = [1, 2].into_iter().chain([3; 100_000]).collect();
    put::bytes(&mut long_series, 1, &references);
    put::bytes(&mut long_series, 2, &sample(NOW_MS, 1.0));
    let mut exemplar = Vec::new();
    put::bytes(&mut exemplar, 1, &[3; 100_000]);
    put::bytes(&mut good, 1, &[1, 2]);
    put::bytes(&mut good, 2, &sample(NOW_MS, 1.0));
    put::bytes(&mut good, 4, &exemplar);
    let symbols = ["", "__name__", "m", &long];
    let (status, text, response) = server.write(&V2, v2_request(&symbols, &[long_series, good])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("1 samples") && text.contains("104857") && text.len() < 2000, "{text}");
    assert_eq!(response.headers()["x-prometheus-remote-write-samples-written"], "1");
    assert_eq!(response.headers()["x-prometheus-remote-write-exemplars-written"], "0");
}

#[tokio::test]
async fn references_are_numbers() {
    let server = Server::start();
    let mut series = Vec::new();
    put::double(&mut series, 1, 1.0);
    put::bytes(&mut series, 2, &sample(NOW_MS, 1.0));
    let (status, text, _) = server.write(&V2, v2_request(&["", "__name__", "m"], &[series])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("field 1 of TimeSeries has the wrong type"), "{text}");
}

#[tokio::test]
async fn reasons_do_not_repeat_all_that_was_sent() {
    let server = Server::start();
    let long = "x".repeat(100_000);
    let body = v1_request(&[v1_series(&[("job", &long)], &[(NOW_MS, 1.0)])]);
    let (status, text, _) = server.write(&[], body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.len() < 2000, "{}", text.len());
}

#[tokio::test]
async fn empty_messages_take_the_memory_that_they_become() {
    let remote_write = ReceiverConfig { max_in_flight_bytes: 1 << 20, ..ReceiverConfig::default() };
    let server = Server::with(ApiConfig { remote_write, ..ApiConfig::default() });
    let name = v1_series(&[("__name__", "m")], &[]);
    let samples = v1_request(&[[name, [0x12, 0].repeat(100_000)].concat()]);
    let (status, text, _) = server.write(&[], samples).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("http.remote_write.max_in_flight_bytes"), "{text}");
    let symbols = v2_request(&vec![""; 100_000], &[]);
    let (status, text, _) = server.write(&V2, symbols).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    let labels = v1_request(&[[[0x0a, 0].repeat(200_000), v1_series(&[], &[(NOW_MS, 1.0)])].concat()]);
    let (status, text, _) = server.write(&[], labels).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("labels of a series take 400000 bytes"), "{text}");
    // What has gone is there again.
    let good = v1_request(&[v1_series(&[("__name__", "m")], &[(NOW_MS, 1.0)])]);
    assert_eq!(server.write(&[], good).await.0, StatusCode::NO_CONTENT);
}
