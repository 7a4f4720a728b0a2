//! Tells alerts to Alertmanagers and webhooks: bounded queues, batches, retries, a count of what was lost.

mod client;
mod format;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use binnacle_proto::Labels;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::format::Origin;
use crate::http::Text;

pub use client::{Authorization, BasicAuth, HttpConfig, TlsConfig};

/// Alerts of one request.
const BATCH: usize = 64;

/// Longest pause between tries.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Who is told of alerts; part of the section `[rules]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifierConfig {
    /// Addresses of Alertmanagers, e.g. `http://127.0.0.1:9093`.
    pub alertmanagers: Vec<String>,
    /// How they are reached: authorities, credentials.
    pub alertmanager_http: HttpConfig,
    /// Plain webhooks.
    pub webhooks: Vec<WebhookConfig>,
    /// Alerts that may wait for each receiver; more are lost and counted.
    pub queue: usize,
    /// Tries for one batch, before it is lost and counted.
    pub tries: u32,
    /// Seconds a receiver may take to answer.
    pub timeout_seconds: u64,
}

impl Default for NotifierConfig {
    fn default() -> Self {
        Self {
            alertmanagers: Vec::new(),
            alertmanager_http: HttpConfig::default(),
            webhooks: Vec::new(),
            queue: 10_000,
            tries: 6,
            timeout_seconds: 10,
        }
    }
}

/// A webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where alerts are posted.
    pub url: String,
    /// What is posted.
    #[serde(default)]
    pub format: WebhookFormat,
    /// How it is reached: authorities, credentials.
    #[serde(default)]
    pub http: HttpConfig,
    /// Seconds after which an alert that still fires is told again.
    #[serde(default = "four_hours")]
    pub repeat_seconds: u64,
}

fn four_hours() -> u64 {
    4 * 3600
}

/// What a webhook understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// JSON as Alertmanager posts it.
    #[default]
    Generic,
    /// Slack's incoming webhooks.
    Slack,
    /// DingTalk's group robots.
    DingTalk,
    /// WeCom's group robots.
    WeCom,
}

/// What is told of an alert.
#[derive(Debug, Clone)]
pub(super) struct Notification {
    pub(super) labels: Labels,
    pub(super) annotations: Vec<(String, String)>,
    pub(super) is_firing: bool,
    pub(super) starts_at_ms: i64,
    pub(super) ends_at_ms: i64,
    pub(super) expr: String,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    lost: AtomicU64,
    retries: AtomicU64,
}

/// Everybody who is told; clones share the queues.
#[derive(Clone)]
pub(super) struct Notifiers(Arc<Vec<Receiver>>);

struct Receiver {
    target: Target,
    queue: mpsc::Sender<Notification>,
    /// Taken by the task.
    waiting: parking_lot::Mutex<Option<mpsc::Receiver<Notification>>>,
    counters: Arc<Counters>,
}

#[derive(Clone)]
struct Target {
    url: String,
    /// `None` for an Alertmanager.
    webhook: Option<WebhookConfig>,
    http: HttpConfig,
    origin: Arc<Origin>,
    tries: u32,
    timeout: Duration,
}

/// Why a try failed.
enum Failure {
    /// Another try may help.
    Passing(String),
    /// The receiver does not want it.
    Final(String),
}

impl Notifiers {
    pub(super) fn new(
        config: &NotifierConfig,
        external_labels: &BTreeMap<String, String>,
        external_url: &str,
    ) -> Self {
        let origin = Arc::new(Origin {
            external_labels: external_labels.clone(),
            external_url: external_url.trim_end_matches('/').to_owned(),
        });
        let target = |url: String, webhook: Option<WebhookConfig>| Target {
            url,
            http: webhook.as_ref().map_or(&config.alertmanager_http, |webhook| &webhook.http).clone(),
            webhook,
            origin: origin.clone(),
            tries: config.tries.max(1),
            timeout: Duration::from_secs(config.timeout_seconds.max(1)),
        };
        let managers = config
            .alertmanagers
            .iter()
            .map(|base| target(format!("{}/api/v2/alerts", base.trim_end_matches('/')), None));
        let webhooks =
            config.webhooks.iter().map(|webhook| target(webhook.url.clone(), Some(webhook.clone())));
        let receivers = managers.chain(webhooks).map(|target| {
            let (queue, waiting) = mpsc::channel(config.queue.max(1));
            let waiting = parking_lot::Mutex::new(Some(waiting));
            Receiver { target, queue, waiting, counters: Arc::default() }
        });
        Self(Arc::new(receivers.collect()))
    }

