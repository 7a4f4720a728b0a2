use std::collections::BTreeMap;
use std::sync::Arc;

use binnacle_proto::Labels;
use binnacle_tsdb::{Engine, MemorySource};

use super::*;
use crate::decide::hpa::{
    Behavior, HpaSpec, MetricSource, MetricSpec, MetricTarget, MetricValues, ResourceKind,
};
use crate::decide::{Container, NodeView, Owner, Phase, PodTemplate, PodView, Resources};
use hpa::PodReading;

const NOW: i64 = 1_000_000_000;

fn series(
    source: &mut MemorySource,
    name: &str,
    labels: &[(&str, &str)],
    value: impl Fn(i64) -> f64,
    ages: std::ops::RangeInclusive<i64>,
) {
    let labels = Labels::from_pairs(labels.iter().copied().chain([("__name__", name)])).unwrap();
    for age_s in ages {
        source.append(labels.clone(), NOW - age_s * 1000, value(-age_s));
    }
}

/// CPU seconds of a container that uses `cores`, sampled every second.
fn cpu(
    source: &mut MemorySource,
    pod: &str,
    container: &str,
    cores: f64,
    ages: std::ops::RangeInclusive<i64>,
) {
    let labels = [("namespace", "default"), ("pod", pod), ("container", container), ("id", pod)];
    series(source, "container_cpu_usage_seconds_total", &labels, |t| 1e6 + cores * t as f64, ages);
}

fn pod(name: &str, containers: &[&str]) -> PodView {
    let container = |name: &&str| Container {
        name: (*name).into(),
        requests: Resources::of(100, 1),
        limits: Resources::default(),
    };
    PodView {
        uid: name.into(),
        namespace: "default".into(),
        name: name.into(),
        owner: Owner::Deployment { name: "web".into(), template_hash: "h".into() },
        template: Arc::new(PodTemplate {
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            containers: containers.iter().map(container).collect(),
            node_selector: BTreeMap::new(),
            node_affinity: Vec::new(),
            anti_affinity: Vec::new(),
            tolerations: Vec::new(),
            node_name: None,
            priority: 0,
        }),
        node: None,
        phase: Phase::Running,
        ready: Some(true),
        ready_changed_ms: 0,
        created_ms: 0,
        bound_ms: None,
        started_ms: None,
        restarts: 0,
        deleting: false,
    }
}

fn spec(source: MetricSource) -> HpaSpec {
    HpaSpec {
        namespace: "default".into(),
        name: "web".into(),
        target: "web".into(),
        min_replicas: 1,
        max_replicas: 9,
        metrics: vec![MetricSpec { source, target: MetricTarget::Utilization(50) }],
        behavior: Behavior::default(),
    }
}

fn ask_one(source: MemorySource, metric: MetricSource, pods: &[PodView]) -> hpa::Signal {
    let prom = Prom::new(Engine::default(), source);
    let config = hpa::Config { cpu_window_ms: 60_000, max_age_ms: 30_000 };
    hpa::ask(&prom, &spec(metric), &pods.iter().collect::<Vec<_>>(), &config, NOW).remove(0)
}

#[test]
fn a_pod_counts_only_with_a_fresh_value_of_every_container() {
    let mut source = MemorySource::new();
    cpu(&mut source, "whole", "main", 0.25, 1..=120);
    cpu(&mut source, "whole", "side", 0.5, 2..=120);
    cpu(&mut source, "half", "main", 0.25, 1..=120);
    cpu(&mut source, "late", "main", 0.25, 40..=120);
    cpu(&mut source, "late", "side", 0.25, 1..=120);
    let pods = ["whole", "half", "late", "none"].map(|name| pod(name, &["main", "side"]));
    let signal = ask_one(source, MetricSource::Resource(ResourceKind::Cpu), &pods);
    assert_eq!(signal.asked.iter().filter_map(|a| a.error.as_ref()).count(), 0, "{:?}", signal.asked);
    let MetricValues::Pods(values) = &signal.values else { panic!("{signal:?}") };
    assert_eq!(values.keys().collect::<Vec<_>>(), ["whole"]);
    // `rate` extrapolates to the ends of its window, so it is near and not exact.
    assert!((values["whole"].milli - 750).abs() <= 25, "{values:?}");
    assert_eq!(values["whole"].t_ms, NOW - 2_000);
    assert_eq!(signal.pods["half"], PodReading::Missing);
    assert_eq!(signal.pods["late"], PodReading::Stale { age_ms: 40_000 });
    assert_eq!(signal.pods["none"], PodReading::Missing);
}

