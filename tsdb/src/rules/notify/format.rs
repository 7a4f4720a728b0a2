//! What receivers are posted: Alertmanager's API v2, its webhook JSON, and the texts of chat robots.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Notification, WebhookFormat};
use crate::rules::template::url_escaped;

/// Longest text of a chat message, in bytes: WeCom takes 4096.
const MAX_TEXT_BYTES: usize = 4000;

/// Where alerts come from.
pub(super) struct Origin {
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: String,
}

impl Origin {
    fn labels(&self, alert: &Notification) -> BTreeMap<String, String> {
        let mut labels = self.external_labels.clone();
        labels.extend(alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        labels
    }

    fn generator(&self, alert: &Notification) -> String {
        format!("{}/graph?g0.expr={}&g0.tab=1", self.external_url, url_escaped(&alert.expr))
    }
}

fn time(t_ms: i64) -> String {
    Timestamp::from_millisecond(t_ms).unwrap_or_default().to_string()
}

fn annotations(alert: &Notification) -> BTreeMap<&str, &str> {
    alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// `POST /api/v2/alerts`.
pub(super) fn alertmanager(batch: &[Notification], origin: &Origin) -> Value {
    let alerts = batch.iter().map(|alert| {
        json!({
            "labels": origin.labels(alert),
            "annotations": annotations(alert),
            "startsAt": time(alert.starts_at_ms),
            "endsAt": time(alert.ends_at_ms),
            "generatorURL": origin.generator(alert),
        })
    });
    Value::Array(alerts.collect())
}

pub(super) fn webhook(format: WebhookFormat, batch: &[Notification], origin: &Origin) -> Value {
    let text = || text(batch, origin);
    match format {
        WebhookFormat::Generic => generic(batch, origin),
        WebhookFormat::Slack => json!({ "text": text() }),
        WebhookFormat::DingTalk => {
            json!({ "msgtype": "markdown", "markdown": { "title": title(batch), "text": text() } })
        }
        WebhookFormat::WeCom => json!({ "msgtype": "markdown", "markdown": { "content": text() } }),
    }
}

fn generic(batch: &[Notification], origin: &Origin) -> Value {
    let firing = batch.iter().any(|alert| alert.is_firing);
    let alerts: Vec<Value> = batch
        .iter()
        .map(|alert| {
            json!({
                "status": if alert.is_firing { "firing" } else { "resolved" },
                "labels": origin.labels(alert),
                "annotations": annotations(alert),
                "startsAt": time(alert.starts_at_ms),
                "endsAt": if alert.is_firing { "0001-01-01T00:00:00Z".to_owned() } else { time(alert.ends_at_ms) },
                "generatorURL": origin.generator(alert),
            })
        })
        .collect();
    let mut common = batch.first().map(|alert| origin.labels(alert)).unwrap_or_default();
    for alert in batch {
        let labels = origin.labels(alert);
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    json!({
        "version": "4",
        "receiver": "binnacle",
        "status": if firing { "firing" } else { "resolved" },
        "externalURL": origin.external_url,
        "commonLabels": common,
        "alerts": alerts,
    })
}

fn title(batch: &[Notification]) -> String {
    let firing = batch.iter().filter(|alert| alert.is_firing).count();
    format!("{firing} firing, {} resolved", batch.len() - firing)
}

fn text(batch: &[Notification], origin: &Origin) -> String {
    let mut text = String::new();
    for (i, alert) in batch.iter().enumerate() {
        let mut entry = String::new();
        let state = if alert.is_firing { "FIRING" } else { "RESOLVED" };
        entry.push_str(&format!("**[{state}] {}**\n", alert.labels.get("alertname").unwrap_or_default()));
        for (name, value) in &alert.annotations {
            entry.push_str(&format!("{name}: {value}\n"));
        }
        let labels = origin.labels(alert);
        let labels = labels.iter().filter(|(name, _)| *name != "alertname");
        let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
        entry.push_str(&format!("{}\nsince {}\n\n", labels.join(", "), time(alert.starts_at_ms)));
        if text.len() + entry.len() > MAX_TEXT_BYTES {
            text.push_str(&format!("… and {} more\n", batch.len() - i));
            break;
        }
        text.push_str(&entry);
    }
    text
}

#[cfg(test)]
mod tests {
    use binnacle_proto::Labels;

    use super::*;

    fn batch(count: usize) -> Vec<Notification> {
        (0..count)
            .map(|i| Notification {
                labels: Labels::from_pairs([("alertname", "Down"), ("i", &i.to_string())]).unwrap(),
                annotations: vec![("summary".into(), "it is down".into())],
                is_firing: i % 2 == 0,
                starts_at_ms: 1_000,
                ends_at_ms: 2_000,
                expr: "up == 0".into(),
            })
            .collect()
    }

    fn origin() -> Origin {
        Origin {
            external_labels: [("site".to_owned(), "x".to_owned())].into(),
            external_url: "http://b".into(),
        }
    }

    #[test]
    fn every_format_names_the_alert() {
        let origin = origin();
        let alerts = alertmanager(&batch(2), &origin);
        assert_eq!(alerts[0]["labels"], json!({"alertname": "Down", "i": "0", "site": "x"}));
        assert_eq!(alerts[0]["startsAt"], "1970-01-01T00:00:01Z");
        assert_eq!(alerts[0]["generatorURL"], "http://b/graph?g0.expr=up+%3D%3D+0&g0.tab=1");
        let generic = webhook(WebhookFormat::Generic, &batch(2), &origin);
        assert_eq!(generic["commonLabels"], json!({"alertname": "Down", "site": "x"}));
        assert_eq!(generic["alerts"][1]["status"], "resolved");
        let slack = webhook(WebhookFormat::Slack, &batch(1), &origin);
        assert!(slack["text"].as_str().unwrap().contains("[FIRING] Down"));
        let ding = webhook(WebhookFormat::DingTalk, &batch(2), &origin);
        assert_eq!(ding["markdown"]["title"], "1 firing, 1 resolved");
        let wecom = webhook(WebhookFormat::WeCom, &batch(500), &origin);
        let text = wecom["markdown"]["content"].as_str().unwrap();
        assert!(text.len() < 4096 && text.contains("more"), "{}", text.len());
    }
}
