//! Prometheus-style targets: discovered, scraped, relabelled, handed over as samples.
//!
//! ```text
//! scrape_configs ─┐
//! files of targets┼─► targets ─► workers ── HTTP ── exposition ─ relabelling ─► uplink
//! pods' annotations┘             (one a target)
//! ```
//! What Prometheus does, the agent does: names, labels, `up` and its companions, staleness markers. A failed scrape is
//! `up 0` and a line in the log; it never stops another.

mod auth;
mod board;
mod body;
mod cache;
mod client;
mod config;
mod discover;
mod exposition;
mod md5;
mod relabel;
mod room;
mod target;
mod tls;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use binnacle_proto::Labels;
use hashbrown::{HashMap, HashSet};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use twox_hash::XxHash3_64;

use crate::Error;
use crate::agent::Context;
use crate::pods::Handle;
use crate::selfmetrics::Gauge;
pub(crate) use board::Board;
use board::{Dropped, Shown};
use config::Job;
use discover::Files;
use room::Room;
use target::{Key, Target};
use tls::{Tls, TlsConfig};
use worker::{Counters, Shared, Worker};

/// Time between two looks for other targets.
const LOOK: Duration = Duration::from_secs(2);

/// Scrapes until shutdown.
///
/// # Errors
/// When a file of scrape configurations is not in order, and when a worker dies.
pub(crate) async fn run(context: Context, pods: Handle) -> Result<(), Error> {
    let settings = &context.config.scrape;
    let jobs = config::load(&context.config.scrape_config_files)
        .map_err(|e| Error::ConfigFile { path: e.file.clone(), problem: e.to_string() })?;
    let mut pod_job = Job::of_pods(&settings.pod_job, context.config.interval);
    pod_job.tls = Arc::new(Tls::new(TlsConfig {
        ca_file: settings.pod_ca_file.clone(),
        skip_verify: settings.pod_insecure_skip_verify,
        ..TlsConfig::default()
    }));
    let shared = Shared {
        uplink: context.uplink.clone(),
        metrics: context.metrics.clone(),
        room: Room::new(settings.max_series),
        bodies: Room::new(settings.max_bodies_bytes),
        max_body: settings.max_body_bytes,
        seed: XxHash3_64::oneshot(context.config.node.as_bytes()),
        shutdown: context.shutdown.clone(),
        counters: Counters::new(&context.metrics),
    };
    let mut targets = Targets {
        files: Files::new(&context.metrics),
        jobs,
        pod_job: Arc::new(pod_job),
        running: HashMap::new(),
        board: context.targets.clone(),
        told: false,
        workers: JoinSet::new(),
        crowded: BTreeMap::new(),
        said: HashSet::new(),
        gauges: Gauges::new(&context),
        max_targets: settings.max_targets,
        node: context.config.node.clone(),
        shared,
    };
    let annotations = settings.pod_annotations;
    let shutdown = context.shutdown.clone();
    drop(context);
    let mut annotated = pods.annotated();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut first = true;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let files_changed = targets.files.refresh(targets.jobs.iter().flat_map(|job| &job.files));
        let pods_changed = annotated.has_changed().unwrap_or(false);
        if std::mem::take(&mut first) || files_changed || pods_changed {
            let pods = annotated.borrow_and_update().clone();
            targets.update(if annotations { &pods } else { &[] });
        }
        targets.gauges.series.set(targets.shared.room.used() as f64);
        targets.gauges.bodies.set(targets.shared.bodies.used() as f64);
        while let Some(ended) = targets.workers.try_join_next() {
            ended.map_err(|e| Error::Task { task: "scrape", reason: e.to_string() })?;
        }
    }
    while targets.workers.join_next().await.is_some() {}
    Ok(())
}

/// What is scraped now.
struct Targets {
    jobs: Vec<Arc<Job>>,
    pod_job: Arc<Job>,
    files: Files,
    running: HashMap<Key, (CancellationToken, Shown)>,
    board: Board,
    /// Whether the board was ever set.
    told: bool,
    workers: JoinSet<()>,
    /// By job: whether it has more targets than its `target_limit`.
    crowded: BTreeMap<String, Arc<AtomicBool>>,
    /// Complaints about targets that were made already.
    said: HashSet<String>,
    gauges: Gauges,
    max_targets: usize,
    node: String,
    shared: Shared,
}

struct Gauges {
    targets: Gauge,
    dropped: Gauge,
    refused: Gauge,
    left_out: Gauge,
    series: Gauge,
    bodies: Gauge,
}