#[test]
fn one_container_alone_can_be_asked_for() {
    let mut source = MemorySource::new();
    cpu(&mut source, "web-1", "main", 0.25, 1..=120);
    cpu(&mut source, "web-1", "side", 0.5, 1..=120);
    let metric = MetricSource::ContainerResource { resource: ResourceKind::Cpu, container: "side".into() };
    let signal = ask_one(source, metric, &[pod("web-1", &["main", "side"])]);
    let MetricValues::Pods(values) = &signal.values else { panic!("{signal:?}") };
    assert!((values["web-1"].milli - 500).abs() <= 15, "{values:?}");
}

#[test]
fn a_query_without_answer_is_unavailable_and_not_zero() {
    let external = |query: &str| MetricSource::External { name: "q".into(), query: query.into() };
    let mut source = MemorySource::new();
    series(&mut source, "queue", &[("a", "1")], |_| 2.0, 0..=10);
    series(&mut source, "queue", &[("a", "2")], |_| 3.5, 0..=10);
    let ask = |query: &str| ask_one(source.clone(), external(query), &[]).values;
    assert_eq!(ask("queue"), MetricValues::Single { milli: 5_500, t_ms: NOW });
    assert!(matches!(ask("nothing"), MetricValues::Unavailable(_)));
    assert!(matches!(ask("queue / 0 * 0"), MetricValues::Unavailable(_)));
    assert!(matches!(ask("queue +"), MetricValues::Unavailable(_)));
}

#[test]
fn working_sets_come_by_container_with_their_times() {
    let mut source = MemorySource::new();
    let id = format!("/kubepods/burstable/podx/{}", "ab".repeat(32));
    let labels = [("pod", "p"), ("container", "c"), ("id", id.as_str())];
    series(&mut source, "container_memory_working_set_bytes", &labels, |t| 1000.0 + t as f64, 0..=90);
    series(&mut source, "container_memory_working_set_bytes", &[("id", "/")], |_| 1.0, 0..=90);
    let signals = oom::ask(&Prom::new(Engine::default(), source), 20_000, NOW);
    assert_eq!(signals.asked.iter().filter_map(|a| a.error.as_ref()).count(), 0, "{:?}", signals.asked);
    assert_eq!(signals.working_sets.len(), 1);
    let points = &signals.working_sets[&"ab".repeat(32)];
    assert_eq!(points.last(), Some(&(NOW, 1000.0)));
    assert_eq!(points.len(), 20);
    assert!(signals.pressures.is_empty());
}

#[test]
fn load_is_a_share_of_the_capacity_with_the_age_of_its_samples() {
    let mut source = MemorySource::new();
    let root = [("id", "/"), ("node", "alpha")];
    series(&mut source, "container_cpu_usage_seconds_total", &root, |t| 1e6 + 0.5 * t as f64, 3..=600);
    series(&mut source, "container_memory_working_set_bytes", &root, |_| 512.0, 3..=600);
    cpu(&mut source, "web-1", "main", 0.25, 1..=120);
    let node = |name: &str| NodeView {
        name: name.into(),
        ready: true,
        capacity: Resources::of(2000, 1024),
        labels: BTreeMap::new(),
        taints: Vec::new(),
    };
    let config = crate::decide::schedule::Config::default();
    let prom = Prom::new(Engine::default(), source);
    let (asked, signals) = schedule::ask(&prom, &[node("alpha"), node("beta")], 60_000, &config, NOW);
    assert_eq!(asked.iter().filter_map(|a| a.error.as_ref()).count(), 0, "{asked:?}");
    let alpha = &signals.nodes["alpha"];
    assert!((alpha.cpu.mean.unwrap() - 0.25).abs() < 0.01, "{alpha:?}");
    assert!((alpha.memory.p95.unwrap() - 0.5).abs() < 1e-9, "{alpha:?}");
    assert_eq!(alpha.age_ms, Some(3_000));
    assert_eq!(signals.nodes["beta"].age_ms, None);
    assert_eq!(signals.nodes["beta"].cpu.mean, None);
    let pod = signals.pods[&("default".to_owned(), "web-1".to_owned())];
    assert!((pod.cpu_millis.unwrap() - 250.0).abs() < 1.0, "{pod:?}");
}

#[test]
fn text_in_queries_is_quoted() {
    assert_eq!(quote("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
}
