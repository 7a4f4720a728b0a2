//! Input that is wrong or too much, over HTTP: each kind has an outcome and a metric, and nobody else is hurt.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "http/push.rs"]
mod push;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use binnacle_logs::{Config, Db, http};
use serde_json::{Value, json};
use tower::ServiceExt;

const NOW: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

struct Server {
    db: Db,
    router: axum::Router,
    now: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

fn server(config: Config) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let config =
        Config { dir: dir.path().join("logs"), reserve_bytes: 0, derive_service_name: false, ..config };
    let db = Db::open(config).unwrap();
    let now = Arc::new(AtomicI64::new(NOW));
    let clock = now.clone();
    let clock = Arc::new(move || clock.load(Ordering::SeqCst));
    // Pushes come one at a time, whatever is sent at once.
    let limits = http::Limits { max_decoding_bytes: 64 << 10, ..http::Limits::default() };
    let router = http::router(db.clone(), limits, clock, tokio::runtime::Handle::current());
    Server { db, router, now, _dir: dir }
}

impl Server {
    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn push(&self, app: &str, lines: &[(i64, &str)]) -> (StatusCode, String) {
        let values: Vec<Value> = lines.iter().map(|(time, line)| json!([time.to_string(), line])).collect();
        let body = json!({"streams": [{"stream": {"app": app}, "values": values}]}).to_string();
        let request = Request::post("/loki/api/v1/push").header("content-type", "application/json");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn ask(&self, endpoint: &str, query: &str) -> (StatusCode, String) {
        let query: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let span = format!("start={}&end={}", NOW - 3600 * SECOND, NOW + 3600 * SECOND);
        let path = format!("/loki/api/v1/{endpoint}?query={query}&{span}&limit=5000");
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// The lines of a stream, by time.
    async fn lines(&self, app: &str) -> Vec<String> {
        let (status, body) = self.ask("query_range", &format!("{{app={app:?}}}")).await;
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let values = body["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
        values.iter().rev().map(|value| value[1].as_str().unwrap().to_owned()).collect()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.db.metrics_text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

#[tokio::test]
async fn a_line_of_10_mb_is_cut_between_letters_and_the_others_are_whole() {
    let server = server(Config::default());
    let long = "é".repeat(5_000_000);
    let (status, text) = server.push("a", &[(NOW, "before"), (NOW + 1, &long), (NOW + 2, "after")]).await;
    assert_eq!(status, 204, "{text}");
    let lines = server.lines("a").await;
    assert_eq!((lines[0].as_str(), lines[2].as_str()), ("before", "after"));
    assert_eq!(lines[1], "é".repeat(128 << 10), "256 KiB of it");
    assert_eq!(server.metric("binnacle_logs_cut_lines_total"), 1);
    // One that is cut in the middle of a letter ends before it.
    let odd = format!("x{long}");
    assert_eq!(server.push("b", &[(NOW, &odd)]).await.0, 204);
    assert_eq!(server.lines("b").await[0].len(), (256 << 10) - 1);
    assert_eq!(server.metric("binnacle_logs_invalid_utf8_lines_total"), 0);
}

#[tokio::test]
async fn a_line_that_is_not_utf8_is_kept_as_bytes_and_shown_with_replacement() {
    let server = server(Config::default());
    let body = push::body(r#"{app="u"}"#, NOW / SECOND, b"caf\xe9 \xff");
    assert_eq!(server.send(push::request(body)).await.0, 204);
    for sealed in [false, true] {
        if sealed {
            server.db.seal_all().unwrap();
        }
        assert_eq!(server.lines("u").await, ["caf\u{fffd} \u{fffd}"]);
        // The bytes are as they came: 6 of them, and one can be looked for by itself.
        let (_, body) = server.ask("query", r#"sum(bytes_over_time({app="u"}[1h]))"#).await;
        assert!(body.contains(r#","6"]"#), "{body}");
        let (_, body) =
            server.ask("query", r#"sum(count_over_time({app="u"} |~ `(?-u)\xe9 \xff$` [1h]))"#).await;
        assert!(body.contains(r#","1"]"#), "{body}");
    }
    assert_eq!(server.metric("binnacle_logs_invalid_utf8_lines_total"), 1);
    // JSON is UTF-8 or nothing: the push is refused, and says why.
    let bad = b"{\"streams\":[{\"stream\":{\"app\":\"u\"},\"values\":[[\"1700000000000000000\",\"\xff\"]]}]}"
        .to_vec();
    let request = Request::post("/loki/api/v1/push").header("content-type", "application/json");
    let (status, text) = server.send(request.body(Body::from(bad)).unwrap()).await;
    assert!(status == 400 && text.contains("not a push request"), "{status} {text}");
}

#[tokio::test]
async fn a_flood_in_one_stream_is_refused_beyond_its_rate_and_others_are_unhurt() {
    let server =
        server(Config { stream_bytes_per_second: 1000, stream_burst_bytes: 5000, ..Config::default() });
    let line = "x".repeat(100);
    let batch = |from: i64| (from..from + 60).map(|i| (NOW + i, line.as_str())).collect::<Vec<_>>();
    let (status, text) = server.push("flood", &batch(0)).await;
    assert_eq!(status, 429, "{text}");
    assert!(
        text.starts_with("10 entries were refused") && text.contains("logs.stream_bytes_per_second"),
        "{text}"
    );
    assert_eq!(server.metric("binnacle_logs_refused_rate_limit_records_total"), 10);
    assert_eq!(server.lines("flood").await.len(), 50);
    for i in 0..20 {
        assert_eq!(server.push("calm", &[(NOW + i, "a line")]).await.0, 204, "its neighbour is unhurt");
    }
    // Sent again a second later, as clients do: ten lines more fit, and none is twice.
    server.now.fetch_add(SECOND, Ordering::SeqCst);
    assert_eq!(server.push("flood", &batch(50)[..10]).await.0, 204);
    assert_eq!(server.lines("flood").await.len(), 60);
    assert_eq!(server.push("flood", &batch(60)).await.0, 429);
}

#[tokio::test]
async fn labels_without_bound_end_at_the_budget_of_streams_and_known_ones_go_on() {
    let server = server(Config { max_streams: 20, ..Config::default() });
    let mut taken = 0;
    for i in 0..100 {
        let (status, text) = server.push(&format!("request-{i}"), &[(NOW, "x")]).await;
        if status == 204 {
            taken += 1;
        } else {
            assert!(status == 429 && text.contains("logs.max_streams"), "{status} {text}");
        }
    }
    assert_eq!((taken, server.metric("binnacle_logs_streams")), (20, 20));
    assert_eq!(server.metric("binnacle_logs_refused_stream_budget_total"), 80);
    assert_eq!(server.push("request-7", &[(NOW + 1, "y")]).await.0, 204);
    // Labels that are too many or too long are wrong for good.
    let (status, text) = server.push(&"a".repeat(4000), &[(NOW, "x")]).await;
    assert!(status == 400 && text.contains("logs.max_label_value_bytes"), "{status} {text}");
    let many: serde_json::Map<String, Value> = (0..100).map(|i| (format!("l{i}"), json!("v"))).collect();
    let body = json!({"streams": [{"stream": many, "values": [[NOW.to_string(), "x"]]}]}).to_string();
    let request = Request::post("/loki/api/v1/push").header("content-type", "application/json");
    let (status, text) = server.send(request.body(Body::from(body)).unwrap()).await;
    assert!(status == 400 && text.contains("logs.max_labels"), "{status} {text}");
    assert_eq!(server.metric("binnacle_logs_refused_labels_total"), 2);
}

#[tokio::test]
async fn a_regex_bomb_is_refused_with_its_place() {
    let server = server(Config::default());
    server.push("a", &[(NOW, &"a".repeat(100_000))]).await;
    let bombs = [
        (r#"{app=~"((a{100}){100}){100}"}"#, "bad regex"),
        (r#"{app="a"} |~ `((\w{50}){50}){50}`"#, "bad regex"),
        (r#"{app="a"} | regexp `(?P<x>((a{100}){100}){100})`"#, "bad regex"),
        (r#"{app="a"} | json | x=~`((\w{50}){50}){50}`"#, "bad regex"),
    ];
    for (at, (bomb, why)) in bombs.into_iter().enumerate() {
        let (status, text) = server.ask("query_range", bomb).await;
        assert!(
            status == 400 && text.contains("line 1, col") && text.contains(why),
            "{bomb}: {status} {text}"
        );
        assert_eq!(server.metric("binnacle_logs_refused_queries_total"), at as u64 + 1);
    }
    let many = format!(r#"{{app="a"}} |~ "x"{}"#, r#" or "y.*\\w{20}""#.repeat(1000));
    let (status, text) = server.ask("query_range", &many).await;
    assert!(status == 400 && text.contains("more than 64 regexes"), "{status} {text}");
    let counted = r#"sum(count_over_time({app="a"} |~ `((\w{50}){50}){50}` [1h]))"#;
    assert_eq!(server.ask("query", counted).await.0, 400);
    assert_eq!(server.metric("binnacle_logs_refused_queries_total"), 6);
    // What makes other engines go on for ever is linear here.
    let (status, body) = server.ask("query", r#"sum(count_over_time({app="a"} |~ `^(a+)+$` [1h]))"#).await;
    assert!(status == 200 && body.contains(r#","1"]"#), "{body}");
    let (status, body) = server.ask("query", r#"sum(count_over_time({app="a"} |~ `^(a+)+b$` [1h]))"#).await;
    assert!(status == 200 && body.contains(r#""result":[]"#), "{body}");
}

#[tokio::test]
async fn timestamps_a_year_off_are_refused_with_a_reason_and_the_rest_of_the_push_is_stored() {
    let server = server(Config::default());
    let year = 365 * 86_400 * SECOND;
    let (status, text) = server.push("t", &[(NOW - year, "old"), (NOW, "now")]).await;
    assert!(status == 400 && text.contains("timestamp too old") && text.starts_with("1 entries"), "{text}");
    let (status, text) = server.push("t", &[(NOW + year, "new"), (NOW + 1, "now, too")]).await;
    assert!(status == 400 && text.contains("timestamp too new"), "{text}");
    // Seconds instead of nanoseconds, a common mistake, are long past.
    assert_eq!(server.push("t", &[(NOW / SECOND, "seconds")]).await.0, 400);
    assert_eq!(server.lines("t").await, ["now", "now, too"]);
    assert_eq!(server.metric("binnacle_logs_refused_too_old_records_total"), 2);
    assert_eq!(server.metric("binnacle_logs_refused_future_records_total"), 1);
}

#[tokio::test]
async fn a_query_whose_client_has_gone_ends() {
    let server = server(Config { open_bytes: 64 << 20, ..Config::default() });
    let line = format!(r#"{{"a":1,"b":"{}"}}"#, "x".repeat(200));
    for batch in 0..20 {
        let lines: Vec<(i64, &str)> =
            (1..=10_000).map(|i| (NOW - batch * 10_000 - i, line.as_str())).collect();
        assert_eq!(server.push("busy", &lines).await.0, 204);
    }
    let asked = server.ask("query", r#"sum by (b) (count_over_time({app="busy"} | json | b=~".*y.*" [1h]))"#);
    assert!(tokio::time::timeout(Duration::from_millis(5), asked).await.is_err(), "it takes longer");
    let before = server.metric("binnacle_logs_failed_queries_total");
    for _ in 0..500 {
        if server.metric("binnacle_logs_canceled_queries_total") == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.metric("binnacle_logs_canceled_queries_total"), 1);
    assert!(server.metric("binnacle_logs_scanned_bytes_total") < 20 * 10_000 * 200, "not to its end");
    assert_eq!(server.metric("binnacle_logs_failed_queries_total"), before);
    let (status, body) = server.ask("query", r#"sum(count_over_time({app="busy"}[1h]))"#).await;
    assert!(status == 200 && body.contains(r#","200000"]"#), "{body}");
}

#[tokio::test]
async fn many_pushes_at_once_wait_for_room_and_are_all_taken() {
    let server = Arc::new(server(Config::default()));
    let line = "x".repeat(1000);
    let pushes = (0..40).map(|push| {
        let (server, line) = (server.clone(), line.clone());
        tokio::spawn(async move {
            let lines: Vec<(i64, &str)> = (0..50).map(|i| (NOW + push * 50 + i, line.as_str())).collect();
            server.push("many", &lines).await.0
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        assert_eq!(push.await.unwrap(), 204);
    }
    assert_eq!(server.lines("many").await.len(), 2000);
}
