//! Noise and damaged input at decoders, parsers and endpoints: an answer or a refusal, never a panic, never memory without
//! measure. `BINNACLE_FUZZ_SECONDS` is the time for each entrance (1), `BINNACLE_FUZZ_SEED` what is fed;
//! `make fuzz` takes longer and another seed each time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binnacle_tests::client::http_client;
use binnacle_tests::fuzz::{Inputs, run};
use binnacle_tests::metrics_server::{MetricsServer, now_ms};
use binnacle_tests::usage::Memory;

/// More than the largest record that may be unpacked, and what a few decoded copies of it take.
const MEMORY: u64 = 1 << 30;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn time() -> Duration {
    Duration::from_secs(setting("BINNACLE_FUZZ_SECONDS", 1))
}

fn seed() -> u64 {
    setting("BINNACLE_FUZZ_SEED", 7)
}

#[test]
fn decoders_and_parsers() {
    let targets = binnacle_tsdb::fuzz::targets().into_iter().chain(binnacle_logs::fuzz::targets());
    let mut failed = Vec::new();
    for (name, target, seeds) in targets {
        match run(name, Inputs::new(seed(), seeds), target, time()) {
            Ok(number) => println!("{name}: {number} inputs, seed {}", seed()),
            Err(why) => failed.push(why),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let peak = Memory::of(std::process::id()).unwrap().peak;
    assert!(peak < MEMORY, "{peak} bytes of memory were in use");
}

/// A request of one kind, and valid bodies to begin from.
struct Endpoint {
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    snappy: bool,
    seeds: Vec<Vec<u8>>,
}

fn endpoints() -> Vec<Endpoint> {
    const V1: &[(&str, &str)] = &[("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    const V2: &[(&str, &str)] = &[
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("content-encoding", "snappy"),
    ];
    const PROTOBUF: &[(&str, &str)] = &[("content-type", "application/x-protobuf")];
    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
    let form = |text: &str| text.as_bytes().to_vec();
    vec![
        Endpoint { path: "/api/v1/write", headers: V1, snappy: true, seeds: vec![write_request()] },
        Endpoint { path: "/api/v1/write", headers: V2, snappy: true, seeds: vec![write_v2_request()] },
        Endpoint { path: "/api/v1/read", headers: V1, snappy: true, seeds: vec![read_request()] },
        Endpoint {
            path: "/api/v1/otlp/v1/metrics",
            headers: PROTOBUF,
            snappy: false,
            seeds: vec![otlp_metrics()],
        },
        Endpoint {
            path: "/api/v1/otlp/v1/metrics",
            headers: JSON,
            snappy: false,
            seeds: vec![otlp_metrics_json()],
        },
        Endpoint {
            path: "/api/v1/query_exemplars",
            headers: FORM,
            snappy: false,
            seeds: vec![form("query=rate(h_bucket%7Ble%3D%221%22%7D%5B5m%5D)%20%2F%20m&start=0&end=1e10")],
        },
        Endpoint {
            path: "/api/v1/query_range",
            headers: FORM,
            snappy: false,
            seeds: vec![form("query=rate(m%5B5m%5D)&start=0&end=1e3&step=1m&timeout=1s&limit=3")],
        },
        Endpoint {
            path: "/api/v1/series",
            headers: FORM,
            snappy: false,
            seeds: vec![form("match[]=%7Ba%3D~%22x%7Cy%22%7D&start=2020-01-01T00:00:00Z&end=1e10&limit=5")],
        },
        Endpoint {
            path: "/loki/api/v1/push",
            headers: JSON,
            snappy: false,
            seeds: vec![form(&format!(
                r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{}000000","x\u00e9",{{"t":"1"}}]]}}]}}"#,
                now_ms()
            ))],
        },
        Endpoint { path: "/loki/api/v1/push", headers: PROTOBUF, snappy: true, seeds: vec![push_request()] },
        Endpoint { path: "/otlp/v1/logs", headers: PROTOBUF, snappy: false, seeds: vec![otlp_logs()] },
        Endpoint {
            path: "/otlp/v1/logs",
            headers: JSON,
            snappy: false,
            seeds: vec![form(&format!(
                r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"web"}}}}]}},"scopeLogs":[{{"scope":{{"name":"lib"}},"logRecords":[{{"timeUnixNano":"{}000000","severityNumber":9,"traceId":"00ff","body":{{"arrayValue":{{"values":[{{"intValue":"1"}},{{"bytesValue":"AP8="}}]}}}}}}]}}]}}]}}"#,
                now_ms()
            ))],
        },
        Endpoint {
            path: "/loki/api/v1/query_range",
            headers: FORM,
            snappy: false,
            seeds: vec![form(
                "query=%7Ba%3D%22b%22%7D%20%7C%3D%20%22x%22%20%7C%20json&start=0&end=1e10&step=60&limit=9&direction=forward",
            )],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the time decides only when to stop")]
async fn endpoints_answer_whatever_they_are_sent() {
    let metrics = MetricsServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = binnacle_logs::Config { dir: folder.path().join("logs"), ..Default::default() };
    let logs = binnacle_logs::Db::open(config).unwrap();
    let clock = Arc::new(|| now_ms() * 1_000_000);
    let routes = binnacle_logs::http::router(
        logs,
        binnacle_logs::http::Limits::default(),
        clock,
        tokio::runtime::Handle::current(),
    );
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let logs_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let http = http_client(Duration::from_secs(600), None).unwrap();
    for endpoint in endpoints() {
        let url = if endpoint.path.starts_with("/api") { &metrics.url } else { &logs_url };
        let mut inputs = Inputs::new(seed(), endpoint.seeds);
        let (mut taken, mut refused) = (0, 0);
        let begun = Instant::now();
        while begun.elapsed() < time() {
            let plain = inputs.make();
            let body =
                if endpoint.snappy { snap::raw::Encoder::new().compress_vec(&plain).unwrap() } else { plain };
            let mut request = http.post(format!("{url}{}", endpoint.path)).body(body.clone());
            for (name, value) in endpoint.headers {
                request = request.header(*name, *value);
            }
            let answer = request.timeout(Duration::from_secs(30)).send().await;
            let status =
                answer.unwrap_or_else(|why| panic!("{}: {why} on {body:02x?}", endpoint.path)).status();
            // What a query costs may be too much (503); a fault of the server's own (500) never is an answer.
            assert_ne!(status, 500, "{} on {body:02x?}", endpoint.path);
            if status.is_success() { taken += 1 } else { refused += 1 }
        }
        println!("{} {:?}: {taken} taken, {refused} refused", endpoint.path, endpoint.headers);
    }
    let peak = Memory::of(std::process::id()).unwrap().peak;
    assert!(peak < MEMORY, "{peak} bytes of memory were in use");
}

/// A protobuf field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    push_varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

/// A value of now: what is older than the retention would be refused.
fn sample() -> Vec<u8> {
    let mut out = vec![0x09];
    out.extend_from_slice(&1.5f64.to_le_bytes());
    out.push(0x10);
    push_varint(&mut out, now_ms() as u64);
    out
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn write_request() -> Vec<u8> {
    let label =
        |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let series = [label("__name__", "m"), label("a", "x"), field(2, &sample()), field(2, &sample())].concat();
    let metadata = [vec![0x08, 1], field(2, b"m"), field(4, b"help")].concat();
    [field(1, &series), field(1, &series), field(3, &metadata)].concat()
}

fn write_v2_request() -> Vec<u8> {
    let symbols = ["", "__name__", "m", "a", "x", "help"].map(|text| field(4, text.as_bytes())).concat();
    let series = [field(1, &[1, 2, 3, 4]), field(2, &sample()), field(5, &[0x08, 1, 0x18, 5])].concat();
    [symbols, field(5, &series)].concat()
}

fn read_request() -> Vec<u8> {
    let matcher = [vec![0x08, 2], field(2, b"a"), field(3, b"x|y")].concat();
    let query = [vec![0x08, 0, 0x10, 0x90, 0x4e], field(3, &matcher)].concat();
    [field(1, &query), field(2, &[1])].concat()
}

fn push_request() -> Vec<u8> {
    let mut time = vec![0x08];
    push_varint(&mut time, now_ms() as u64 / 1000);
    let entry = [field(1, &time), field(2, b"a line")].concat();
    field(1, &[field(1, br#"{a="b", c="d"}"#), field(2, &entry)].concat())
}

fn otlp_logs() -> Vec<u8> {
    let text = |text: &[u8]| field(1, text);
    let attribute = [field(1, b"service.name"), field(2, &text(b"web"))].concat();
    let record =
        [vec![0x09, 0, 0, 1, 2, 3, 4, 5, 6], field(5, &text(b"a line")), field(6, &attribute)].concat();
    let scope = [field(1, &field(1, b"lib")), field(2, &record)].concat();
    field(1, &[field(1, &field(1, &attribute)), field(2, &scope)].concat())
}

/// A histogram with an exemplar, and two points that lie far apart, which `target_info` has to span.
fn otlp_metrics() -> Vec<u8> {
    let text = |text: &[u8]| field(1, text);
    let attribute = |name: &[u8]| [field(1, name), field(2, &text(b"web"))].concat();
    let resource = [field(1, &attribute(b"service.name")), field(1, &attribute(b"host.name"))].concat();
    let now_ns = now_ms() as u64 * 1_000_000;
    let time = |number: u8, at_ns: u64| [vec![number << 3 | 1], at_ns.to_le_bytes().to_vec()].concat();
    let double = |number: u8, value: f64| [vec![number << 3 | 1], value.to_le_bytes().to_vec()].concat();
    let whole = |number: u8, value: u64| [vec![number << 3 | 1], value.to_le_bytes().to_vec()].concat();
    let exemplar = [time(2, now_ns), double(3, 0.5), field(5, &[7; 16])].concat();
    let counts = [1u64, 2].map(u64::to_le_bytes).concat();
    let point = [
        time(3, now_ns),
        whole(4, 3),
        double(5, 1.5),
        field(6, &counts),
        field(7, &1f64.to_le_bytes()),
        field(8, &exemplar),
        field(9, &attribute(b"a")),
    ];
    let histogram = [field(1, b"h"), field(9, &[field(1, &point.concat()), vec![0x10, 2]].concat())].concat();
    let number =
        |at_ns: u64| field(1, &[time(3, at_ns), double(4, 1.0), field(7, &attribute(b"a"))].concat());
    let gauge = [field(1, b"g"), field(5, &[number(now_ns), number(now_ns - (1 << 49))].concat())].concat();
    let scope = [field(2, &histogram), field(2, &gauge)].concat();
    field(1, &[field(1, &resource), field(2, &scope)].concat())
}

fn otlp_metrics_json() -> Vec<u8> {
    let now = now_ms();
    let attribute = |name: &str| format!(r#"{{"key":"{name}","value":{{"stringValue":"web"}}}}"#);
    let (service, host, a) = (attribute("service.name"), attribute("host.name"), attribute("a"));
    let exemplar = format!(r#"{{"timeUnixNano":"{now}000000","asDouble":0.5,"traceId":"0af7651916cd43dd"}}"#);
    let histogram = format!(
        r#"{{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{{"timeUnixNano":"{now}000000","count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[1],"exemplars":[{exemplar}],"attributes":[{a}]}}]}}}}"#
    );
    let gauge = format!(
        r#"{{"name":"g","gauge":{{"dataPoints":[{{"timeUnixNano":"{now}000000","asInt":"1"}},{{"timeUnixNano":"1000000","asDouble":"NaN"}}]}}}}"#
    );
    let metrics = format!(r#"{{"scopeMetrics":[{{"metrics":[{histogram},{gauge}]}}]"#);
    format!(r#"{{"resourceMetrics":[{metrics},"resource":{{"attributes":[{service},{host}]}}}}]}}"#)
        .into_bytes()
}
