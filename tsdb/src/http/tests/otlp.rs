//! OpenTelemetry metrics.

use super::*;

/// Status and body of an answer.
async fn send(server: &Server, kind: &str, coding: &str, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let request = Request::post("/api/v1/otlp/v1/metrics")
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_ENCODING, coding);
    let response = server.send(request.body(Body::from(body)).unwrap()).await;
    (response.status(), to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, plain).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn opentelemetry_bodies_are_bounded_and_refused_with_reasons() {
    let config =
        ReceiverConfig { max_body_bytes: 1 << 16, max_decoded_bytes: 1 << 17, ..ReceiverConfig::default() };
    let server = Server::with(ApiConfig { remote_write: config, ..ApiConfig::default() });
    let bomb = gzip(&vec![b' '; 1 << 20]);
    for (kind, coding, body, want, part) in [
        ("application/json", "", b"{}".to_vec(), StatusCode::OK, "{}"),
        ("application/x-protobuf", "", Vec::new(), StatusCode::OK, ""),
        ("text/plain", "", Vec::new(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain"),
        ("application/json", "br", Vec::new(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "br"),
        ("application/json", "gzip", b"{}".to_vec(), StatusCode::BAD_REQUEST, "not gzip"),
        (
            "application/json",
            "",
            b"[1".to_vec(),
            StatusCode::BAD_REQUEST,
            "ExportMetricsServiceRequest in JSON",
        ),
        ("application/x-protobuf", "", vec![10, 9], StatusCode::BAD_REQUEST, "in protobuf"),
        ("application/json", "", vec![b' '; 1 << 17], StatusCode::PAYLOAD_TOO_LARGE, "max_body_bytes"),
        ("application/json", "GZIP", gzip(b"{}"), StatusCode::OK, "{}"),
        ("application/json", "gzip", bomb, StatusCode::PAYLOAD_TOO_LARGE, "max_decoded_bytes"),
    ] {
        let (status, text) = send(&server, kind, coding, body).await;
        let text = String::from_utf8_lossy(&text);
        assert_eq!(status, want, "{kind} {coding}: {text}");
        assert!(text.contains(part), "{kind} {coding}: {text}");
    }
}

#[tokio::test]
async fn what_was_refused_is_told_in_the_encoding_of_the_request() {
    let server = Server::start();
    let json = format!(
        r#"{{"resourceMetrics": [{{"scopeMetrics": [{{"metrics": [
            {{"name": "m", "gauge": {{"dataPoints": [{{"timeUnixNano": "{NOW_MS}000000", "asInt": "1"}}]}}}},
            {{"name": "old", "gauge": {{"dataPoints": [{{"timeUnixNano": "1000000", "asInt": "1"}}]}}}},
            {{"name": "d", "sum": {{"aggregationTemporality": 1, "dataPoints": [{{}}, {{}}]}}}}]}}]}}]}}"#
    );
    let (status, body) = send(&server, "application/json", "", json.into_bytes()).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "3");
    let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(
        message.contains("2 of sums whose temporality") && message.contains("out of bounds"),
        "{message}"
    );

    // A sum since the last report, with one point.
    let field = |number: u32, inner: &[u8]| {
        let mut out = Vec::new();
        put::bytes(&mut out, number, inner);
        out
    };
    let sum = [field(1, &[]), vec![0x10, 1]].concat();
    let metric = [field(1, b"d"), field(7, &sum)].concat();
    let request = field(1, &field(2, &field(2, &metric)));
    let (status, body) = send(&server, "application/x-protobuf", "", request).await;
    assert_eq!(status, StatusCode::OK);
    let mut reader = crate::remote::wire::Reader::new(&body);
    let partial = reader.next().unwrap().unwrap().1.bytes("ExportMetricsServiceResponse", 1).unwrap();
    let mut reader = crate::remote::wire::Reader::new(partial);
    assert_eq!(reader.next().unwrap().unwrap().1.varint("ExportMetricsPartialSuccess", 1), Ok(1));
    let message = reader.next().unwrap().unwrap().1.text("ExportMetricsPartialSuccess", 2).unwrap();
    assert_eq!(message, "data points refused: 1 of sums whose temporality is not cumulative");

    // Samples count for the protocol that brought them.
    let metrics = server.api.metrics_text();
    assert!(metrics.contains("binnacle_otlp_samples_total{result=\"stored\"} 1\n"), "{metrics}");
    assert!(metrics.contains("binnacle_otlp_samples_total{result=\"out_of_bounds\"} 1\n"), "{metrics}");
    assert!(metrics.contains("binnacle_remote_write_samples_total{result=\"stored\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn memory_is_taken_before_a_body_is_unpacked_and_decoded() {
    let remote_write = ReceiverConfig { max_in_flight_bytes: 256 << 10, ..ReceiverConfig::default() };
    let server = Server::with(ApiConfig { remote_write, ..ApiConfig::default() });
    // Small when compressed, larger than the budget when not, and larger still when decoded.
    let spaces = gzip(&vec![b' '; 1 << 20]);
    let points = gzip(&[&b"{\"resourceMetrics\": ["[..], &b"{},".repeat(10_000), &b"{}]}"[..]].concat());
    let mut message = [10, 0].repeat(5_000);
    for field in [5, 2, 2, 1] {
        let mut outer = Vec::new();
        put::bytes(&mut outer, field, &message);
        message = outer;
    }
    for (kind, coding, body) in [
        ("application/json", "gzip", spaces),
        ("application/json", "gzip", points),
        ("application/x-protobuf", "", message),
    ] {
        let (status, text) = send(&server, kind, coding, body).await;
        let text = String::from_utf8_lossy(&text);
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
        assert!(text.contains("http.remote_write.max_in_flight_bytes"), "{text}");
    }
    let mut another = server.api.0.receiver.room();
    another.grow(256 << 10).unwrap();
    let (status, text) = send(&server, "application/json", "", b"{}".to_vec()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{}", String::from_utf8_lossy(&text));
}
