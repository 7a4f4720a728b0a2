//! What is scraped: `targets`, `scrape_pools`. The server itself scrapes nothing; agents do, and say how it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde_json::{Value, json};

use super::Api;
use super::answer::{ApiError, Outcome, success};
use super::params::Params;
use super::status::rfc3339;
use crate::format_duration;

/// A target as who scrapes it tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// Node of the agent that scrapes it.
    pub node: String,
    /// Name of its job.
    pub pool: String,
    /// Labels before relabelling.
    pub discovered: BTreeMap<String, String>,
    /// Labels of its series.
    pub labels: BTreeMap<String, String>,
    /// What is asked.
    pub url: String,
    /// `up`, `down` or `unknown`.
    pub health: String,
    /// Why the last scrape failed; empty otherwise.
    pub last_error: String,
    /// When it was asked last, in milliseconds since the epoch; 0 when never.
    pub last_scrape_ms: i64,
    /// How long that took, in seconds.
    pub last_duration_seconds: f64,
    /// Time between two scrapes, in milliseconds.
    pub interval_ms: u64,
    /// Longest time of a scrape, in milliseconds.
    pub timeout_ms: u64,
}

/// Everything that is scraped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Targets {
    /// What is scraped.
    pub active: Vec<Target>,
    /// Some of what relabelling dropped: job and discovered labels.
    pub dropped: Vec<(String, BTreeMap<String, String>)>,
    /// How many it dropped, by job.
    pub dropped_counts: BTreeMap<String, u64>,
    /// Names of all jobs.
    pub pools: BTreeSet<String>,
}

/// Answers what is scraped now.
pub type TargetSource = Arc<dyn Fn() -> Targets + Send + Sync>;

/// `GET /api/v1/targets`: `state` (`active`, `dropped`, `any`), `scrapePool`.
pub(super) async fn targets(State(api): State<Api>, params: Params) -> Outcome {
    let state = params.one("state").unwrap_or_default().to_lowercase();
    let shows = |which: &str| matches!(state.as_str(), "" | "any") || state == which;
    let pool = params.one("scrapePool").unwrap_or_default();
    let is_of = |name: &str| pool.is_empty() || pool == name;
    let all = api.targets();
    let active: Vec<Value> = all
        .active
        .iter()
        .filter(|target| shows("active") && is_of(&target.pool))
        .map(|target| {
            json!({
                "discoveredLabels": target.discovered,
                "labels": target.labels,
                "scrapePool": target.pool,
                "scrapeUrl": target.url,
                "globalUrl": global_url(target),
                "lastError": target.last_error,
                "lastScrape": last_scrape(target.last_scrape_ms),
                "lastScrapeDuration": target.last_duration_seconds,
                "health": target.health,
                "scrapeInterval": duration(target.interval_ms),
                "scrapeTimeout": duration(target.timeout_ms),
                // Not in Prometheus' answer: there, it is always the server itself.
                "node": target.node,
            })
        })
        .collect();
    let dropped: Vec<Value> = all
        .dropped
        .iter()
        .filter(|(pool, _)| shows("dropped") && is_of(pool))
        .map(|(pool, labels)| json!({ "discoveredLabels": labels, "scrapePool": pool }))
        .collect();
    // Every job has its number there, be it 0; nothing when dropped ones are not asked for.
    let counts = shows("dropped").then(|| {
        let counted = |pool: &String| (pool.clone(), all.dropped_counts.get(pool).copied().unwrap_or(0));
        all.pools.iter().map(counted).collect::<BTreeMap<String, u64>>()
    });
    success(&json!({ "activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts }))
}

/// `GET /api/v1/targets/metadata`: agents do not report help and types of what they scrape.
pub(super) async fn metadata(params: Params) -> Outcome {
    params.limit("limit")?;
    if let Some(selector) = params.one("match_target") {
        crate::promql::parse_selector(selector)
            .map_err(|error| ApiError::parameter("match_target", error))?;
    }
    success(&[(); 0])
}

/// `GET /api/v1/scrape_pools`.
pub(super) async fn scrape_pools(State(api): State<Api>) -> Outcome {
    success(&json!({ "scrapePools": api.targets().pools }))
}

fn duration(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}

/// As Go writes a time, the one of never included.
fn last_scrape(t_ms: i64) -> String {
    if t_ms == 0 { "0001-01-01T00:00:00Z".to_owned() } else { rfc3339(t_ms) }
}

/// The address as others reach it: an agent's loopback is that of its node.
fn global_url(target: &Target) -> String {
    let (scheme, rest) = target.url.split_once("://").unwrap_or(("", &target.url));
    let found = ["127.0.0.1", "localhost", "[::1]"].iter().find_map(|host| rest.strip_prefix(host));
    match found {
        Some(rest) if !target.node.is_empty() && rest.starts_with([':', '/']) => {
            format!("{scheme}://{}{rest}", target.node)
        }
        _ => target.url.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_that_of_the_node() {
        let url =
            |url: &str| global_url(&Target { url: url.into(), node: "alpha".into(), ..Target::default() });
        assert_eq!(url("http://127.0.0.1:9100/metrics"), "http://alpha:9100/metrics");
        assert_eq!(url("https://[::1]/m"), "https://alpha/m");
        assert_eq!(url("http://localhost.example/m"), "http://localhost.example/m");
        assert_eq!(url("http://h:1/m?to=://localhost:1"), "http://h:1/m?to=://localhost:1");
    }
}
