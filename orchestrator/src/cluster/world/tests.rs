use std::sync::Arc;

use binnacle_proto::node::{ContainerStatus, PodStatus, Resources};

use super::*;
use crate::cluster::objects::{Amount, Budget, BudgetRule, Key, Run};
use crate::cluster::world::view::budgets_allow;
use crate::decide::{Container, PodTemplate, Selector};

const NOW: i64 = 100_000_000;

fn definition() -> Arc<Definition> {
    let template = PodTemplate {
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        containers: vec![Container {
            name: "main".into(),
            requests: Default::default(),
            limits: Default::default(),
        }],
        node_selector: BTreeMap::new(),
        node_affinity: Vec::new(),
        anti_affinity: Vec::new(),
        tolerations: Vec::new(),
        node_name: None,
        priority: 0,
    };
    let run = Run {
        containers: Vec::new(),
        volumes: Vec::new(),
        restart_policy: "Always".into(),
        termination_grace_seconds: 1,
    };
    Arc::new(Definition { template: Arc::new(template), run })
}

fn owner() -> Owner {
    Owner::Deployment { name: "web".into(), template_hash: "hash".into() }
}

fn world() -> World {
    World::new(State::default(), config::Cluster::default(), Ids::seeded(7), NOW)
}

/// A world with one pod bound to `alpha`.
fn with_pod() -> (World, String) {
    let mut world = world();
    let name = world.pod_name("web", "hash");
    let uid = world.create("default", name, owner(), &definition(), NOW);
    world.bind(&uid, "alpha", NOW);
    (world, uid)
}

fn node(last_seen_ms: i64, pods: Option<Vec<PodStatus>>) -> Node {
    Node {
        name: "alpha".into(),
        capacity: Resources { cpu_millis: 1000, memory_bytes: 1 << 30 },
        connected: true,
        runs_pods: true,
        last_seen_ms,
        pods,
        ..Node::default()
    }
}

fn status(uid: &str, phase: &str, ready: bool) -> PodStatus {
    let container = ContainerStatus { name: "main".into(), running: true, ready, ..Default::default() };
    PodStatus {
        uid: uid.into(),
        phase: phase.into(),
        started_ms: NOW,
        containers: vec![container],
        ..Default::default()
    }
}

#[test]
fn names_and_uids_have_kubernetes_shape_and_differ() {
    let mut world = world();
    let (a, b) = (world.pod_name("web", "7d9f"), world.pod_name("web", "7d9f"));
    assert_ne!(a, b);
    assert!(a.starts_with("web-7d9f-") && a.len() == "web-7d9f-".len() + 5, "{a}");
    let mut ids = Ids::random();
    let (x, y) = (ids.uid(), ids.uid());
    assert_ne!(x, y);
    assert_eq!(x.len(), 36);
    assert_eq!(x.as_bytes()[14], b'4');
}

#[test]
fn a_report_sets_phase_and_readiness() {
    let (mut world, uid) = with_pod();
    world.observe(vec![node(NOW, Some(vec![status(&uid, "Running", false)]))], NOW);
    assert_eq!((world.state.pods[&uid].phase, world.state.pods[&uid].ready), (Phase::Running, Some(false)));
    world.observe(vec![node(NOW, Some(vec![status(&uid, "Running", true)]))], NOW + 5_000);
    let pod = &world.state.pods[&uid];
    assert_eq!((pod.ready, pod.ready_changed_ms, pod.started_ms), (Some(true), NOW + 5_000, Some(NOW)));
    // The same again is no change.
    world.observe(vec![node(NOW, Some(vec![status(&uid, "Running", true)]))], NOW + 9_000);
    assert_eq!(world.state.pods[&uid].ready_changed_ms, NOW + 5_000);
}

#[test]
fn a_pod_that_the_node_does_not_list_is_not_gone_unless_it_was_to_end() {
    let (mut world, uid) = with_pod();
    world.observe(vec![node(NOW, Some(vec![]))], NOW);
    assert!(world.state.pods.contains_key(&uid));
    world.end(&uid, NOW);
    world.observe(vec![node(NOW, None)], NOW);
    assert!(world.state.pods.contains_key(&uid), "no report is not an empty report");
    world.observe(vec![node(NOW, Some(vec![status(&uid, "Running", true)]))], NOW);
    assert!(world.state.pods.contains_key(&uid), "it still ends");
    world.observe(vec![node(NOW, Some(vec![]))], NOW);
    assert!(!world.state.pods.contains_key(&uid));
}

