//! What must have been observed for the demo to count, each through a public interface.

mod journal;
mod lines;
mod oom;
mod placement;
mod samples;
mod scaling;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use binnacle_tests::client::Client;

/// One row of the summary.
pub struct Verdict {
    pub name: &'static str,
    /// What was seen, or what was not.
    pub outcome: Result<String, String>,
}

/// Gathers over the course of the demo what the verdicts need.
pub struct Checks {
    begun_s: f64,
    samples: samples::Check,
    scaling: scaling::Check,
    placement: placement::Check,
    oom: oom::Check,
}

impl Checks {
    pub fn new() -> Self {
        Self {
            begun_s: unix_seconds(),
            samples: samples::Check::default(),
            scaling: scaling::Check::default(),
            placement: placement::Check::default(),
            oom: oom::Check::default(),
        }
    }

    /// Looks at the world once.
    pub async fn observe(&mut self, client: &Client) -> Result<()> {
        let now = unix_seconds();
        self.samples.observe(client, now).await?;
        self.scaling.observe(client, now).await?;
        self.placement.observe(client, now).await?;
        self.oom.observe(client, now).await
    }

    /// Judges what was seen.
    pub async fn verdicts(&self, client: &Client) -> Vec<Verdict> {
        let begun_ns = (self.begun_s * 1e9) as i64;
        let row = |name, outcome: Result<String>| Verdict {
            name,
            outcome: outcome.map_err(|error| format!("{error:#}").replace('\n', " ")),
        };
        vec![
            row("samples of both nodes", samples::both_nodes(client).await),
            row("CPU rate against /proc", self.samples.verdict(client).await),
            row("web scaled up and down", self.scaling.verdict()),
            row("placement by load", self.placement.verdict(client).await),
            row("oom_score_adj of leaky", self.oom.verdict(client, begun_ns).await),
            row("lines of chatty", lines::verdict(client, begun_ns).await),
            row("every decision told", journal::verdict(client, begun_ns).await),
        ]
    }
}

/// Wall time in seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the demo compares with the wall clock of real processes")]
fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Now, as log queries want it.
fn unix_nanoseconds() -> i64 {
    (unix_seconds() * 1e9) as i64
}
