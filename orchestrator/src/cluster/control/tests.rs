//! The whole loop against a node that is played by the test.

use std::path::Path;

use binnacle_logs as logs;
use binnacle_proto::Labels;
use binnacle_proto::node::{
    Command, CommandResult, ContainerStatus, NodeEvent, NodeHello, PodSpec, PodStatus, Resources, command,
};
use binnacle_tsdb as tsdb;
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::Clock;
use crate::cluster::channel;
use crate::config::Config;
use crate::nodes::Registry;

const NOW: i64 = 1_790_000_000_000;

const WEB: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: main
          image: host
          command: [serve]
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {cpu: 200m, memory: 128Mi}
"#;

const HPA: &str = r#"apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 4
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}
"#;

/// Stores, a folder of manifests and a clock, which outlive a restart of the controllers.
struct Stage {
    dir: tempfile::TempDir,
    db: tsdb::Db,
    logs: logs::Db,
    clock: Clock,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("manifests")).unwrap();
        let db = tsdb::Db::open(tsdb::Config { dir: dir.path().join("tsdb"), ..Default::default() }).unwrap();
        let logs =
            logs::Db::open(logs::Config { dir: dir.path().join("logs"), ..Default::default() }).unwrap();
        Self { dir, db, logs, clock: Clock::manual(NOW) }
    }

    fn manifest(&self, name: &str, text: &str) {
        std::fs::write(self.path().join("manifests").join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the controllers and a node with a gigabyte.
    fn start(&self) -> Play {
        let registry = Registry::detached(self.clock.clone());
        let mut config = Config::default();
        config.server.data_dir = self.path().to_owned();
        config.cluster.manifests = Some(self.path().join("manifests"));
        config.cluster.manifests_interval_ms = 100;
        config.oom.interval_ms = 1_000;
        let (handle, desk) = channel();
        let deps = Deps {
            db: self.db.clone(),
            engine: tsdb::Engine::default(),
            logs: self.logs.clone(),
            registry: registry.clone(),
            config: Arc::new(config),
            clock: self.clock.clone(),
            desk,
        };
        let controller = Controller::new(deps).unwrap();
        let capacity = Some(Resources { cpu_millis: 1000, memory_bytes: 1 << 30 });
        let hello = NodeHello { session: 1, runs_pods: true, capacity, ..Default::default() };
        let commands = registry.connect("alpha", 1, hello).unwrap();
        Play {
            controller,
            registry,
            commands,
            handle,
            now_ms: self.clock.now_ms(),
            clock: self.clock.clone(),
        }
    }

    async fn sample(&self, labels: &[(&str, &str)], t_ms: i64, value: f64) {
        let labels = Labels::from_pairs(labels.iter().copied()).unwrap();
        let series = self.db.resolve(&labels).unwrap();
        self.db.append(vec![tsdb::Sample { series, t_ms, value }], t_ms).await.unwrap();
    }

    /// Records of the journal, oldest first.
    fn journal(&self, decision: &str) -> Vec<Value> {
        let query = logs::LogQuery {
            text: format!(r#"{{job="binnacle", source="journal", decision="{decision}"}}"#),
            start_ns: 0,
            end_ns: (NOW + 3_600_000) * 1_000_000,
            step_ns: 0,
            limit: 1_000,
            direction: logs::Direction::Forward,
        };
        let logs::Value::Streams(streams) = self.logs.query(&query).unwrap().value else {
            panic!("no lines")
        };
        let mut entries: Vec<_> = streams.into_iter().flat_map(|s| s.entries).collect();
        entries.sort_by_key(|entry| entry.time_ns);
        entries.iter().map(|entry| serde_json::from_slice(&entry.line).unwrap()).collect()
    }

    fn value(&self, query: &str, at_ms: i64) -> Option<f64> {
        use crate::signals::Ask;
        let prom = Prom::new(tsdb::Engine::default(), self.db.clone());
        prom.vector(query, at_ms).unwrap().first().map(|sample| sample.value)
    }
}

struct Play {
    controller: Controller,
    registry: Registry,
    commands: mpsc::Receiver<Command>,
    handle: crate::cluster::Handle,
    now_ms: i64,
    clock: Clock,
}

impl Play {
    async fn tick(&mut self) {
        self.now_ms += 1_000;
        self.clock.set(self.now_ms);
        self.controller.tick(self.now_ms).await;
    }

    fn assigned(&self) -> Vec<PodSpec> {
        self.registry.assigned("alpha").unwrap_or_default()
    }

    /// The node runs all that it is told to.
    fn run_all(&self, memory_limit_bytes: u64) {
        let status = |pod: PodSpec| PodStatus {
            uid: pod.uid.clone(),
            namespace: pod.namespace,
            name: pod.name,
            phase: "Running".into(),
            started_ms: NOW - 3_600_000,
            containers: vec![ContainerStatus {
                name: "main".into(),
                id: pod.uid,
                running: true,
                ready: true,
                oom_score_adj: 938,
                memory_limit_bytes,
                ..Default::default()
            }],
            ..Default::default()
        };
        self.registry.report_pods("alpha", 1, self.assigned().into_iter().map(status).collect());
    }

    /// The next command that is no assignment.
    async fn command(&mut self) -> Command {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(5), self.commands.recv()).await;
            let command = next.expect("a command").expect("the stream is open");
            if !matches!(command.what, Some(command::What::Assigned(_))) {
                return command;
            }
        }
    }
}