impl Gauges {
    fn new(context: &Context) -> Self {
        let gauge = |name| context.metrics.gauge(name, &[]);
        Self {
            targets: gauge("binnacle_agent_scrape_targets"),
            dropped: gauge("binnacle_agent_scrape_targets_dropped"),
            refused: gauge("binnacle_agent_scrape_targets_refused"),
            left_out: gauge("binnacle_agent_scrape_targets_left_out"),
            series: gauge("binnacle_agent_scrape_series"),
            bodies: gauge("binnacle_agent_scrape_bodies_bytes"),
        }
    }
}

impl Targets {
    /// Starts what is missing and stops what is no target any more.
    fn update(&mut self, pods: &[crate::pods::AnnotatedPod]) {
        let (mut wanted, mut dropped, mut refused) = (Vec::new(), Dropped::default(), 0u32);
        let mut complaints: Vec<(String, String)> = Vec::new();
        let pod_targets = pods.iter().filter_map(|pod| match discover::of_pod(pod, &self.node) {
            Ok(labels) => Some((self.pod_job.clone(), labels?)),
            Err(problem) => {
                complaints.push((format!("pod {}/{}", pod.namespace, pod.name), problem));
                None
            }
        });
        let mut all: Vec<(Arc<Job>, Labels)> = pod_targets.collect();
        for job in &self.jobs {
            all.extend(discover::found(job, &self.files).into_iter().map(|labels| (job.clone(), labels)));
        }
        for (job, labels) in all {
            match Target::new(&job, &labels) {
                Ok(Some(target)) => wanted.push(target),
                Ok(None) => dropped.add(&job.name, &job.discovered(&labels).build()),
                Err(problem) => complaints.push((format!("{}: {labels}", job.name), problem)),
            }
        }
        for (target, problem) in complaints {
            refused += 1;
            if self.said.len() < self.max_targets && self.said.insert(format!("{target}: {problem}")) {
                tracing::warn!(target, problem, "not a target");
            }
        }
        let left_out = wanted.len().saturating_sub(self.max_targets);
        if left_out > 0 {
            tracing::error!(left_out, limit = self.max_targets, "too many targets (scrape.max_targets)");
            wanted.truncate(self.max_targets);
        }
        self.count_jobs(&wanted);
        let keys: HashSet<_> = wanted.iter().map(Target::key).collect();
        self.running.retain(|key, (stop, _)| {
            let keep = keys.contains(key);
            if !keep {
                stop.cancel();
            }
            keep
        });
        for target in wanted {
            let key = target.key();
            if self.running.contains_key(&key) {
                continue;
            }
            let crowded = self.crowded.entry(target.job.name.clone()).or_default().clone();
            let stop = CancellationToken::new();
            let shown = self.board.show(&target);
            let worker = Worker::new(target, self.shared.clone(), crowded, shown.clone());
            self.workers.spawn(worker.run(stop.clone()));
            self.running.insert(key, (stop, shown));
        }
        self.gauges.targets.set(self.running.len() as f64);
        self.gauges.dropped.set(dropped.count() as f64);
        self.gauges.refused.set(f64::from(refused));
        self.gauges.left_out.set(left_out as f64);
        let mut shown: Vec<(&Key, &Shown)> =
            self.running.iter().map(|(key, (_, shown))| (key, shown)).collect();
        shown.sort_by_key(|(key, _)| *key);
        let shown: Vec<Shown> = shown.into_iter().map(|(_, shown)| shown.clone()).collect();
        let pods = self.pod_job.name.clone();
        let mut pools: Vec<String> = self.jobs.iter().map(|job| job.name.clone()).collect();
        // Pods of this agent come without a configuration: their job is there when they are.
        pools.extend(shown.iter().any(|shown| shown.pool() == pods).then_some(pods));
        // Who never had a job has nothing to tell.
        if !pools.is_empty() || self.told {
            self.told = true;
            self.board.set(pools, shown, dropped);
        }
    }

    /// Notes which jobs have too many targets.
    fn count_jobs(&mut self, wanted: &[Target]) {
        for job in &self.jobs {
            let count = wanted.iter().filter(|target| target.job.name == job.name).count() as u64;
            let crowded = self.crowded.entry(job.name.clone()).or_default();
            crowded.store(job.limits.targets > 0 && count > job.limits.targets, Ordering::Relaxed);
        }
    }
}