#[test]
fn a_silent_node_first_loses_readiness_and_then_its_pods() {
    let (mut world, uid) = with_pod();
    world.observe(vec![node(NOW, Some(vec![status(&uid, "Running", true)]))], NOW);
    let silent = || vec![node(NOW, Some(vec![]))];
    assert!(world.observe(silent(), NOW + 40_000).is_empty());
    assert_eq!(world.state.pods[&uid].phase, Phase::Running);
    world.observe(silent(), NOW + 41_000);
    assert_eq!((world.state.pods[&uid].phase, world.state.pods[&uid].ready), (Phase::Unknown, Some(false)));
    assert!(!world.view(&Objects::default(), NOW + 41_000).nodes[0].ready);
    // It comes back in time: nothing was replaced.
    world.observe(vec![node(NOW + 60_000, Some(vec![status(&uid, "Running", true)]))], NOW + 60_000);
    assert_eq!(world.state.pods[&uid].phase, Phase::Running);
    let ended = world.observe(vec![node(NOW + 60_000, None)], NOW + 60_000 + 340_001);
    assert_eq!(ended[0].reason, "NodeLost");
    assert_eq!(world.state.pods[&uid].phase, Phase::Failed);
}

#[test]
fn a_restart_of_the_server_gives_nodes_time_to_come_back() {
    let (world, uid) = with_pod();
    let later = NOW + 3_600_000;
    let mut again = World::new(world.state, config::Cluster::default(), Ids::seeded(8), later);
    again.observe(Vec::new(), later + 30_000);
    assert_eq!(again.state.pods[&uid].phase, Phase::Pending, "as it was");
    again.observe(vec![node(later + 31_000, Some(vec![status(&uid, "Running", true)]))], later + 31_000);
    assert_eq!(again.state.pods[&uid].phase, Phase::Running);
    assert_eq!(again.state.pods.len(), 1);
}

#[test]
fn replicas_set_by_the_scaler_hold_until_the_manifest_changes() {
    let mut world = world();
    assert_eq!(world.replicas("default/web", 1), 1);
    world.scale("default/web", 4);
    assert_eq!(world.replicas("default/web", 1), 4);
    assert_eq!(world.replicas("default/web", 2), 2);
}

#[test]
fn what_is_over_for_long_is_forgotten_with_its_definition() {
    let (mut world, uid) = with_pod();
    let mut failed = status(&uid, "Failed", false);
    failed.reason = "Evicted".into();
    let ended = world.observe(vec![node(NOW, Some(vec![failed]))], NOW);
    assert_eq!(ended[0].reason, "Evicted");
    world.tidy(&Objects::default(), NOW + 599_000);
    assert_eq!((world.state.pods.len(), world.state.definitions.len()), (1, 1));
    world.tidy(&Objects::default(), NOW + 600_001);
    assert_eq!((world.state.pods.len(), world.state.definitions.len()), (0, 0));
}

#[test]
fn budgets_keep_what_they_should() {
    let mut world = world();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let name = world.pod_name("web", "hash");
        let uid = world.create("default", name, owner(), &definition(), NOW);
        world.bind(&uid, "alpha", NOW);
        statuses.push(status(&uid, "Running", true));
    }
    let allowed = |world: &mut World, statuses: &[PodStatus], rule| {
        world.observe(vec![node(NOW, Some(statuses.to_vec()))], NOW);
        let mut objects = Objects::default();
        objects.budgets.insert(Key::new("default", "b"), Budget { selector: Selector::default(), rule });
        let view = world.view(&objects, NOW);
        let pod = view.pods.iter().find(|p| p.uid == statuses[0].uid).unwrap();
        budgets_allow(&view, &objects, pod, NOW)
    };
    assert!(allowed(&mut world, &statuses, BudgetRule::MinAvailable(Amount::Count(2))));
    assert!(!allowed(&mut world, &statuses, BudgetRule::MinAvailable(Amount::Count(3))));
    assert!(allowed(&mut world, &statuses, BudgetRule::MaxUnavailable(Amount::Count(1))));
    statuses[1].containers[0].ready = false;
    assert!(!allowed(&mut world, &statuses, BudgetRule::MaxUnavailable(Amount::Count(1))));
    assert!(
        !allowed(&mut world, &statuses, BudgetRule::MinAvailable(Amount::Percent(50))),
        "two of three, rounded up"
    );
}