fn uids(pods: &[PodSpec]) -> Vec<&str> {
    pods.iter().map(|pod| pod.uid.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_runs_and_is_adopted_after_a_restart() {
    let stage = Stage::new();
    stage.manifest("web.yaml", WEB);
    let mut play = stage.start();
    play.tick().await;
    let first = play.assigned();
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].containers[0].argv, ["serve"]);
    assert_eq!(first[0].qos_class, "Burstable");
    assert_eq!(first[0].containers[0].limits.unwrap().memory_bytes, 128 << 20);
    play.run_all(128 << 20);
    play.tick().await;
    assert_eq!(play.handle.status().deployments[0]["readyReplicas"], 2);

    // Another server with the same data folder: same pods, nothing made twice.
    drop(play);
    let mut again = stage.start();
    assert_eq!(again.assigned(), [], "nothing is told before something was decided");
    again.tick().await;
    assert_eq!(uids(&again.assigned()), uids(&first));
    again.run_all(128 << 20);
    for _ in 0..3 {
        again.tick().await;
    }
    assert_eq!(uids(&again.assigned()), uids(&first));
    let records = stage.journal("schedule");
    assert_eq!(records.len(), 2, "{records:?}");
    for record in records {
        assert_eq!((record["action"].as_str(), record["chosen"].as_str()), (Some("bind"), Some("alpha")));
        assert!(record["query"].as_array().is_some_and(|queries| !queries.is_empty()));
        assert!(!record["reason"].as_str().unwrap_or_default().is_empty());
    }
    assert_eq!(
        stage.value("kube_deployment_status_replicas_available{deployment=\"web\"}", NOW + 9_000),
        Some(2.0)
    );
    assert_eq!(stage.value("count(binnacle_schedule_score)", NOW + 9_000), Some(2.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_manifest_stops_nothing_and_is_reported() {
    let stage = Stage::new();
    stage.manifest("web.yaml", WEB);
    let mut play = stage.start();
    play.tick().await;
    play.run_all(0);
    let before = play.assigned();
    stage.manifest("web.yaml", &WEB.replace("replicas: 2", "replicas: lots of them"));
    play.tick().await;
    assert_eq!(play.assigned(), before);
    let refused = play.handle.status().refused.clone();
    assert!(refused[0].contains("web.yaml:5: spec.replicas: "), "{refused:?}");
    // Taken away, the pods end.
    std::fs::remove_file(stage.path().join("manifests/web.yaml")).unwrap();
    play.tick().await;
    assert_eq!(play.assigned(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_pod_is_replaced() {
    let stage = Stage::new();
    stage.manifest("web.yaml", WEB);
    let mut play = stage.start();
    play.tick().await;
    let before = play.assigned();
    let failed = PodStatus {
        uid: before[0].uid.clone(),
        phase: "Failed".into(),
        reason: "Evicted".into(),
        ..Default::default()
    };
    play.registry.report_pods("alpha", 1, vec![failed]);
    play.tick().await;
    let after = play.assigned();
    assert_eq!(after.len(), 2);
    assert!(!uids(&after).contains(&before[0].uid.as_str()));
    assert!(uids(&after).contains(&before[1].uid.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_of_objects_end_with_them() {
    let stage = Stage::new();
    stage.manifest("web.yaml", WEB);
    let mut play = stage.start();
    play.tick().await;
    play.run_all(0);
    assert_eq!(stage.value("count(kube_pod_info)", play.now_ms), Some(2.0));
    stage.manifest("web.yaml", &WEB.replace("replicas: 2", "replicas: 1 # one"));
    play.tick().await;
    play.run_all(0);
    for _ in 0..6 {
        play.tick().await;
    }
    assert_eq!(stage.value("count(kube_pod_info)", play.now_ms), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scaler_follows_cpu_and_says_why() {
    let stage = Stage::new();
    stage.manifest("web.yaml", WEB);
    stage.manifest("hpa.yaml", HPA);
    let mut play = stage.start();
    play.tick().await;
    play.run_all(0);
    let pods = play.assigned();
    // Each uses 90 of the 100 millicores that it requested; ready long enough to be judged.
    for t in (0..=90).step_by(5) {
        for pod in &pods {
            let labels = [
                ("__name__", "container_cpu_usage_seconds_total"),
                ("namespace", "default"),
                ("pod", pod.name.as_str()),
                ("container", "main"),
                ("node", "alpha"),
            ];
            stage.sample(&labels, NOW + t * 1000, 100.0 + 0.09 * t as f64).await;
        }
    }
    // The node is heard of all the time; its pods have been ready for as long.
    for t in (10..=90).step_by(10) {
        play.now_ms = NOW + t * 1000;
        play.clock.set(play.now_ms);
        play.run_all(0);
        play.controller.world.observe(play.registry.snapshot(), play.now_ms);
    }
    play.tick().await;
    assert_eq!(play.assigned().len(), 4, "90% against 50%");
    let records = stage.journal("hpa");
    let scaled = records.iter().find(|r| r["action"] == "scale_up").expect("a record of the scaling");
    assert_eq!((scaled["current"].as_u64(), scaled["desired"].as_u64()), (Some(2), Some(4)));
    assert!(scaled["reason"].as_str().unwrap_or_default().contains("above target"), "{scaled}");
    assert!(scaled["query"][0].as_str().unwrap_or_default().contains("rate(container_cpu_usage"), "{scaled}");
    assert_eq!(scaled["values"][0]["value"], 90.0);
    assert_eq!(stage.value("binnacle_hpa_desired_replicas", play.now_ms), Some(4.0));
    // The first record: no metric yet, so nothing moved.
    assert_eq!(records[0]["action"], "none");
    assert_eq!(play.handle.status().hpas[0]["desiredReplicas"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_is_seen_coming_and_met() {
    let stage = Stage::new();
    stage.manifest("web.yaml", &WEB.replace("replicas: 2", "replicas: 1"));
    let mut play = stage.start();
    play.tick().await;
    let pod = play.assigned().remove(0);
    let labels = [
        ("__name__", "container_memory_working_set_bytes"),
        ("namespace", "default"),
        ("pod", pod.name.as_str()),
        ("container", "main"),
        ("node", "alpha"),
        ("id", pod.uid.as_str()),
    ];
    for t in 0..20i64 {
        stage.sample(&labels, NOW + t * 1000, ((80 + 2 * t) << 20) as f64).await;
    }
    play.now_ms = NOW + 19_000;
    play.run_all(128 << 20);
    play.tick().await;
    // 118 of 128 MiB at 2 MiB a second: it is marked, and ended in order. Commands are under way at
    // the same time, so either may come first.
    let (mut marked, mut evicted) = (false, false);
    for _ in 0..2 {
        let command = play.command().await;
        let observed = match &command.what {
            Some(command::What::SetOomScoreAdj(set)) => {
                assert_eq!((&set.pod_uid, set.container.as_str(), set.value), (&pod.uid, "main", 999));
                marked = true;
                "999"
            }
            Some(command::What::Evict(evict)) => {
                assert_eq!((&evict.pod_uid, evict.reason.as_str()), (&pod.uid, "Evicted"));
                evicted = true;
                "gone"
            }
            other => panic!("{other:?}"),
        };
        let result =
            CommandResult { id: command.id.clone(), observed: observed.into(), ..Default::default() };
        play.registry.report_result("alpha", 1, result);
    }
    assert!(marked && evicted);
    let event = NodeEvent {
        time_ms: play.now_ms,
        reason: "OOMKilled".into(),
        namespace: "default".into(),
        pod: pod.name.clone(),
        ..Default::default()
    };
    play.registry.report_event("alpha", 1, event);
    tokio::time::timeout(Duration::from_secs(5), async {
        while stage.journal("oom").len() < 3 {
            play.now_ms -= 999;
            play.tick().await;
        }
    })
    .await
    .expect("three records");
    let records = stage.journal("oom");
    let of = |field: &str, value: &str| records.iter().find(|r| r[field] == value).expect(value);
    assert_eq!(of("action", "set_oom_score_adj")["result"]["observed"], "999");
    assert_eq!(of("action", "evict")["result"]["observed"], "gone");
    assert_eq!(of("event", "OOMKilled")["pod"], pod.name.as_str());
    assert!(stage.value("binnacle_oom_time_to_oom_seconds", NOW + 21_000).unwrap() < 6.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_told_nothing_that_is_not_durable() {
    let stage = Stage::new();
    stage.manifest("web.yaml", WEB);
    let mut play = stage.start();
    play.tick().await;
    play.run_all(0);
    let before = play.assigned();
    std::fs::remove_dir_all(stage.path().join("cluster")).unwrap();
    stage.manifest("web.yaml", &WEB.replace("replicas: 2", "replicas: 3 # more"));
    play.tick().await;
    assert_eq!(play.assigned(), before);
    std::fs::create_dir(stage.path().join("cluster")).unwrap();
    play.tick().await;
    assert_eq!(play.assigned().len(), 3);
}
