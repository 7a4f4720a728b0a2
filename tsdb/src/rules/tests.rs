//! Rules from their files to stored series and posted alerts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use binnacle_proto::Labels;

use super::*;
use crate::select::{Guard, GuardLimits};
use crate::{Config, Db, Engine, EngineConfig, Sample, TimeRange};

const T0: i64 = 1_700_000_000_000;

struct World {
    dir: tempfile::TempDir,
    db: Db,
    now: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(Config { dir: dir.path().join("db"), ..Config::default() }).unwrap();
        Self { dir, db, now: Arc::new(AtomicI64::new(T0)) }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("rules.yml"), text).unwrap();
    }

    fn start(&self, config: RulesConfig) -> Result<(Handle, tokio::sync::oneshot::Sender<()>), Vec<Finding>> {
        self.start_with(config, None)
    }

    fn start_with(
        &self,
        config: RulesConfig,
        logs: Option<Arc<dyn LogQueries>>,
    ) -> Result<(Handle, tokio::sync::oneshot::Sender<()>), Vec<Finding>> {
        let now = self.now.clone();
        let files = vec![self.dir.path().join("*.yml").display().to_string()];
        let manager = Manager::with_logs(
            self.db.clone(),
            Engine::new(EngineConfig::default()),
            logs,
            GuardLimits::default(),
            RulesConfig { files, ..config },
            Arc::new(move || now.load(Ordering::SeqCst)),
        );
        let (stop, stopping) = tokio::sync::oneshot::channel();
        let handle = manager.run(async move {
            let _ = stopping.await;
        })?;
        Ok((handle, stop))
    }

    async fn append(&self, name: &str, t_ms: i64, value: f64) {
        let labels = Labels::from_pairs([("__name__", name), ("job", "a")]).unwrap();
        let series = self.db.resolve(&labels).unwrap();
        self.db.append(vec![Sample { series, t_ms, value }], self.now.load(Ordering::SeqCst)).await.unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "a test's deadline")]
    fn names(&self) -> Vec<String> {
        let guard = Guard::new(GuardLimits::default(), std::time::Instant::now());
        self.db.label_values("__name__", &[], TimeRange::ALL, 0, &guard).unwrap().items
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

const RULES: &str = r#"
groups:
  - name: g
    interval: 10s
    rules:
      - record: job:in:double
        expr: in * 2
        labels: {kind: test}
      - alert: High
        expr: job:in:double > 1
        labels: {severity: "{{ $labels.kind }}"}
        annotations: {summary: "{{ $labels.job }} has {{ $value }}"}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_record_series_and_raise_alerts() {
    let world = World::new();
    world.write(RULES);
    world.append("in", T0 - 20_000, 2.0).await;
    let (handle, stop) = world.start(RulesConfig::default()).unwrap();
    let alerts = || match &handle.groups()[0].rules[1].kind {
        RuleKind::Alerting { alerts, .. } => alerts.clone(),
        RuleKind::Recording => Vec::new(),
    };
    until("the alert fires", || !alerts().is_empty()).await;
    let alert = alerts().remove(0);
    assert_eq!(alert.state, AlertState::Firing);
    assert_eq!(alert.labels.to_string(), r#"{alertname="High", job="a", kind="test", severity="test"}"#);
    assert_eq!(alert.annotations, [("summary".to_owned(), "a has 4".to_owned())]);
    until("its series are stored", || world.names() == ["ALERTS", "ALERTS_FOR_STATE", "in", "job:in:double"])
        .await;
    assert!(handle.groups()[0].rules.iter().all(|rule| rule.health == Health::Ok));
    let _ = stop.send(());
    handle.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_on_reload_leaves_the_old_rules_running() {
    let world = World::new();
    world.write(RULES);
    let (handle, stop) = world.start(RulesConfig::default()).unwrap();
    world.write(&RULES.replace("in * 2", "in *"));
    let error = handle.reload().await.unwrap_err();
    assert!(error.contains("rules.yml:7: rule \"job:in:double\": expr"), "{error}");
    assert!(!handle.last_reload().successful);
    assert_eq!(handle.groups()[0].rules[0].query, "in * 2");
    world.write(&RULES.replace("in * 2", "in * 3"));
    handle.reload().await.unwrap();
    assert!(handle.last_reload().successful);
    assert_eq!(handle.groups()[0].rules[0].query, "in * 3");
    let _ = stop.send(());
    handle.stopped().await;
    world.write("groups: [{name: x, rules: [{record: a}]}]");
    assert!(world.start(RulesConfig::default()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missed_evaluations_of_recording_rules_are_made_up_for() {
    let world = World::new();
    world.write("groups: [{name: g, interval: 10s, rules: [{record: out, expr: in}]}]");
    for i in 0..=30 {
        world.append("in", T0 - 300_000 + i * 10_000, i as f64).await;
    }
    world.append("out", T0 - 200_000, 1.0).await;
    // The series of the rule has the labels of the expression; this is the one that a former run gave.
    let (handle, stop) = world.start(RulesConfig::default()).unwrap();
    until("the first evaluation", || handle.groups()[0].last_evaluation_ms > 0).await;
    let engine = Engine::new(EngineConfig::default());
    let count = || {
        #[expect(clippy::disallowed_methods, reason = "a test's deadline")]
        let guard = Guard::new(GuardLimits::default(), std::time::Instant::now());
        let options = crate::QueryOptions { guard, lookback: None };
        match engine.instant(&world.db, "count_over_time(out[5m])", T0, &options).unwrap().value {
            crate::Value::Vector(samples) => samples.first().map_or(0.0, |sample| sample.value),
            _ => 0.0,
        }
    };
    until("the gap is filled", || count() >= 20.0).await;
    let _ = stop.send(());
    handle.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_time_is_kept_over_a_restart() {
    let world = World::new();
    world.write("groups: [{name: g, interval: 1s, rules: [{alert: A, expr: in > 0, for: 1h}]}]");
    world.append("in", T0 - 1000, 1.0).await;
    // An hour and more before: it was firing when the server went.
    let stored =
        Labels::from_pairs([("__name__", "ALERTS_FOR_STATE"), ("alertname", "A"), ("job", "a")]).unwrap();
    let series = world.db.resolve(&stored).unwrap();
    let active = (T0 - 4_000_000) / 1000;
    let sample = Sample { series, t_ms: T0 - 60_000, value: active as f64 };
    world.db.append(vec![sample], T0).await.unwrap();
    let (handle, stop) = world.start(RulesConfig::default()).unwrap();
    until("it fires at once", || handle.groups()[0].rules[0].state() == AlertState::Firing).await;
    let _ = stop.send(());
    handle.stopped().await;
}

/// Two services with as many lines as their expression has letters, whenever it is.
struct Letters;

impl LogQueries for Letters {
    fn check(&self, expr: &str) -> Result<(), String> {
        if expr.contains("lines") { Err("it asks for lines".into()) } else { Ok(()) }
    }

    fn instant(&self, expr: &str, at_ms: i64) -> Result<Vec<(Labels, f64)>, String> {
        assert!((T0 - 15_000..=T0 - 5_000).contains(&at_ms), "{at_ms}: the offset counts");
        let of = |app: &str| (Labels::from_pairs([("app", app)]).unwrap(), expr.len() as f64);
        Ok(vec![of("a"), of("b")])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_over_logs_record_series_and_raise_alerts() {
    let world = World::new();
    let path = world.dir.path().join("logs.yaml");
    let rules = "groups: [{name: l, interval: 10s, query_offset: 5s, rules: [{record: app:lines, expr: count}, \
                 {alert: Loud, expr: counts, labels: {app: \"{{ $labels.app }}!\"}}]}]";
    std::fs::write(&path, rules).unwrap();
    let config = || RulesConfig { log_files: vec![path.display().to_string()], ..RulesConfig::default() };
    let Err(refused) = world.start(config()) else { panic!("there is no log store") };
    assert!(refused[0].message.contains("no log store"), "{refused:?}");
    let (handle, stop) = world.start_with(config(), Some(Arc::new(Letters))).unwrap();
    until("both rules are evaluated", || {
        handle.groups()[0].rules.iter().all(|rule| rule.health == Health::Ok)
    })
    .await;
    until("the series is stored", || world.names() == ["ALERTS", "ALERTS_FOR_STATE", "app:lines"]).await;
    let RuleKind::Alerting { alerts, .. } = &handle.groups()[0].rules[1].kind else { panic!("not an alert") };
    let labels: Vec<String> = alerts.iter().map(|alert| alert.labels.to_string()).collect();
    assert_eq!(labels, [r#"{alertname="Loud", app="a!"}"#, r#"{alertname="Loud", app="b!"}"#]);
    assert_eq!(alerts[0].value, 6.0);
    std::fs::write(&path, rules.replace("expr: counts", "expr: lines")).unwrap();
    let error = handle.reload().await.unwrap_err();
    assert!(error.contains("logs.yaml:1: rule \"Loud\": expr: it asks for lines"), "{error}");
    let _ = stop.send(());
    handle.stopped().await;
}
