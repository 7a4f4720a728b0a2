//! Every row of the API's table is asked of us and of a real Prometheus 3 with the same samples: codes,
//! kinds of errors and the shapes of answers are the same.

use std::time::Duration;

use binnacle_proto::Labels;
use binnacle_tests::metrics_server::{MetricsServer, Program, free_port, now_ms, peer_or_skip, until};
use binnacle_tests::remote_write::{SeriesSamples, send};
use serde_json::Value;

/// Requests; `S`, `E` and `N` stand for the start and end of the samples, and now.
const REQUESTS: [&str; 128] = [
    "query?query=m1&time=E",
    "query?query=m1&time=E&limit=1",
    "query?query=m1&time=E&limit=-1",
    "query?query=m1&time=E&limit=x",
    "query?query=m1&time=abc",
    "query?query=",
    "query",
    "query?query=sum(&time=E",
    "query?query=m1%20%2B&time=E",
    "query?query=m1&time=E&timeout=x",
    "query?query=m1&time=E&timeout=-1s",
    "query?query=m1&time=E&lookback_delta=x",
    "query?query=m1&time=E&lookback_delta=1s",
    "query?query=m1[1m]&time=E",
    "query?query=%22s%22&time=E",
    "query?query=1e-7&time=5.5",
    "query?query=vector(1e-7)&time=5",
    "query?query=vector(1e21)&time=5",
    "query?query=1e21&time=5",
    "query?query=vector(NaN)&time=5",
    "query?query=-Inf&time=5",
    "query?query=m1*on(x)group_left%20m2&time=E",
    "query?query=rate(m1[1m])&time=E",
    "query?query=rate(m1)&time=E",
    "query?query=nosuchfunc(m1)&time=E",
    "query?query={%22http.status%22=%22200%22,__name__=%22m1%22}&time=E",
    "query?query=absent(nothing{a=%22b%22})&time=E",
    "query?query=histogram_quantile(2,m1)&time=E",
    "query_range?query=sum(m1)&start=S&end=E&step=15",
    "query_range?query=m1&start=S&end=E&step=15&limit=1",
    "query_range?query=m1&start=S&end=E",
    "query_range?query=m1&start=S&end=E&step=0",
    "query_range?query=m1&start=S&end=E&step=-5",
    "query_range?query=m1&start=S&end=E&step=x",
    "query_range?query=m1&start=E&end=S&step=1",
    "query_range?query=m1&end=S&step=1",
    "query_range?query=m1&start=S&step=1",
    "query_range?query=m1&start=0&end=11000&step=1",
    "query_range?query=m1&start=0&end=11001&step=1",
    "query_range?query=m1[5m]&start=S&end=E&step=15",
    "query_range?query=%22x%22&start=S&end=E&step=15",
    "query_range?query=m1&start=S&end=E&step=1m",
    "query_exemplars?query=m1&start=S&end=E",
    "query_exemplars?query=m1&start=E&end=S",
    "query_exemplars?query=m1(",
    "format_query?query=sum%20by(job)(rate(m1[5m]))/2",
    "format_query?query=foo/",
    "parse_query?query=sum%20by(job)(rate(m1{a=%22b%22,c=~%22d%22}[5m]%20offset%20-1m))/2",
    "parse_query?query=-m1",
    "parse_query?query=m1%20@%205",
    "parse_query?query=m1%20@%20start()",
    "parse_query?query=m1[5m:1m]%20@%20end()",
    "parse_query?query=topk(2,m1)",
    "parse_query?query=m1%20%2B%20on(job)%20group_left(x)%20m2",
    "parse_query?query=m1%20%3E%20bool%205",
    "parse_query?query=m1%20and%20ignoring(a)%20m2",
    "parse_query?query=m1%20%2B%20m2",
    "parse_query?query=m1%20or%20m2",
    "parse_query?query=1.5",
    "parse_query?query=1e30",
    "parse_query?query=%22x%22",
    "parse_query?query=(m1)",
    "parse_query?query=count_values(%22x%22,m1)",
    "parse_query?query=label_join(m1,%22a%22,%22,%22,%22b%22)",
    "parse_query?query={%22a.b%22=%22c%22}",
    "parse_query?query=sum(",
    "series",
    "series?match[]=m1&start=S&end=E",
    "series?match[]=m1&match[]=m2",
    "series?match[]=m1&limit=1",
    "series?match[]={a=%22%22}",
    "series?match[]=m1&start=x",
    "series?match[]=m1&start=E&end=S",
    "labels",
    "labels?match[]=m1",
    "labels?limit=1",
    "labels?match[]=(",
    "labels?limit=-3",
    "label/job/values",
    "label/job/values?match[]=m1{job!=%22a%22}",
    "label/job/values?limit=1",
    "label/nosuch/values",
    "label/U__http_2e_status/values",
    "label/http.status/values",
    "metadata",
    "metadata?limit=x",
    "metadata?limit_per_metric=x",
    "metadata?metric=m1",
    "targets",
    "targets?state=dropped",
    "targets?state=any",
    "targets/metadata",
    "targets/metadata?limit=x",
    "targets/metadata?match_target={",
    "scrape_pools",
    "alertmanagers",
    "rules",
    "rules?type=alert",
    "rules?type=record",
    "rules?type=x",
    "rules?rule_name[]=none",
    "rules?match[]=(",
    "rules?exclude_alerts=true",
    "rules?exclude_alerts=zz",
    "rules?group_limit=1",
    "rules?group_limit=x",
    "rules?group_limit=-1",
    "rules?group_next_token=zz",
    "rules?group_next_token=zz&group_limit=1",
    "alerts",
    "notifications",
    "status/buildinfo",
    "status/runtimeinfo",
    "status/config",
    "status/tsdb",
    "status/tsdb?limit=1",
    "status/tsdb?limit=0",
    "status/tsdb?limit=x",
    "nosuch",
    "status/nosuch",
    "write",
    "read",
    "POST query?query=m1&time=E",
    "POST query_range?query=sum(m1)&start=S&end=E&step=15",
    "POST format_query?query=foo/bar",
    "POST series?match[]=m1",
    "POST labels?match[]=m1",
    "POST label/job/values",
];

