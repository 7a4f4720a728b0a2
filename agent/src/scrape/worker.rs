//! Scrapes one target, again and again, and says how it went: `up` and its companions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::board::Shown;
use super::cache::{Cache, Counts};
use super::client::{Client, Failure, Question};
use super::room::Room;
use super::target::Target;
use crate::clock;
use crate::sample::{Round, Series};
use crate::selfmetrics::{Counter, SelfMetrics};
use crate::uplink::Sender;

/// Series about a scrape, in the order of [`Worker::report`].
const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// What all workers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) uplink: Sender,
    pub(super) metrics: SelfMetrics,
    pub(super) room: Room,
    /// For the bytes of answers that are being read.
    pub(super) bodies: Room,
    /// `scrape.max_body_bytes`.
    pub(super) max_body: u64,
    /// Spreads the targets differently on every node.
    pub(super) seed: u64,
    pub(super) shutdown: CancellationToken,
    pub(super) counters: Counters,
}

/// Of all scrapes together.
#[derive(Clone)]
pub(super) struct Counters {
    scrapes: Counter,
    samples: Counter,
    body_bytes: Counter,
    duplicates: Counter,
    exemplars: Counter,
}

impl Counters {
    pub(super) fn new(metrics: &SelfMetrics) -> Self {
        let counter = |name| metrics.counter(name, &[]);
        Self {
            scrapes: counter("binnacle_agent_scrapes_total"),
            samples: counter("binnacle_agent_scrape_samples_total"),
            body_bytes: counter("binnacle_agent_scrape_body_bytes_total"),
            duplicates: counter("binnacle_agent_scrape_duplicates_total"),
            exemplars: counter("binnacle_agent_scrape_exemplars_total"),
        }
    }
}

/// The scraping of one target.
pub(super) struct Worker {
    target: Target,
    shared: Shared,
    /// Whether the job has more targets than it may.
    crowded: Arc<AtomicBool>,
    client: Client,
    cache: Cache,
    reports: [Series; 5],
    reported: bool,
    shown: Shown,
    /// Why the last scrape failed: said once.
    complaint: Option<String>,
}

impl Worker {
    pub(super) fn new(target: Target, shared: Shared, crowded: Arc<AtomicBool>, shown: Shown) -> Self {
        let report = |name: &str| {
            let mut labels = target.labels.to_builder();
            labels.set("__name__", name);
            Series::new(labels.build())
        };
        Self {
            reports: REPORTS.map(report),
            cache: Cache::new(shared.room.clone()),
            client: Client::default(),
            reported: false,
            shown,
            complaint: None,
            target,
            shared,
            crowded,
        }
    }

    /// Scrapes until `stop`, which ends the target's series, or the end of the agent, which does not.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let interval = self.target.interval;
        let first = until_first(clock::now_ns(), interval, self.target.offset(self.shared.seed));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let shutdown = self.shared.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let rounds = tokio::select! {
                () = shutdown.cancelled() => return,
                () = stop.cancelled() => break,
                rounds = self.scrape(clock::now_ms()) => rounds,
            };
            for round in rounds {
                if self.shared.uplink.send_samples(round).await.is_err() {
                    return;
                }
            }
        }
        let mut last = self.cache.end(clock::now_ms());
        if self.reported {
            last.samples
                .extend(self.reports.iter().map(|series| (series.clone(), binnacle_proto::STALE_NAN)));
        }
        let _ = self.shared.uplink.send_samples(last).await;
    }

    /// One scrape at `t_ms`; all of its samples.
    async fn scrape(&mut self, t_ms: i64) -> Vec<Round> {
        let begun = clock::instant();
        let mut counts = Counts::default();
        let result = self.ask(t_ms, &mut counts).await;
        let took = clock::instant().duration_since(begun).as_secs_f64();
        let error = result.as_ref().err().map(|failure| failure.text.as_str());
        self.shown.scraped(error, t_ms, took);
        let (up, mut rounds) = match result {
            Ok(rounds) => (1.0, rounds),
            Err(failure) => {
                self.failed(&failure);
                (0.0, vec![self.cache.end(t_ms)])
            }
        };
        if up > 0.0 && self.complaint.take().is_some() {
            tracing::info!(job = self.target.job.name, url = self.target.url, "target answers well again");
        }
        let (shared, kept) = (&self.shared, counts.kept);
        shared.counters.scrapes.add(1);
        shared.counters.samples.add(if up > 0.0 { kept } else { 0 });
        shared.counters.duplicates.add(counts.duplicates);
        shared.counters.exemplars.add(rounds.first().map_or(0, |round| round.exemplars.len() as u64));
        if counts.bad_exemplars > 0 {
            shared.metrics.lost("exemplars", "bad_labels", counts.bad_exemplars);
        }
        let values = [up, took, counts.scraped as f64, counts.kept as f64, counts.added as f64];
        if let Some(round) = rounds.first_mut() {
            round.samples.extend(self.reports.iter().cloned().zip(values));
        }
        self.reported = true;
        rounds
    }

    async fn ask(&mut self, t_ms: i64, counts: &mut Counts) -> Result<Vec<Round>, Failure> {
        let job = &self.target.job;
        if self.crowded.load(Ordering::Relaxed) {
            let text = format!("the job has more than {} targets (target_limit)", job.limits.targets);
            return Err(Failure::new("target_limit", text));
        }
        let most = self.shared.max_body;
        let max_body = match job.limits.body_size {
            0 => (most, "scrape.max_body_bytes"),
            own if own <= most => (own, "body_size_limit"),
            _ => (most, "scrape.max_body_bytes"),
        };
        let question = Question {
            url: self.target.url.clone(),
            timeout: self.target.timeout,
            compression: job.compression,
            follow_redirects: job.follow_redirects,
            authorization: job.auth.header().map_err(|e| Failure::new("authorization", e))?,
            tls: job.tls.clone(),
            max_body,
            room: self.shared.bodies.clone(),
            fallback: job.fallback,
        };
        let fetched = self.client.fetch(&question).await?;
        self.shared.counters.body_bytes.add(fetched.body.bytes().len() as u64);
        self.cache.take(&self.target, &fetched, t_ms, counts)
    }

    fn failed(&mut self, failure: &Failure) {
        let labels = [("reason", failure.name)];
        self.shared.metrics.counter("binnacle_agent_scrape_failures_total", &labels).add(1);
        if self.complaint.as_ref() != Some(&failure.text) {
            let (job, url) = (&self.target.job.name, &self.target.url);
            tracing::warn!(job, url, reason = failure.name, error = failure.text, "scrape failed");
            self.complaint = Some(failure.text.clone());
        }
    }
}

/// How long until the clock is `offset` behind a full interval.
fn until_first(now_ns: i64, interval: Duration, offset: Duration) -> Duration {
    let interval_ns = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
    let offset_ns = i64::try_from(offset.as_nanos()).unwrap_or(0);
    Duration::from_nanos((offset_ns - now_ns).rem_euclid(interval_ns).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_scrape_is_at_the_targets_own_moment() {
        let (interval, offset) = (Duration::from_secs(10), Duration::from_secs(3));
        let second = 1_000_000_000;
        assert_eq!(until_first(20 * second, interval, offset), Duration::from_secs(3));
        assert_eq!(until_first(24 * second, interval, offset), Duration::from_secs(9));
        assert_eq!(until_first(23 * second, interval, offset), Duration::ZERO);
    }
}
