//! The API as a client sees it.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use binnacle_proto::{Labels, STALE_NAN};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::remote::wire::put;
use crate::{Config, EngineConfig, Sample};

const NOW_MS: i64 = 1_700_000_000_000;

struct Server {
    router: Router,
    api: Api,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::with(ApiConfig::default())
    }

    fn with(config: ApiConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(Config { dir: dir.path().to_owned(), ..Config::default() }).unwrap();
        let engine = Engine::new(EngineConfig::default());
        let api = Api::new(db, engine, config, ServerInfo::default(), Arc::new(|| NOW_MS));
        Self { router: router(api.clone()), api, _dir: dir }
    }

    async fn append(&self, name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) {
        let pairs = labels.iter().copied().chain([("__name__", name)]);
        let series = self.api.0.db.resolve(&Labels::from_pairs(pairs).unwrap()).unwrap();
        let samples = samples.iter().map(|(t_ms, value)| Sample { series, t_ms: *t_ms, value: *value });
        self.api.0.db.append(samples.collect(), NOW_MS).await.unwrap();
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.send(Request::get(path).body(Body::empty()).unwrap()).await;
        (response.status(), body_json(response).await)
    }

    async fn post_form(&self, path: &str, form: &'static str) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let response = self.send(request).await;
        (response.status(), body_json(response).await)
    }

    async fn write(&self, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, String, Response) {
        let mut request = Request::post("/api/v1/write");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Body::from(body)).unwrap()).await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
        (parts.status, text, Response::from_parts(parts, Body::empty()))
    }
}

async fn body_json(response: Response) -> Value {
    let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    serde_json::from_slice(&body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
}

fn v1_series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        put::bytes(&mut label, 1, name.as_bytes());
        put::bytes(&mut label, 2, value.as_bytes());
        put::bytes(&mut series, 1, &label);
    }
    for (t_ms, value) in samples {
        let mut sample = Vec::new();
        put::double(&mut sample, 1, *value);
        put::number(&mut sample, 2, *t_ms as u64);
        put::bytes(&mut series, 2, &sample);
    }
    series
}

fn v1_request(series: &[Vec<u8>]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        put::bytes(&mut request, 1, one);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

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
    let mut request = Vec::new();
    for symbol in ["", "__name__", "http_requests_total", "job", "a", "Requests."] {
        put::bytes(&mut request, 4, symbol.as_bytes());
    }
    let mut series = Vec::new();
    put::bytes(&mut series, 1, &[1, 2, 3, 4]);
    let mut sample = Vec::new();
    put::double(&mut sample, 1, 7.0);
    put::number(&mut sample, 2, NOW_MS as u64);
    put::bytes(&mut series, 2, &sample);
    let mut metadata = Vec::new();
    put::number(&mut metadata, 1, 1);
    put::number(&mut metadata, 3, 5);
    put::bytes(&mut series, 5, &metadata);
    put::bytes(&mut request, 5, &series);
    let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let headers = [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ];
    let (status, text, response) = server.write(&headers, body).await;
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
    let remote_write = ReceiverConfig { max_in_flight_bytes: 1024, ..ReceiverConfig::default() };
    let server = Server::with(ApiConfig { remote_write, ..ApiConfig::default() });
    let large = snap::raw::Encoder::new().compress_vec(&[0; 4000]).unwrap();
    let (status, _, response) = server.write(&[], large).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "5");
}

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

#[tokio::test]
async fn the_server_passes_for_prometheus() {
    let server = Server::start();
    let (_, answer) = server.get("/api/v1/status/buildinfo").await;
    assert!(answer["data"]["version"].as_str().unwrap().starts_with("3."));
    assert!(answer["data"].get("features").is_none());
    for path in ["runtimeinfo", "config", "flags", "tsdb", "walreplay"] {
        let (status, answer) = server.get(&format!("/api/v1/status/{path}")).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(answer["data"].is_object(), "{path}: {answer}");
    }
    let (_, answer) = server.get("/api/v1/query_exemplars?query=up&start=1&end=2").await;
    assert_eq!(answer, json!({"status": "success", "data": []}));
}