/// What must be the same: the JSON with the kinds of its values in place of numbers, times and texts.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect())
        }
        Value::Array(items) => items.first().map(shape).into_iter().collect(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
        other => other.clone(),
    }
}

/// The parts of an answer that must be the same.
fn essence(request: &str, status: u16, text: &str) -> Value {
    let body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    if status != 200 {
        let kind = if body.is_object() && status != 404 { body["errorType"].clone() } else { Value::Null };
        return serde_json::json!({"code": status, "kind": kind});
    }
    let exact = ["query", "series", "label", "parse_query", "format_query"];
    let is_exact = exact.iter().any(|path| request.trim_start_matches("POST ").starts_with(path));
    let mut data = if is_exact { body["data"].clone() } else { shape(&body["data"]) };
    // Series come in any order.
    if let Some(Value::Array(rows)) = data.pointer_mut("/result") {
        rows.sort_by_key(ToString::to_string);
    }
    if let (true, Value::Array(rows)) = (request.contains("series?"), &mut data) {
        rows.sort_by_key(ToString::to_string);
    }
    if request.contains("limit=1") && request.contains("query") {
        data = shape(&data);
    }
    serde_json::json!({"code": status, "data": data, "warns": body["warnings"].is_array(), "informs": body["infos"].is_array()})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_as_a_real_prometheus_does() {
    let Some(prometheus) = peer_or_skip("prometheus") else { return };
    let server = MetricsServer::start().await.unwrap();
    let port = free_port().unwrap();
    let config = server.folder().join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", server.folder().join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-remote-write-receiver".to_owned(),
    ];
    let peer = Program::start(&prometheus, &args, server.folder()).unwrap();
    let theirs = format!("http://127.0.0.1:{port}");
    let client = binnacle_tests::client::http_client(Duration::from_secs(60), None).unwrap();
    let ready = until("Prometheus", Duration::from_secs(30), || async {
        client.get(format!("{theirs}/-/ready")).send().await.ok()?.status().is_success().then_some(())
    });
    ready.await.unwrap_or_else(|error| panic!("{error}\n{}", peer.output()));

    let end = now_ms() / 1000 - 30;
    let start = end - 600;
    let mut series: Vec<SeriesSamples> = Vec::new();
    for name in ["m1", "m2"] {
        for (i, job) in ["a", "b", "c"].into_iter().enumerate() {
            let labels = [("__name__", name), ("job", job), ("http.status", "200"), ("instance", "i")];
            let samples =
                (0..=40).map(|step| ((start + 15 * step) * 1000, (step + i as i64) as f64)).collect();
            series.push((Labels::from_pairs(labels).unwrap(), samples));
        }
    }
    for base in [&server.url, &theirs] {
        send(&client, base, &series).await.unwrap();
    }

    let mut wrong = Vec::new();
    for request in REQUESTS {
        let filled = request
            .replace("=S", &format!("={start}"))
            .replace("=E", &format!("={end}"))
            .replace("=N", &format!("={}", end + 30));
        let mut seen = Vec::new();
        for base in [&server.url, &theirs] {
            let answer = match filled.strip_prefix("POST ") {
                None => client.get(format!("{base}/api/v1/{filled}")).send().await,
                Some(rest) => {
                    let (path, form) = rest.split_once('?').unwrap_or((rest, ""));
                    let kind = ("content-type", "application/x-www-form-urlencoded");
                    client
                        .post(format!("{base}/api/v1/{path}"))
                        .header(kind.0, kind.1)
                        .body(form.to_owned())
                        .send()
                        .await
                }
            };
            let answer = answer.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            seen.push((essence(request, status, &text), text));
        }
        if seen[0].0 != seen[1].0 {
            let cut = |text: &str| text.chars().take(400).collect::<String>();
            wrong.push(format!("{request}\n   we: {}\n they: {}", cut(&seen[0].1), cut(&seen[1].1)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), REQUESTS.len(), wrong.join("\n"));
}
