//! Rules over logs: what LogQL counts becomes series and alerts, from the rule file to the metrics API.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binnacle_tests::client::http_client;
use binnacle_tests::process::{Server, binary, wait_until};
use serde_json::json;

const RULES: &str = r#"
groups:
  - name: shop
    interval: 1s
    rules:
      - record: app:errors:count5m
        expr: sum by (app) (count_over_time({job="shop"} | logfmt | level="error" [5m]))
        labels: {source: logs}
      - record: app:slowest:seconds
        expr: max by (app) (max_over_time({job="shop"} | logfmt | unwrap duration(took) | __error__="" [5m]))
      - alert: Errors
        expr: sum by (app) (count_over_time({job="shop"} |= "level=error" [5m])) > 1
        labels: {severity: page}
        annotations: {summary: "{{ $labels.app }} had {{ $value }} errors"}
"#;

#[expect(clippy::disallowed_methods, reason = "the server goes by the machine's clock")]
fn now_ns() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_logql_counts_becomes_series_and_alerts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, RULES)?;
    let server =
        Server::start(["--log-rules".to_owned(), format!("{}/*.yaml", folder.path().display())]).await?;
    let client = server.client()?;
    let now = now_ns();
    let line = |ago: i128, text: &str| json!([(now - ago * 1_000_000_000).to_string(), text]);
    let body = json!({"streams": [
        {"stream": {"job": "shop", "app": "cart"}, "values": [
            line(9, "level=error took=300ms"), line(8, "level=info took=20ms"), line(7, "level=error took=1.5s"),
        ]},
        {"stream": {"job": "shop", "app": "till"}, "values": [line(6, "level=error took=never")]},
    ]});
    let http = http_client(Duration::from_secs(10), None)?;
    let pushed = http.post(format!("{}/loki/api/v1/push", server.http_url())).json(&body).send().await?;
    ensure!(pushed.status() == 204, "{}", pushed.text().await?);

    for (series, want) in [
        (r#"app:errors:count5m{app="cart", source="logs"}"#, 2.0),
        (r#"app:errors:count5m{app="till", source="logs"}"#, 1.0),
        (r#"app:slowest:seconds{app="cart"}"#, 1.5),
        ("count(app:slowest:seconds)", 1.0),
        (r#"ALERTS{alertname="Errors", app="cart", alertstate="firing", severity="page"}"#, 1.0),
        ("count(ALERTS)", 1.0),
    ] {
        let is_so = || async { client.number(series, None).await.is_ok_and(|value| value == Some(want)) };
        wait_until(series, Duration::from_secs(20), is_so).await?;
    }
    let alerts = client.get("/api/v1/alerts", &[]).await?;
    ensure!(alerts["alerts"][0]["annotations"]["summary"] == "cart had 2 errors", "{alerts}");
    let groups = client.get("/api/v1/rules", &[]).await?;
    ensure!(groups["groups"][0]["rules"][0]["health"] == "ok", "{groups}");

    // A file that is no longer in order is refused with its line; the rules that run go on.
    std::fs::write(&file, RULES.replace("| logfmt | level=\"error\" [5m]", "| logfmt | level= [5m]"))?;
    let reload = http.post(format!("{}/-/reload", server.http_url())).send().await?;
    let (status, text) = (reload.status(), reload.text().await?);
    ensure!(
        !status.is_success() && text.contains("shop.yaml:7: rule \"app:errors:count5m\": expr"),
        "{text}"
    );
    ensure!(client.get("/api/v1/rules", &[]).await?["groups"][0]["rules"][0]["health"] == "ok");
    Ok(())
}

#[test]
fn check_rules_understands_logql() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.yaml");
    let check = |text: &str, logql: bool| -> Result<(bool, String)> {
        std::fs::write(&file, text)?;
        let mut command = std::process::Command::new(binary("binnacle")?);
        command.args(["check", "rules"]).args(logql.then_some("--logql")).arg(&file);
        let output = command.output().context("binnacle check rules")?;
        let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        Ok((output.status.success(), said))
    };
    let (good, said) = check(RULES, true)?;
    ensure!(good && said.contains("3 rules in order, 0 findings"), "{said}");
    let (good, said) = check(RULES, false)?;
    ensure!(!good && said.contains("shop.yaml:7"), "it is not PromQL: {said}");
    let (good, said) = check(&RULES.replace("max_over_time(", "over_time("), true)?;
    ensure!(!good && said.contains("shop.yaml:10: rule \"app:slowest:seconds\": expr"), "{said}");
    let lines = "groups: [{name: g, rules: [{record: a, expr: '{job=\"shop\"}'}]}]";
    let (good, said) = check(lines, true)?;
    ensure!(!good && said.contains("asks for lines"), "{said}");
    Ok(())
}
