//! The HTTP API through its router: pushes in all encodings, queries, errors.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "http/push.rs"]
mod push;

use std::io::Write;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use binnacle_logs::{Config, Db, http};
use serde_json::{Value, json};
use tower::ServiceExt;

const NOW_S: i64 = 1_700_000_000;
const NOW: i64 = NOW_S * 1_000_000_000;

struct Server {
    router: axum::Router,
    _dir: tempfile::TempDir,
}

fn server(derive_service_name: bool) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let config =
        Config { dir: dir.path().join("logs"), reserve_bytes: 0, derive_service_name, ..Config::default() };
    let limits =
        http::Limits { max_push_bytes: 1 << 20, max_decoded_bytes: 4 << 20, ..http::Limits::default() };
    Server {
        router: http::router(
            Db::open(config).unwrap(),
            limits,
            Arc::new(|| NOW),
            tokio::runtime::Handle::current(),
        ),
        _dir: dir,
    }
}

impl Server {
    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn push(&self, body: Value) -> (StatusCode, String) {
        let request = Request::post("/loki/api/v1/push").header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn query(&self, endpoint: &str, query: &str, more: &str) -> Value {
        self.get(&format!("/loki/api/v1/{endpoint}?query={}{more}", encode(query))).await["data"].take()
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

fn sample() -> Value {
    json!({"streams": [{
        "stream": {"app": "web", "env": "dev"},
        "values": [
            [(NOW - 3).to_string(), r#"{"level":"info","status":200,"took":"1.5s"}"#],
            [(NOW - 2).to_string(), r#"{"level":"error","status":500,"took":"10ms"}"#],
            [(NOW - 1).to_string(), "plain text", {"trace_id": "abc"}],
        ],
    }]})
}

#[tokio::test]
async fn grafanas_health_check_answers_two() {
    let server = server(false);
    let data = server.query("query", "vector(1)+vector(1)", &format!("&time={NOW}")).await;
    assert_eq!(data["resultType"], "vector");
    assert_eq!(data["result"], json!([{"metric": {}, "value": [NOW_S, "2"]}]));
}

#[tokio::test]
async fn lines_come_back_in_both_directions_with_limit() {
    let server = server(false);
    assert_eq!(server.push(sample()).await.0, 204);
    let data = server.query("query_range", r#"{app="web"}"#, "&limit=2&direction=forward").await;
    assert_eq!(data["resultType"], "streams");
    let values = data["result"][0]["values"].as_array().unwrap();
    assert_eq!(values.len(), 2);
    assert_eq!(values[0][0], (NOW - 3).to_string());
    let data = server.query("query_range", r#"{app="web"}"#, "&limit=1").await;
    assert_eq!(data["result"][0]["values"][0][1], "plain text");
    assert_eq!(data["result"][0]["stream"], json!({"app": "web", "env": "dev", "trace_id": "abc"}));
    assert!(data["stats"]["summary"]["totalLinesProcessed"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn categorized_labels_are_kept_apart() {
    let server = server(false);
    server.push(sample()).await;
    let path = format!("/loki/api/v1/query_range?query={}", encode(r#"{app="web"} | json"#));
    let request = Request::get(path).header("X-Loki-Response-Encoding-Flags", "categorize-labels");
    let (_, body) = server.send(request.body(Body::empty()).unwrap()).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"]["encodingFlags"], json!(["categorize-labels"]));
    let stream = &body["data"]["result"][0];
    assert_eq!(stream["stream"], json!({"app": "web", "env": "dev"}));
    let metadata = json!({"trace_id": "abc", "detected_level": "unknown"});
    assert_eq!(stream["values"][0][2]["structuredMetadata"], metadata);
    assert_eq!(stream["values"][1][2]["structuredMetadata"], json!({"detected_level": "error"}));
    assert_eq!(stream["values"][1][2]["parsed"]["status"], "500");
}

#[tokio::test]
async fn metric_queries_count_and_unwrap() {
    let server = server(false);
    server.push(sample()).await;
    let counts = server
        .query("query", r#"sum by (level) (count_over_time({app="web"} | json | __error__="" [5m]))"#, "")
        .await;
    assert_eq!(counts["result"].as_array().unwrap().len(), 2);
    assert_eq!(counts["result"][0], json!({"metric": {"level": "error"}, "value": [NOW_S, "1"]}));
    let took = server
        .query(
            "query",
            r#"max(max_over_time({app="web"} | json | __error__="" | unwrap duration(took) [5m]))"#,
            "",
        )
        .await;
    assert_eq!(took["result"][0]["value"][1], "1.5");
    let range = server
        .query(
            "query_range",
            r#"rate({app="web"}[10s])"#,
            &format!("&start={}&end={NOW}&step=10", NOW - 20_000_000_000),
        )
        .await;
    assert_eq!(range["resultType"], "matrix");
    assert_eq!(range["result"][0]["values"], json!([[NOW_S, "0.2"]]), "{range}");
}

#[tokio::test]
async fn snappy_protobuf_and_gzip_json_are_taken_and_bombs_are_not() {
    let server = server(false);
    let body = push::body(r#"{app="proto"}"#, NOW_S, b"bad utf8 \xff here");
    assert_eq!(server.send(push::request(body)).await, (StatusCode::NO_CONTENT, String::new()));
    let data = server.query("query_range", r#"{app="proto"}"#, &format!("&end={}", NOW + 1)).await;
    assert_eq!(data["result"][0]["values"][0][1], "bad utf8 \u{fffd} here");

    // A snappy block that claims a gigabyte.
    let (status, text) = server.send(push::request(vec![0x80, 0x80, 0x80, 0x80, 0x04, 0, 0])).await;
    assert_eq!(status, 413, "{text}");
    assert_eq!(server.send(push::request(b"not snappy at all".to_vec())).await.0, 400);

    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let json_gzip = |body: Vec<u8>| {
        Request::post("/loki/api/v1/push")
            .header("content-type", "application/json")
            .header("content-encoding", "gzip")
            .body(Body::from(body))
            .unwrap()
    };
    assert_eq!(server.send(json_gzip(gzip(sample().to_string().as_bytes()))).await.0, 204);
    let (status, text) = server.send(json_gzip(gzip(&vec![b' '; 5 << 20]))).await;
    assert_eq!(status, 413, "{text}");
    let big = Request::post("/loki/api/v1/push").body(Body::from(vec![0; 2 << 20])).unwrap();
    assert_eq!(server.send(big).await.0, 413);
}

#[tokio::test]
async fn errors_are_plain_text_with_the_place() {
    let server = server(false);
    let get = |query: &str| {
        Request::get(format!("/loki/api/v1/query?query={}", encode(query))).body(Body::empty()).unwrap()
    };
    let (status, text) = server.send(get(r#"rate({app="web"} | nonsense [5m])"#)).await;
    assert_eq!(
        (status, text.as_str()),
        (
            StatusCode::BAD_REQUEST,
            "parse error at line 1, col 20: syntax error: unknown stage or label without a comparison: nonsense\n"
        )
    );
    let (status, text) = server.send(get(r#"{app=~".*"}"#)).await;
    assert!(status == 400 && text.contains("empty-compatible"), "{text}");
    server.push(sample()).await;
    let (status, text) = server.send(get(r#"count_over_time({app="web"} | json [5m])"#)).await;
    assert!(status == 400 && text.contains("JSONParserErr"), "{text}");
    let (status, _) =
        server.push(json!({"streams": [{"stream": {"a": "b"}, "values": [["1", "too old"]]}]})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn labels_values_and_series() {
    let server = server(true);
    server.push(sample()).await;
    assert_eq!(server.get("/loki/api/v1/labels").await["data"], json!(["app", "env", "service_name"]));
    assert_eq!(server.get("/loki/api/v1/label/app/values").await["data"], json!(["web"]));
    let series = server.get(&format!("/loki/api/v1/series?match[]={}", encode(r#"{env="dev"}"#))).await;
    assert_eq!(series["data"], json!([{"app": "web", "env": "dev", "service_name": "web"}]));
    let none = server.get("/loki/api/v1/labels?start=1&end=2").await;
    assert_eq!(none["data"], json!([]));
    let form =
        Request::post("/loki/api/v1/query_range").header("content-type", "application/x-www-form-urlencoded");
    let (status, body) =
        server.send(form.body(Body::from(format!("query={}", encode(r#"{app="web"}"#)))).unwrap()).await;
    assert!(status == 200 && body.contains("plain text"));
    assert!(server.get("/loki/api/v1/status/buildinfo").await["version"].is_string());
}

#[tokio::test]
async fn sizes_labels_fields_and_patterns() {
    let server = server(false);
    server.push(sample()).await;
    let selector = encode(r#"{app="web"}"#);
    let stats = server.get(&format!("/loki/api/v1/index/stats?query={selector}")).await;
    assert_eq!((&stats["streams"], &stats["entries"]), (&json!(1), &json!(3)));
    let volume = server.get(&format!("/loki/api/v1/index/volume?query={selector}")).await;
    assert_eq!(volume["data"]["result"][0]["metric"], json!({"app": "web"}));
    assert_eq!(volume["data"]["result"][0]["value"][1], stats["bytes"].to_string());
    let range = server
        .get(&format!("/loki/api/v1/index/volume_range?query={selector}&step=10m&aggregateBy=labels"))
        .await;
    assert_eq!(range["data"]["resultType"], "matrix");
    assert_eq!(range["data"]["result"].as_array().unwrap().len(), 2);
    let labels = server.get("/loki/api/v1/detected_labels").await;
    assert_eq!(labels["detectedLabels"][0], json!({"label": "app", "cardinality": 1}));
    let fields = server.get(&format!("/loki/api/v1/detected_fields?query={selector}")).await;
    let took = fields["fields"].as_array().unwrap().iter().find(|field| field["label"] == "took").unwrap();
    assert_eq!(took, &json!({"label": "took", "type": "duration", "cardinality": 2, "parsers": ["json"]}));
    let values: Vec<Value> =
        (0..5).map(|i| json!([(NOW - 10 - i).to_string(), format!("request {i} done in {i}ms")])).collect();
    server.push(json!({"streams": [{"stream": {"app": "pat"}, "values": values}]})).await;
    let patterns = server.get(&format!("/loki/api/v1/patterns?query={}", encode(r#"{app="pat"}"#))).await;
    assert_eq!(patterns["data"][0]["pattern"], "request <_> done in <_>");
    assert_eq!(patterns["data"][0]["samples"][0][1], 5);
}

#[tokio::test]
async fn deletes_remove_lines_and_are_listed() {
    let server = server(false);
    server.push(sample()).await;
    let path =
        format!("/loki/api/v1/delete?query={}&start={}", encode(r#"{app="web"} |= "error""#), NOW_S - 10);
    let (status, text) = server.send(Request::post(&path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, 204, "{text}");
    let data = server.query("query_range", r#"{app="web"}"#, "").await;
    let left: usize =
        data["result"].as_array().unwrap().iter().map(|s| s["values"].as_array().unwrap().len()).sum();
    assert_eq!(left, 2);
    let list = server.get("/loki/api/v1/delete").await;
    assert_eq!((&list[0]["status"], &list[0]["deleted_lines"]), (&json!("processed"), &json!(1)));
    // What was deleted may be pushed again.
    assert_eq!(server.push(sample()).await.0, 204);
    let data = server.query("query_range", r#"{app="web"} |= "error""#, "").await;
    assert_eq!(data["result"][0]["values"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn otlp_logs_become_streams_and_metadata() {
    let server = server(true);
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2, bytes.len() as u8];
        out.extend_from_slice(bytes);
        out
    };
    let attribute =
        |name: &str, value: &str| [field(1, name.as_bytes()), field(2, &field(1, value.as_bytes()))].concat();
    let resource =
        [field(1, &attribute("service.name", "shop")), field(1, &attribute("host.name", "h1"))].concat();
    let mut record = vec![1 << 3 | 1];
    record.extend_from_slice(&(NOW as u64 - 5).to_le_bytes());
    record.extend(field(3, b"WARN"));
    record.extend(field(5, &field(1, b"the body")));
    record.extend(field(6, &attribute("user.id", "u7")));
    record.extend(field(9, &[0xab, 0xcd]));
    let logs = [field(1, &resource), field(2, &field(2, &record))].concat();
    let request = Request::post("/otlp/v1/logs").header("content-type", "application/x-protobuf");
    let (status, text) = server.send(request.body(Body::from(field(1, &logs))).unwrap()).await;
    assert_eq!(status, 200, "{text}");
    let data = server.query("query_range", r#"{service_name="shop"} | user_id="u7""#, "").await;
    assert_eq!(data["result"][0]["values"][0][1], "the body");
    let labels = &data["result"][0]["stream"];
    assert_eq!(
        (&labels["host_name"], &labels["severity_text"], &labels["trace_id"]),
        (&json!("h1"), &json!("WARN"), &json!("abcd"))
    );
}

#[tokio::test]
async fn a_tail_shows_the_past_and_then_what_comes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = server(false);
    server.push(sample()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.router.clone();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let path = format!("/loki/api/v1/tail?query={}&limit=1", encode(r#"{app="web"} |= "e""#));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let mut pushed = false;
    while !String::from_utf8_lossy(&seen).contains("a new line") {
        let read = tokio::time::timeout(std::time::Duration::from_secs(20), socket.read(&mut buffer)).await;
        let read = read.expect("the tail answers").unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
        if !pushed && String::from_utf8_lossy(&seen).contains("plain text") {
            let values = json!([[NOW.to_string(), "a new line"], [NOW.to_string(), "no"]]);
            assert_eq!(
                server.push(json!({"streams": [{"stream": {"app": "web"}, "values": values}]})).await.0,
                204
            );
            pushed = true;
        }
    }
    let text = String::from_utf8_lossy(&seen);
    assert!(text.starts_with("HTTP/1.1 101") && pushed && !text.contains(r#""no""#), "{text}");
    serving.abort();
}

/// An OTLP request of two records, one of them long past, as JSON.
fn otlp_json() -> Value {
    let text = |text: &str| json!({"stringValue": text});
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": text("shop")}, {"key": "host.name", "value": text("h1")},
        ]},
        "schemaUrl": "of no interest",
        "scopeLogs": [{
            "scope": {"name": "checkout", "version": "1.2", "attributes": []},
            "logRecords": [
                {
                    "timeUnixNano": (NOW - 5).to_string(), "observedTimeUnixNano": (NOW - 4).to_string(),
                    "severityNumber": 13, "severityText": "WARN", "eventName": "paid",
                    "traceId": "0123456789ABCDEF0123456789abcdef", "spanId": "0123456789abcdef", "flags": 1,
                    "body": {"kvlistValue": {"values": [
                        {"key": "raw", "value": {"bytesValue": "AP8="}},
                        {"key": "items", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"boolValue": true}]}}},
                    ]}},
                    "attributes": [
                        {"key": "user.id", "value": {"intValue": "9007199254740993"}},
                        {"key": "share", "value": {"doubleValue": 0.5}},
                        {"key": "key", "value": {"bytesValue": "aGVsbG8="}},
                    ],
                },
                {"timeUnixNano": "5", "body": {"stringValue": "long past"}},
            ],
        }],
    }]})
}

#[tokio::test]
async fn otlp_logs_as_json_are_answered_in_json() {
    let server = server(true);
    let post = |body: String| {
        let request =
            Request::post("/otlp/v1/logs").header("content-type", "application/json; charset=utf-8");
        request.body(Body::from(body)).unwrap()
    };
    let response = server.router.clone().oneshot(post(otlp_json().to_string())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let partial = &serde_json::from_slice::<Value>(&body).unwrap()["partialSuccess"];
    assert_eq!(partial["rejectedLogRecords"], "1", "a number of 64 bits is a text");
    assert!(partial["errorMessage"].as_str().unwrap().contains("timestamp too old"), "{partial}");
    let data = server.query("query_range", r#"{service_name="shop"}"#, "").await;
    assert_eq!(data["result"].as_array().unwrap().len(), 1, "{data}");
    let values = &data["result"][0]["values"][0];
    assert_eq!(values, &json!([(NOW - 5).to_string(), r#"{"items":[1,true],"raw":"AP8="}"#]));
    let labels = &data["result"][0]["stream"];
    for (name, want) in [
        ("host_name", "h1"),
        ("scope_name", "checkout"),
        ("scope_version", "1.2"),
        ("severity_number", "13"),
        ("severity_text", "WARN"),
        ("event_name", "paid"),
        ("flags", "1"),
        ("trace_id", "0123456789abcdef0123456789abcdef"),
        ("span_id", "0123456789abcdef"),
        ("user_id", "9007199254740993"),
        ("share", "0.5"),
        ("key", "aGVsbG8="),
    ] {
        assert_eq!(labels[name], want, "{name}");
    }
    // All taken: an empty object. Nothing taken: what is wrong.
    let mut one = otlp_json();
    one["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array_mut().unwrap().pop();
    assert_eq!(server.send(post(one.to_string())).await, (StatusCode::OK, "{}".to_owned()));
    let wrong = otlp_json().to_string().replace("0123456789ABCDEF", "not hex");
    let (status, text) = server.send(post(wrong)).await;
    assert!(status == 400 && text.contains("hexadecimal") && text.starts_with(r#"{"code":3,"#), "{text}");
}

#[tokio::test]
async fn otlp_refusals_are_told_in_protobuf_to_those_who_send_protobuf() {
    let server = server(true);
    let post = |kind: &str, body: &[u8]| {
        Request::post("/otlp/v1/logs").header("content-type", kind).body(Body::from(body.to_vec())).unwrap()
    };
    // ResourceLogs{scope_logs: [{log_records: [{time_unix_nano: 5}]}]}
    let record = [&[0x09u8][..], &5u64.to_le_bytes()].concat();
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let old = field(1, &field(2, &field(2, &record)));
    let response = server.router.clone().oneshot(post("application/x-protobuf", &old)).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"application/x-protobuf".parse().unwrap())
    );
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    // partial_success = 1 { rejected_log_records = 1: 1, error_message = 2 }
    assert_eq!((body[0], &body[2..4], body[4]), (0x0a, &[0x08, 1][..], 0x12));
    assert!(String::from_utf8_lossy(&body).contains("timestamp too old"));
    // google.rpc.Status { code = 1: 3, message = 2 }
    let wrong = post("application/x-protobuf", b"\x0a\x05junk!");
    let response = server.router.clone().oneshot(wrong).await.unwrap();
    assert_eq!(response.status(), 400);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(body[..3], [0x08, 3, 0x12]);
    assert!(String::from_utf8_lossy(&body).contains("not an OTLP logs request in protobuf"), "{body:?}");
    assert_eq!(server.send(post("text/plain", b"x")).await.0, 415);
}