#[tokio::test]
async fn federation_escapes_names_for_readers_that_need_it() {
    let server = Server::start();
    server.append("disk.used", &[("mount.point", "/a\"b")], &[(NOW_MS - 1000, 1e-7)]).await;
    let federate = async |accept: &str| {
        let request =
            Request::get("/federate?match[]=%7B__name__%3D~%22.%2B%22%7D").header(header::ACCEPT, accept);
        let response = server.send(request.body(Body::empty()).unwrap()).await;
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (kind, String::from_utf8(text.to_vec()).unwrap())
    };
    let (kind, text) = federate("text/plain").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    let at = NOW_MS - 1000;
    assert_eq!(text, format!("# TYPE disk_used untyped\ndisk_used{{mount_point=\"/a\\\"b\"}} 1e-07 {at}\n"));
    let (_, text) = federate("text/plain;version=1.0.0;escaping=allow-utf-8").await;
    assert!(text.contains("{\"disk.used\",\"mount.point\"=\"/a\\\"b\"} 1e-07"), "{text}");
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
    let mut request = Vec::new();
    for symbol in ["", "__name__", "took_bucket", "le", "1", "trace_id", "def"] {
        put::bytes(&mut request, 4, symbol.as_bytes());
    }
    let mut exemplar = Vec::new();
    put::bytes(&mut exemplar, 1, &[5, 6]);
    put::double(&mut exemplar, 2, 0.5);
    put::number(&mut exemplar, 3, (NOW_MS + 1000) as u64);
    let mut series = Vec::new();
    put::bytes(&mut series, 1, &[1, 2, 3, 4]);
    put::bytes(&mut series, 4, &exemplar);
    put::bytes(&mut request, 5, &series);
    let kind = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let (status, text, response) = server.write(&[("content-type", kind)], body).await;
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

#[tokio::test]
async fn opentelemetry_bodies_are_bounded_and_refused_with_reasons() {
    let config =
        ReceiverConfig { max_body_bytes: 1 << 16, max_decoded_bytes: 1 << 17, ..ReceiverConfig::default() };
    let server = Server::with(ApiConfig { remote_write: config, ..ApiConfig::default() });
    let send = async |kind: &str, coding: &str, body: Vec<u8>| {
        let request = Request::post("/api/v1/otlp/v1/metrics")
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_ENCODING, coding);
        let response = server.send(request.body(Body::from(body)).unwrap()).await;
        let status = response.status();
        (
            status,
            String::from_utf8_lossy(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).into_owned(),
        )
    };
    let bomb = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, &vec![b' '; 1 << 20]).unwrap();
        gzip.finish().unwrap()
    };
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
        ("application/json", "gzip", bomb, StatusCode::PAYLOAD_TOO_LARGE, "max_decoded_bytes"),
    ] {
        let (status, text) = send(kind, coding, body).await;
        assert_eq!(status, want, "{kind} {coding}: {text}");
        assert!(text.contains(part), "{kind} {coding}: {text}");
    }
}

#[tokio::test]
async fn answers_allow_other_origins_and_are_compressed_when_asked() {
    let server = Server::start();
    for i in 0..100 {
        server.append("series", &[("i", &i.to_string())], &[(NOW_MS, 1.0)]).await;
    }
    let request = Request::get("/api/v1/series?match[]=series")
        .header(header::ORIGIN, "http://grafana.example")
        .header(header::ACCEPT_ENCODING, "gzip");
    let response = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text).unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["data"].as_array().unwrap().len(), 100);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_prometheus_servers_read_samples() {
    let server = Server::start();
    server.append("m", &[("job", "a")], &[(NOW_MS - 1000, 1.5), (NOW_MS, 2.5)]).await;
    let request = |kind: u64| {
        let (mut matcher, mut query, mut request) = (Vec::new(), Vec::new(), Vec::new());
        put::bytes(&mut matcher, 2, b"__name__");
        put::bytes(&mut matcher, 3, b"m");
        put::number(&mut query, 1, (NOW_MS - 60_000) as u64);
        put::number(&mut query, 2, NOW_MS as u64);
        put::bytes(&mut query, 3, &matcher);
        put::bytes(&mut request, 1, &query);
        put::number(&mut request, 2, kind);
        let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        Request::post("/api/v1/read").body(Body::from(body)).unwrap()
    };
    let response = server.send(request(0)).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-protobuf");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let (mut result, mut response) = (Vec::new(), Vec::new());
    let series = v1_series(&[("__name__", "m"), ("job", "a")], &[(NOW_MS - 1000, 1.5), (NOW_MS, 2.5)]);
    put::bytes(&mut result, 1, &series);
    put::bytes(&mut response, 1, &result);
    assert_eq!(body, response);
    let response = server.send(request(1)).await;
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(kind.contains("prometheus.ChunkedReadResponse"), "{kind}");
    let frame = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert_eq!(usize::from(frame[0]), frame.len() - 5);
    let federated = server.send(Request::get("/federate?match[]=m").body(Body::empty()).unwrap()).await;
    let text = to_bytes(federated.into_body(), 1 << 20).await.unwrap();
    assert_eq!(text, format!("# TYPE m untyped\nm{{job=\"a\"}} 2.5 {NOW_MS}\n"));
}

#[tokio::test]
async fn the_admin_api_is_closed_unless_opened() {
    let closed = Server::start();
    let (status, answer) = closed.post_form("/api/v1/admin/tsdb/delete_series", "match[]=m").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer["error"].as_str().unwrap().contains("http.enable_admin_api"), "{answer}");
    let open = Server::with(ApiConfig { enable_admin_api: true, ..ApiConfig::default() });
    let (status, answer) = open.post_form("/api/v1/admin/tsdb/delete_series", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}