    /// What is wrong with the files and settings of any receiver.
    pub(super) fn check(&self) -> Result<(), String> {
        for receiver in self.0.iter() {
            let reason = client::check(&receiver.target.http);
            reason.map_err(|reason| format!("rules.notify: {}: {reason}", receiver.target.shown()))?;
        }
        Ok(())
    }

    /// Starts a task for each receiver.
    pub(super) fn run(&self, tasks: &mut JoinSet<()>, stopped: &watch::Sender<bool>) {
        for receiver in self.0.iter() {
            let Some(waiting) = receiver.waiting.lock().take() else { continue };
            let task = Task {
                target: receiver.target.clone(),
                waiting,
                counters: receiver.counters.clone(),
                stopped: stopped.subscribe(),
                told: HashMap::new(),
            };
            tasks.spawn(task.run());
        }
    }

    /// Hands alerts to every receiver; does not wait.
    pub(super) fn send(&self, alerts: Vec<Notification>) {
        for receiver in self.0.iter() {
            for alert in &alerts {
                if receiver.queue.try_send(alert.clone()).is_err() {
                    receiver.counters.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    pub(super) fn alertmanagers(&self) -> Vec<String> {
        let managers = self.0.iter().filter(|receiver| receiver.target.webhook.is_none());
        managers.map(|receiver| receiver.target.url.clone()).collect()
    }

    pub(super) fn write_metrics(&self, text: &mut Text) {
        type Pick = fn(&Counters) -> &AtomicU64;
        let families: [(&str, &str, Pick); 3] = [
            ("sent", "Alerts told.", |counters| &counters.sent),
            ("dead_letters", "Alerts that could not be told and were given up.", |counters| &counters.lost),
            ("retries", "Tries that failed and were repeated.", |counters| &counters.retries),
        ];
        for (name, help, counter) in families {
            let name = format!("binnacle_notifications_{name}_total");
            text.family(&name, "counter", help);
            for (i, receiver) in self.0.iter().enumerate() {
                // The path of a webhook is its secret.
                let labels = format!("{{receiver=\"{i}\",target={:?}}}", receiver.target.shown());
                text.sample(&name, &labels, counter(&receiver.counters).load(Ordering::Relaxed));
            }
        }
        let name = "binnacle_notifications_queue_length";
        text.family(name, "gauge", "Alerts that wait.");
        for (i, receiver) in self.0.iter().enumerate() {
            let waiting = receiver.queue.max_capacity() - receiver.queue.capacity();
            text.sample(name, &format!("{{receiver=\"{i}\",target={:?}}}", receiver.target.shown()), waiting);
        }
    }
}

impl Target {
    /// Scheme and host of the address, without what may be secret.
    fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        format!("{scheme}://{}", host.rsplit('@').next().unwrap_or_default())
    }

    async fn post(&self, client: &reqwest::Client, body: &serde_json::Value) -> Result<(), Failure> {
        // The text of a reqwest error holds the address, which may be secret.
        let passing = |error: reqwest::Error| Failure::Passing(reasons(&error.without_url()));
        let request = client.post(&self.url).timeout(self.timeout).json(body);
        let request = client::authorized(request, &self.http).map_err(Failure::Passing)?;
        let response = request.send().await.map_err(passing)?;
        let status = response.status();
        if status.is_server_error() || status.as_u16() == 429 {
            return Err(Failure::Passing(format!("it answered {status}")));
        }
        if !status.is_success() {
            return Err(Failure::Final(format!("it answered {status}")));
        }
        match self.webhook.as_ref().map(|webhook| webhook.format) {
            Some(WebhookFormat::DingTalk | WebhookFormat::WeCom) => {
                // These answer 200 to everything and put the outcome into the body.
                #[derive(Deserialize)]
                struct Outcome {
                    errcode: i64,
                    #[serde(default)]
                    errmsg: String,
                }
                let outcome: Outcome = response.json().await.map_err(passing)?;
                match outcome.errcode {
                    0 => Ok(()),
                    // Too many messages a minute (WeCom, DingTalk), and "system busy".
                    45009 | 130_101 | -1 => Err(Failure::Passing(outcome.errmsg)),
                    _ => Err(Failure::Final(outcome.errmsg)),
                }
            }
            _ => Ok(()),
        }
    }
}

/// An error with what caused it.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Sends what waits for one receiver.
struct Task {
    target: Target,
    waiting: mpsc::Receiver<Notification>,
    counters: Arc<Counters>,
    stopped: watch::Receiver<bool>,
    /// Firing alerts that a webhook was told, and when, in milliseconds since the epoch.
    told: HashMap<Labels, i64>,
}

impl Task {
    async fn run(mut self) {
        let mut client = match client::Client::new(&self.target.http) {
            Ok(client) => client,
            Err(reason) => {
                tracing::error!(target = %self.target.shown(), reason, "alerts cannot be told: no HTTP client");
                return;
            }
        };
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            tokio::select! {
                count = self.waiting.recv_many(&mut batch, BATCH) => if count == 0 { return },
                _ = self.stopped.wait_for(|stop| *stop) => return,
            }
            let batch = self.wanted(batch);
            if batch.is_empty() {
                continue;
            }
            let body = match &self.target.webhook {
                None => format::alertmanager(&batch, &self.target.origin),
                Some(webhook) => format::webhook(webhook.format, &batch, &self.target.origin),
            };
            self.deliver(&mut client, &body, batch.len() as u64).await;
        }
    }

    /// All of them for an Alertmanager, which wants repetition; for a webhook what is news.
    fn wanted(&mut self, batch: Vec<Notification>) -> Vec<Notification> {
        let Some(webhook) = &self.target.webhook else { return batch };
        let repeat_ms = i64::try_from(webhook.repeat_seconds).unwrap_or(i64::MAX / 2000) * 1000;
        let told = &mut self.told;
        let is_news = |alert: &Notification| {
            if !alert.is_firing {
                return told.remove(&alert.labels).is_some();
            }
            // The end of validity moves with every repetition: it tells the time of this one.
            match told.get(&alert.labels) {
                Some(at_ms) if alert.ends_at_ms - at_ms < repeat_ms => false,
                _ => {
                    told.insert(alert.labels.clone(), alert.ends_at_ms);
                    true
                }
            }
        };
        batch.into_iter().filter(is_news).collect()
    }

    async fn deliver(&mut self, client: &mut client::Client, body: &serde_json::Value, alerts: u64) {
        let mut pause = Duration::from_millis(500);
        for again in (0..self.target.tries).rev() {
            let failure = match self.target.post(client.http(), body).await {
                Ok(()) => {
                    self.counters.sent.fetch_add(alerts, Ordering::Relaxed);
                    return;
                }
                Err(Failure::Passing(reason)) if again > 0 => reason,
                Err(Failure::Passing(reason) | Failure::Final(reason)) => {
                    self.counters.lost.fetch_add(alerts, Ordering::Relaxed);
                    tracing::error!(target = %self.target.shown(), alerts, reason, "alerts could not be told");
                    return;
                }
            };
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(target = %self.target.shown(), alerts, reason = failure, "alerts could not be told, trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.stopped.wait_for(|stop| *stop) => {
                    self.counters.lost.fetch_add(alerts, Ordering::Relaxed);
                    return;
                }
            }
            pause = (pause * 2).min(MAX_BACKOFF);
            // Certificates may have been replaced meanwhile.
            client.renew(&self.target.http);
        }
    }
}
