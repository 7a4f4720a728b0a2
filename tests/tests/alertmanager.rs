//! Alerts reach a real Alertmanager, and are resolved there.

use std::time::Duration;

use binnacle_proto::Labels;
use binnacle_tests::metrics_server::{MetricsServer, Program, free_port, now_ms, program_or_skip, until};
use binnacle_tsdb::Sample;
use binnacle_tsdb::rules::{NotifierConfig, RulesConfig};

async fn set(server: &MetricsServer, value: f64) {
    let labels =
        Labels::from_pairs([("__name__", "temperature"), ("room", "engine")]).expect("labels are good");
    let series = server.db.resolve(&labels).expect("the series is taken");
    let now = now_ms();
    server.db.append(vec![Sample { series, t_ms: now, value }], now).await.expect("the sample is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_and_resolve_in_a_real_alertmanager() {
    let Some(path) = program_or_skip("prometheus-alertmanager", "prometheus-alertmanager") else { return };
    let server = MetricsServer::start().await.unwrap();
    let config = server.folder().join("alertmanager.yml");
    std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
    let port = free_port().unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", server.folder().join("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let manager = Program::start(&path, &args, server.folder()).unwrap();
    let rules = server.folder().join("rules.yml");
    let text = "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Hot\n    expr: temperature > 50\n    \
                labels: {severity: page}\n    annotations: {summary: '{{ $labels.room }} is at {{ $value }}'}\n";
    std::fs::write(&rules, text).unwrap();
    set(&server, 80.0).await;
    let url = format!("http://127.0.0.1:{port}");
    let notify = NotifierConfig { alertmanagers: vec![url.clone()], ..NotifierConfig::default() };
    let _rules = server
        .run_rules(RulesConfig {
            files: vec![rules.display().to_string()],
            resend_delay_seconds: 1,
            external_labels: [("site".to_owned(), "test".to_owned())].into(),
            notify,
            ..RulesConfig::default()
        })
        .unwrap();
    let client = binnacle_tests::client::http_client(Duration::from_secs(600), None).unwrap();
    let alerts = || async {
        let response = client.get(format!("{url}/api/v2/alerts")).send().await.ok()?;
        response.json::<serde_json::Value>().await.ok()
    };
    let fired = until("the alert to fire", Duration::from_secs(30), || async {
        let alerts = alerts().await?;
        (!alerts.as_array()?.is_empty()).then(|| alerts[0].clone())
    });
    let fired = fired.await.unwrap_or_else(|error| panic!("{error}\n{}", manager.output()));
    assert_eq!(
        fired["labels"],
        serde_json::json!({"alertname": "Hot", "room": "engine", "severity": "page", "site": "test"})
    );
    assert_eq!(fired["annotations"]["summary"], "engine is at 80");
    let shown = server.get("/api/v1/alerts", &[]).await.unwrap();
    assert_eq!(shown["data"]["alerts"][0]["state"], "firing");
    set(&server, 20.0).await;
    until("the alert to be resolved", Duration::from_secs(30), || async {
        alerts().await?.as_array()?.is_empty().then_some(())
    })
    .await
    .unwrap();
}
