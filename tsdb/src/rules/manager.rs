//! Runs the groups at their pace, stores what they give, and reloads the files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use binnacle_proto::Labels;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::file::{self, Finding, Language};
use super::group::Group;
use super::notify::{NotifierConfig, Notifiers};
use super::scope::{LogQueries, Scope};
use super::view::{GroupView, ReloadStatus};
use crate::http::{Clock, Text};
use crate::select::GuardLimits;
use crate::{Db, Engine, Error, Sample};

/// Settings of the rules; the section `[rules]` of the server's config file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// Rule files; a `*` may stand in the last part of a path.
    pub files: Vec<String>,
    /// Rule files whose expressions are LogQL, as Loki's ruler takes them.
    pub log_files: Vec<String>,
    /// Seconds between evaluations of groups that say nothing else.
    pub evaluation_interval_seconds: u64,
    /// Seconds that rules look behind now, for groups that say nothing else.
    pub query_offset_seconds: u64,
    /// Groups evaluated at one time.
    pub concurrency: usize,
    /// Evaluations of recording rules that are made up for after a downtime, at most, per group.
    pub max_catch_up: usize,
    /// Seconds after which a firing alert is told again.
    pub resend_delay_seconds: u64,
    /// Address of this server in alerts and templates.
    pub external_url: String,
    /// Labels added to alerts that leave.
    pub external_labels: BTreeMap<String, String>,
    /// Who is told.
    pub notify: NotifierConfig,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            log_files: Vec::new(),
            evaluation_interval_seconds: 60,
            query_offset_seconds: 0,
            concurrency: 4,
            max_catch_up: 240,
            resend_delay_seconds: 60,
            external_url: String::new(),
            external_labels: BTreeMap::new(),
            notify: NotifierConfig::default(),
        }
    }
}

impl RulesConfig {
    pub(super) fn evaluation_interval(&self) -> Duration {
        Duration::from_secs(self.evaluation_interval_seconds.max(1))
    }

    pub(super) fn query_offset(&self) -> Duration {
        Duration::from_secs(self.query_offset_seconds)
    }
}

/// What the tasks of the groups share.
struct Context {
    db: Db,
    scope: Scope,
    clock: Clock,
    permits: Semaphore,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    evaluations: AtomicU64,
    failures: AtomicU64,
    missed: AtomicU64,
    caught_up: AtomicU64,
    reload_failures: AtomicU64,
    write_failures: AtomicU64,
}

/// Rules about to run.
pub struct Manager {
    context: Arc<Context>,
    notifiers: Notifiers,
}

/// The running rules; clones share them.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    context: Arc<Context>,
    notifiers: Notifiers,
    groups: Mutex<Vec<Running>>,
    reloading: tokio::sync::Mutex<()>,
    last_reload: Mutex<ReloadStatus>,
    tasks: Mutex<JoinSet<()>>,
    stopped: watch::Sender<bool>,
}

/// A group with the task that evaluates it.
struct Running {
    group: Arc<Mutex<Group>>,
    stop: watch::Sender<bool>,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

impl Manager {
    /// Rules over `db`; `limits` bound each evaluation.
    pub fn new(db: Db, engine: Engine, limits: GuardLimits, config: RulesConfig, clock: Clock) -> Self {
        Self::with_logs(db, engine, None, limits, config, clock)
    }

    /// As [`Manager::new`]; the rules of `config.log_files` ask `logs`.
    pub fn with_logs(
        db: Db,
        engine: Engine,
        logs: Option<Arc<dyn LogQueries>>,
        limits: GuardLimits,
        config: RulesConfig,
        clock: Clock,
    ) -> Self {
        let notifiers = Notifiers::new(&config.notify, &config.external_labels, &config.external_url);
        let permits = Semaphore::new(config.concurrency.max(1));
        let counters = Counters::default();
        let scope = Scope::new(Arc::new(db.clone()), engine, logs, limits, config);
        let context = Arc::new(Context { db, scope, clock, permits, counters });
        Self { context, notifiers }
    }

