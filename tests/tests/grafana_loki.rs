//! The requests that Grafana's Loki data source sends, and the shapes it expects.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::client::http_client;
use binnacle_tests::process::Server;
use serde_json::{Value, json};

const SECOND: i128 = 1_000_000_000;

/// A server with two streams, and the range of a panel around them.
struct Filled {
    server: Server,
    http: reqwest::Client,
    start: String,
    end: String,
    now: i128,
}

#[expect(clippy::disallowed_methods, reason = "the server goes by the machine's clock")]
fn now_ns() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}

async fn filled() -> Result<Filled> {
    let no_args: [&str; 0] = [];
    let server = Server::start(no_args).await?;
    let http = http_client(Duration::from_secs(20), None)?;
    let now = now_ns();
    let line = |ago: i128, text: &str| json!([(now - ago * SECOND).to_string(), text]);
    let with = |ago: i128, text: &str, trace: &str| json!([(now - ago * SECOND).to_string(), text, {"trace_id": trace}]);
    let body = json!({"streams": [
        {"stream": {"namespace": "shop", "app": "cart", "pod": "cart-1"}, "values": [
            with(50, r#"{"level":"error","took":"1.5s","path":"/a"}"#, "t1"),
            line(40, r#"{"level":"info","took":"20ms","path":"/b"}"#),
            line(30, "level=warn took=3ms"),
        ]},
        {"stream": {"namespace": "shop", "app": "till", "pod": "till-1"}, "values": [line(20, "plain text")]},
    ]});
    let pushed = http.post(format!("{}/loki/api/v1/push", server.http_url())).json(&body).send().await?;
    ensure!(pushed.status() == 204, "{}", pushed.text().await?);
    let (start, end) = ((now - 3600 * SECOND).to_string(), now.to_string());
    Ok(Filled { server, http, start, end, now })
}

impl Filled {
    /// As the data source asks: with its header, times in nanoseconds.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let range = [("start", self.start.as_str()), ("end", self.end.as_str())];
        let request = self.http.get(format!("{}/loki/api/v1/{path}", self.server.http_url()));
        let request = request.header("X-Loki-Response-Encoding-Flags", "categorize-labels");
        let answer = request.query(&range).query(parameters).send().await?;
        let (status, kind) = (answer.status(), answer.headers().get("content-type").cloned());
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} {parameters:?}: {status}: {text}");
        let is_json = kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        ensure!(is_json.starts_with("application/json"), "{path}: {is_json}");
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn save_and_test() -> Result<()> {
    let grafana = filled().await?;
    // The health check: an instant query without a store behind it.
    let at = grafana.end.clone();
    let answer =
        grafana.ask("query", &[("query", "vector(1)+vector(1)"), ("time", "4000000000"), ("step", "")]);
    let answer = answer.await?;
    ensure!(answer["status"] == "success" && answer["data"]["resultType"] == "vector", "{answer}");
    ensure!(
        answer["data"]["result"] == json!([{"metric": {}, "value": [4_000_000_000u64, "2"]}]),
        "{answer}"
    );
    ensure!(answer["data"]["stats"]["summary"]["execTime"].is_number(), "{answer}");
    let answer = grafana.ask("status/buildinfo", &[]).await?;
    ensure!(answer["version"].is_string(), "{answer}");
    let ready = grafana.http.get(format!("{}/ready", grafana.server.http_url())).send().await?;
    ensure!(ready.status() == 200, "at {at}: {}", ready.status());
    // An error is shown as it is: plain text, status 400, with its place.
    let url = format!("{}/loki/api/v1/query_range", grafana.server.http_url());
    let wrong = grafana.http.get(url).query(&[("query", "{app=\"cart\"} |= ")]).send().await?;
    let (status, text) = (wrong.status(), wrong.text().await?);
    ensure!(status == 400 && text.starts_with("parse error at line 1, col 17"), "{status} {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn explore_shows_lines_with_labels_apart() -> Result<()> {
    let grafana = filled().await?;
    let asked = [
        ("query", r#"{namespace="shop"} |= `` | json | logfmt | drop __error__, __error_details__"#),
        ("limit", "1000"),
        ("direction", "backward"),
        ("step", "2000ms"),
    ];
    let answer = grafana.ask("query_range", &asked).await?;
    let data = &answer["data"];
    ensure!(
        data["resultType"] == "streams" && data["encodingFlags"] == json!(["categorize-labels"]),
        "{answer}"
    );
    let cart =
        data["result"].as_array().into_iter().flatten().find(|stream| stream["stream"]["app"] == "cart");
    let cart = cart.context("no stream of the cart")?;
    let stream = json!({"namespace": "shop", "app": "cart", "pod": "cart-1", "service_name": "cart"});
    ensure!(cart["stream"] == stream, "{cart}");
    let values = cart["values"].as_array().context("no values")?;
    ensure!(
        values.len() == 3 && values.iter().all(|value| value[0].is_string() && value[1].is_string()),
        "{cart}"
    );
    let oldest = &values[2];
    ensure!(oldest[0] == (grafana.now - 50 * SECOND).to_string(), "backward, in nanoseconds: {oldest}");
    let metadata = json!({"trace_id": "t1", "detected_level": "error"});
    ensure!(oldest[2]["structuredMetadata"] == metadata, "the level colours the line: {oldest}");
    ensure!(oldest[2]["parsed"]["took"] == "1.5s", "{oldest}");
    // Asked live: a tail's request upgrades, its parameters are those of query_range.
    let answer = grafana.ask("index/stats", &[("query", r#"{namespace="shop"}"#)]).await?;
    for field in ["streams", "chunks", "bytes", "entries"] {
        ensure!(answer[field].as_u64().is_some_and(|count| count > 0), "{field}: {answer}");
    }
    // The context of a line: forward and backward from its time.
    let time = (grafana.now - 40 * SECOND).to_string();
    for (direction, bound, first) in [("FORWARD", "start", 40), ("BACKWARD", "end", 50)] {
        let asked =
            [("query", r#"{app="cart"}"#), ("limit", "10"), ("direction", direction), (bound, time.as_str())];
        let url = format!("{}/loki/api/v1/query_range", grafana.server.http_url());
        let answer = grafana.http.get(url).query(&asked).send().await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let want = (grafana.now - first * SECOND).to_string();
        ensure!(answer["data"]["result"][0]["values"][0][0] == want, "{direction}: {answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn log_volume_and_metric_panels() -> Result<()> {
    let grafana = filled().await?;
    // The histogram over the lines.
    let volume =
        r#"sum by (level, detected_level) (count_over_time({namespace="shop"} | drop __error__ [1h]))"#;
    let asked = [("query", volume), ("step", "3600000ms"), ("queryType", "range")];
    let answer = grafana.ask("query_range", &asked).await?;
    ensure!(answer["data"]["resultType"] == "matrix", "{answer}");
    let mut levels: Vec<(String, String)> = Vec::new();
    for series in answer["data"]["result"].as_array().context("no result")? {
        let last = series["values"].as_array().and_then(|values| values.last()).context("no values")?;
        ensure!(last[0].is_number(), "seconds: {last}");
        let level = series["metric"]["detected_level"].as_str().unwrap_or_default();
        levels.push((level.to_owned(), last[1].as_str().context("a value is a text")?.to_owned()));
    }
    levels.sort();
    let want = [("error", "1"), ("info", "1"), ("unknown", "1"), ("warn", "1")];
    ensure!(levels == want.map(|(a, b)| (a.to_owned(), b.to_owned())), "{levels:?}");
    // A panel with an instant query, and one with a range.
    let sum = r#"sum by (app) (count_over_time({namespace="shop"} [1h]))"#;
    let answer = grafana.ask("query", &[("query", sum), ("time", &grafana.end)]).await?;
    ensure!(answer["data"]["resultType"] == "vector", "{answer}");
    ensure!(answer["data"]["result"][0]["metric"] == json!({"app": "cart"}), "{answer}");
    ensure!(answer["data"]["result"][0]["value"][1] == "3", "{answer}");
    let rate = r#"sum(rate({namespace="shop"} | json | __error__="" | took > 1s [5m]))"#;
    let answer = grafana.ask("query_range", &[("query", rate), ("step", "60")]).await?;
    ensure!(answer["data"]["result"][0]["values"][0][1].is_string(), "{answer}");
    let bytes = grafana.ask("index/volume", &[("query", r#"{namespace="shop"}"#), ("limit", "5000")]).await?;
    ensure!(bytes["data"]["resultType"] == "vector", "{bytes}");
    ensure!(bytes["data"]["result"][0]["metric"] == json!({"namespace": "shop"}), "{bytes}");
    let by = [
        ("query", r#"{namespace="shop"}"#),
        ("step", "60s"),
        ("targetLabels", "app"),
        ("aggregateBy", "series"),
    ];
    let bytes = grafana.ask("index/volume_range", &by).await?;
    ensure!(
        bytes["data"]["resultType"] == "matrix"
            && bytes["data"]["result"].as_array().is_some_and(|all| all.len() == 2),
        "{bytes}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn label_browser_and_variables() -> Result<()> {
    let grafana = filled().await?;
    let answer = grafana.ask("labels", &[]).await?;
    ensure!(answer["status"] == "success", "{answer}");
    let names = texts(&answer["data"]);
    ensure!(["app", "namespace", "pod", "service_name"].iter().all(|name| names.contains(name)), "{names:?}");
    let answer = grafana.ask("label/app/values", &[("query", r#"{namespace="shop"}"#)]).await?;
    ensure!(texts(&answer["data"]) == ["cart", "till"], "{answer}");
    let answer = grafana.ask("label/app/values", &[("query", r#"{pod="till-1"}"#)]).await?;
    ensure!(texts(&answer["data"]) == ["till"], "{answer}");
    let answer = grafana.ask("series", &[("match[]", r#"{app="cart"}"#)]).await?;
    let stream = json!([{"namespace": "shop", "app": "cart", "pod": "cart-1", "service_name": "cart"}]);
    ensure!(answer["data"] == stream, "{answer}");
    // What the query builder and the drill-down offer.
    let answer = grafana.ask("detected_labels", &[("query", r#"{namespace="shop"}"#)]).await?;
    let app = answer["detectedLabels"].as_array().into_iter().flatten().find(|label| label["label"] == "app");
    ensure!(app == Some(&json!({"label": "app", "cardinality": 2})), "{answer}");
    let answer =
        grafana.ask("detected_fields", &[("query", r#"{app="cart"}"#), ("line_limit", "1000")]).await?;
    let took = answer["fields"].as_array().into_iter().flatten().find(|field| field["label"] == "took");
    let took = took.context("no field `took`")?;
    ensure!(took["type"] == "duration" && took["cardinality"] == 3, "{took}");
    ensure!(texts(&took["parsers"]) == ["json", "logfmt"], "{took}");
    let answer = grafana.ask("detected_field/took/values", &[("query", r#"{app="cart"}"#)]).await?;
    ensure!(texts(&answer["values"]) == ["1.5s", "20ms", "3ms"], "{answer}");
    let answer = grafana.ask("patterns", &[("query", r#"{app="cart"}"#), ("step", "60s")]).await?;
    ensure!(answer["status"] == "success" && answer["data"].is_array(), "{answer}");
    Ok(())
}
