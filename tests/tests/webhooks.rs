//! Alerts reach webhooks in the format of each kind, are told again when a try fails, and are given up and
//! counted when they are refused for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use binnacle_tests::metrics_server::{MetricsServer, until};
use binnacle_tsdb::rules::{NotifierConfig, RulesConfig, WebhookConfig, WebhookFormat};
use serde_json::{Value, json};

/// What each webhook was posted.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, Vec<Value>>>>);

impl Seen {
    /// Keeps a message; how many there are of that webhook.
    fn keep(&self, name: &str, body: Value) -> usize {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = seen.entry(name.to_owned()).or_default();
        of.push(body);
        of.len()
    }

    fn of(&self, name: &str) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }
}

/// The first try of each is refused in its own way; `never` is refused for good.
async fn hook(
    State(seen): State<Seen>,
    Path(name): Path<String>,
    Json(body): Json<Value>,
) -> (StatusCode, String) {
    let is_first = seen.keep(&name, body) == 1;
    match (name.as_str(), is_first) {
        ("never", _) => (StatusCode::BAD_REQUEST, String::new()),
        ("dingtalk", true) => {
            (StatusCode::OK, json!({"errcode": 130_101, "errmsg": "send too fast"}).to_string())
        }
        ("wecom", true) => {
            (StatusCode::OK, json!({"errcode": 45009, "errmsg": "api freq out of limit"}).to_string())
        }
        ("dingtalk" | "wecom", false) => (StatusCode::OK, json!({"errcode": 0, "errmsg": "ok"}).to_string()),
        ("forbidden", _) => {
            (StatusCode::OK, json!({"errcode": 310_000, "errmsg": "sign not match"}).to_string())
        }
        (_, true) => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        (_, false) => (StatusCode::OK, "ok".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_told_in_their_formats_and_again_after_a_failure() {
    let seen = Seen::default();
    let routes =
        axum::Router::new().route("/{name}/secret", axum::routing::post(hook)).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let _ = axum::serve(listener, routes).await;
    });
    let server = MetricsServer::start().await.unwrap();
    let rules = server.folder().join("rules.yml");
    let text = "groups: [{name: g, interval: 1s, rules: [{alert: Leak, expr: vector(7), labels: {room: engine}, \
                annotations: {summary: 'it is {{ $value }}'}}]}]";
    std::fs::write(&rules, text).unwrap();
    let kinds = [
        ("generic", WebhookFormat::Generic),
        ("slack", WebhookFormat::Slack),
        ("dingtalk", WebhookFormat::DingTalk),
        ("wecom", WebhookFormat::WeCom),
        ("never", WebhookFormat::Generic),
        ("forbidden", WebhookFormat::DingTalk),
    ];
    let webhooks = kinds.map(|(name, format)| -> WebhookConfig {
        let kind = format!("{format:?}").to_lowercase();
        serde_json::from_value(json!({"url": format!("{base}/{name}/secret"), "format": kind})).unwrap()
    });
    let notify = NotifierConfig { webhooks: webhooks.into(), tries: 3, ..NotifierConfig::default() };
    let files = vec![rules.display().to_string()];
    let _rules = server.run_rules(RulesConfig { files, notify, ..RulesConfig::default() }).unwrap();

    let counted = |name: &str, receiver| server.notifications(name, receiver);
    until("every webhook", Duration::from_secs(30), || async {
        let told = (0..4).all(|receiver| counted("sent", receiver) == Some(1));
        let lost = (4..6).all(|receiver| counted("dead_letters", receiver) == Some(1));
        (told && lost).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}\n{}", server.api.metrics_text()));
    for receiver in 0..4 {
        assert_eq!(
            (counted("retries", receiver), counted("dead_letters", receiver)),
            (Some(1), Some(0)),
            "{receiver}"
        );
    }
    for receiver in 4..6 {
        assert_eq!(
            (counted("retries", receiver), counted("sent", receiver)),
            (Some(0), Some(0)),
            "{receiver}"
        );
    }
    for (name, _) in &kinds[..4] {
        let told = seen.of(name);
        assert_eq!(told.len(), 2, "{name}");
        assert_eq!(told[0], told[1], "{name}: the second try says the same");
        let text = told[0].to_string();
        assert!(
            text.contains("Leak") && text.contains("it is 7") && text.contains("engine"),
            "{name}: {text}"
        );
    }
    assert_eq!(seen.of("generic")[0]["alerts"][0]["status"], "firing");
    assert_eq!(seen.of("generic")[0]["version"], "4");
    assert!(seen.of("slack")[0]["text"].is_string());
    assert_eq!(seen.of("dingtalk")[0]["msgtype"], "markdown");
    assert!(seen.of("wecom")[0]["markdown"]["content"].is_string());
    assert!(!server.api.metrics_text().contains("secret"), "the path of a webhook is its secret");

    assert_eq!(seen.of("never").len(), 1, "what is refused for good is not told again");
}