    /// Loads the files and evaluates until `shutdown` is ready. Call it within a runtime.
    ///
    /// # Errors
    /// What is wrong with the files; nothing runs then.
    pub fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<Handle, Vec<Finding>> {
        let groups = load(&self.context.scope)?;
        self.notifiers
            .check()
            .map_err(|message| vec![Finding { file: PathBuf::from("configuration"), line: 0, message }])?;
        let (stopped, _) = watch::channel(false);
        let now_ms = (self.context.clock)();
        let handle = Handle(Arc::new(Shared {
            context: self.context,
            notifiers: self.notifiers,
            groups: Mutex::default(),
            reloading: tokio::sync::Mutex::new(()),
            last_reload: Mutex::new(ReloadStatus { successful: true, at_ms: now_ms }),
            tasks: Mutex::default(),
            stopped,
        }));
        handle.0.notifiers.run(&mut handle.0.tasks.lock(), &handle.0.stopped);
        handle.replace(groups);
        let stopper = handle.clone();
        handle.0.tasks.lock().spawn(async move {
            shutdown.await;
            stopper.0.stopped.send_replace(true);
        });
        Ok(handle)
    }
}

fn load(scope: &Scope) -> Result<Vec<file::GroupSpec>, Vec<Finding>> {
    let mut groups = file::load(&file::matching(&scope.config.files)?, Language::PromQl)?;
    let log_files = file::matching(&scope.config.log_files)?;
    match &scope.logs {
        Some(logs) => groups.extend(file::load(&log_files, Language::LogQl(&**logs))?),
        None if log_files.is_empty() => {}
        None => {
            let message = "log_files: there is no log store here".to_owned();
            return Err(vec![Finding { file: PathBuf::from("configuration"), line: 0, message }]);
        }
    }
    Ok(groups)
}

impl Handle {
    /// How the latest load of the rule files went.
    pub fn last_reload(&self) -> ReloadStatus {
        *self.0.last_reload.lock()
    }

    /// The groups as they stand.
    pub fn groups(&self) -> Vec<GroupView> {
        let groups = self.0.groups.lock();
        groups.iter().map(|running| running.group.lock().view(&self.0.context.scope)).collect()
    }

    /// Where notifications go: addresses of Alertmanagers.
    pub fn alertmanagers(&self) -> Vec<String> {
        self.0.notifiers.alertmanagers()
    }

    /// Waits until every task has ended, after the shutdown.
    pub async fn stopped(&self) {
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// Reads the rule files again.
    ///
    /// # Errors
    /// What is wrong with them, one finding a line; the rules that ran go on.
    pub async fn reload(&self) -> Result<(), String> {
        let _one_at_a_time = self.0.reloading.lock().await;
        let context = self.0.context.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&context.scope)).await;
        match loaded.map_err(|error| error.to_string())? {
            Ok(groups) => {
                self.replace(groups);
                *self.0.last_reload.lock() =
                    ReloadStatus { successful: true, at_ms: (self.0.context.clock)() };
                tracing::info!("rules reloaded");
                Ok(())
            }
            Err(findings) => {
                let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
                let text = text.join("\n");
                self.0.last_reload.lock().successful = false;
                add(&self.0.context.counters.reload_failures, 1);
                tracing::error!(findings = %text, "the rule files are not in order; the rules that ran go on");
                Err(text)
            }
        }
    }

    /// Stops groups that changed or went, starts those that are new; the others go on untouched.
    fn replace(&self, specs: Vec<file::GroupSpec>) {
        let mut groups = self.0.groups.lock();
        let mut before = std::mem::take(&mut *groups);
        let mut tasks = self.0.tasks.lock();
        for spec in specs {
            let same_name = |running: &Running| {
                let group = running.group.lock();
                group.spec.file == spec.file && group.spec.name == spec.name
            };
            let old = before.iter().position(same_name).map(|at| before.swap_remove(at));
            if let Some(old) = old {
                if old.group.lock().spec.is_same(&spec) {
                    groups.push(old);
                    continue;
                }
                old.stop.send_replace(true);
                let group = Group::new(spec, Some(&old.group.lock()));
                groups.push(self.start(group, &mut tasks));
            } else {
                groups.push(self.start(Group::new(spec, None), &mut tasks));
            }
        }
        let context = self.0.context.clone();
        tasks.spawn(async move {
            for gone in before {
                gone.stop.send_replace(true);
                let ends = gone.group.lock().end((context.clock)());
                store(&context, ends).await;
            }
        });
    }

    fn start(&self, group: Group, tasks: &mut JoinSet<()>) -> Running {
        let (stop, stopping) = watch::channel(false);
        let group = Arc::new(Mutex::new(group));
        let task = Task {
            group: group.clone(),
            context: self.0.context.clone(),
            notifiers: self.0.notifiers.clone(),
            stopping,
            stopped: self.0.stopped.subscribe(),
        };
        tasks.spawn(task.run());
        Running { group, stop }
    }

    pub(crate) fn write_metrics(&self, text: &mut Text) {
        let counters = &self.0.context.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last = self.last_reload();
        text.single(
            "binnacle_config_last_reload_successful",
            "gauge",
            "Whether the rule files that are there now are the rules that run.",
            u8::from(last.successful),
        );
        text.single(
            "binnacle_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When the rule files were last loaded.",
            last.at_ms as f64 / 1000.0,
        );
        for (name, help, counter) in [
            ("evaluations", "Evaluations of rules.", &counters.evaluations),
            ("evaluation_failures", "Evaluations of rules that failed.", &counters.failures),
            (
                "iterations_missed",
                "Evaluations of groups left out because one took too long.",
                &counters.missed,
            ),
            (
                "iterations_caught_up",
                "Evaluations of groups made up for after a downtime.",
                &counters.caught_up,
            ),
            ("reload_failures", "Reloads refused because of the files.", &counters.reload_failures),
            ("write_failures", "Results that could not be stored.", &counters.write_failures),
        ] {
            text.single(&format!("binnacle_rule_{name}_total"), "counter", help, load(counter));
        }
        text.single("binnacle_rule_groups", "gauge", "Groups that run.", self.0.groups.lock().len());
        self.0.notifiers.write_metrics(text);
    }
}

/// Evaluates one group until it is stopped.
struct Task {
    group: Arc<Mutex<Group>>,
    context: Arc<Context>,
    notifiers: Notifiers,
    stopping: watch::Receiver<bool>,
    stopped: watch::Receiver<bool>,
}

impl Task {
    async fn run(mut self) {
        let interval_ms = (self.group.lock().interval(&self.context.scope).as_millis() as i64).max(1);
        // Groups start at different moments of the interval, the same ones after every restart.
        let phase = {
            let group = self.group.lock();
            let name = format!("{}\0{}", group.spec.file, group.spec.name);
            (twox_hash::XxHash3_64::oneshot(name.as_bytes()) % interval_ms as u64) as i64
        };
        let tick = |now_ms: i64| (now_ms - phase).div_euclid(interval_ms) * interval_ms + phase;
        let mut last = tick((self.context.clock)());
        self.catch_up(last, interval_ms).await;
        // What the first evaluation finds is shown soon after the start, not an interval later.
        self.evaluate(last, false).await;
        loop {
            let now_ms = (self.context.clock)();
            let wait_ms = u64::try_from(last + interval_ms - now_ms).unwrap_or(0);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                _ = self.stopping.wait_for(|stop| *stop) => return,
                _ = self.stopped.wait_for(|stop| *stop) => return,
            }
            let due = tick((self.context.clock)());
            if due <= last {
                continue;
            }
            add(&self.context.counters.missed, ((due - last) / interval_ms - 1) as u64);
            last = due;
            self.evaluate(due, false).await;
        }
    }

    /// Makes up for the evaluations of recording rules that a downtime left out.
    async fn catch_up(&mut self, now_ms: i64, interval_ms: i64) {
        let most = self.context.scope.config.max_catch_up as i64;
        let since = now_ms - most.saturating_mul(interval_ms);
        let (group, context) = (self.group.clone(), self.context.clone());
        let found = tokio::task::spawn_blocking(move || {
            let group = group.lock().clone();
            group.last_recorded(since, now_ms, &context.scope)
        });
        let last = match found.await {
            Ok(Ok(Some(last))) => last,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return tracing::warn!(%error, "missed evaluations could not be looked for"),
            Err(error) => return tracing::error!(%error, "looking for missed evaluations ended early"),
        };
        let mut at_ms = now_ms - (now_ms - last).div_euclid(interval_ms) * interval_ms;
        if at_ms <= last {
            at_ms += interval_ms;
        }
        while at_ms < now_ms && !*self.stopped.borrow() && !*self.stopping.borrow() {
            add(&self.context.counters.caught_up, 1);
            self.evaluate(at_ms, true).await;
            at_ms += interval_ms;
        }
    }

    async fn evaluate(&self, at_ms: i64, only_recording: bool) {
        let Ok(_permit) = self.context.permits.acquire().await else { return };
        let rules = self.group.lock().spec.rules.len();
        for index in 0..rules {
            let (group, context) = (self.group.clone(), self.context.clone());
            let work = move || {
                // Evaluated on a copy, so that the API can look at the group meanwhile.
                let mut copy = group.lock().clone();
                let evaluated = copy.evaluate_rule(index, at_ms, &context.scope, only_recording);
                *group.lock() = copy;
                evaluated
            };
            let Ok(evaluated) = tokio::task::spawn_blocking(work).await else { return };
            add(&self.context.counters.evaluations, 1);
            add(&self.context.counters.failures, evaluated.failures);
            store(&self.context, evaluated.samples).await;
            self.notifiers.send(evaluated.alerts);
        }
        if !only_recording {
            let ends = self.group.lock().finish(at_ms);
            store(&self.context, ends).await;
        }
    }
}

async fn store(context: &Context, samples: Vec<(Labels, i64, f64)>) {
    if samples.is_empty() {
        return;
    }
    let stored: Result<_, Error> = match resolved(context, samples) {
        Ok(samples) => context.db.append(samples, (context.clock)()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = stored {
        add(&context.counters.write_failures, 1);
        tracing::error!(%error, "the results of a rule could not be stored");
    }
}

/// Names of series into what the store takes.
fn resolved(context: &Context, samples: Vec<(Labels, i64, f64)>) -> Result<Vec<Sample>, Error> {
    let resolve = |(labels, t_ms, value): (Labels, i64, f64)| {
        Ok(Sample { series: context.db.resolve(&labels)?, t_ms, value })
    };
    samples.into_iter().map(resolve).collect()
}
