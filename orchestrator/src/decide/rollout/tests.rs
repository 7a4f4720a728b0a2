use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::decide::{Container, Owner, PodTemplate, Resources, Selector};

const NOW: i64 = 1_000_000;

fn template() -> Arc<PodTemplate> {
    let container =
        Container { name: "c".into(), requests: Resources::default(), limits: Resources::default() };
    Arc::new(PodTemplate {
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        containers: vec![container],
        node_selector: BTreeMap::new(),
        node_affinity: Vec::new(),
        anti_affinity: Vec::new(),
        tolerations: Vec::new(),
        node_name: None,
        priority: 0,
    })
}

fn deployment(replicas: u32, rollout: Rollout) -> DeploymentView {
    DeploymentView {
        namespace: "default".into(),
        name: "web".into(),
        replicas,
        selector: Selector::default(),
        template: template(),
        template_hash: "new".into(),
        rollout,
        min_ready_ms: 0,
    }
}

fn rolling(max_surge: u32, max_unavailable: u32) -> Rollout {
    Rollout::Rolling { max_surge, max_unavailable }
}

fn pod(name: &str, hash: &str) -> PodView {
    PodView {
        uid: name.into(),
        namespace: "default".into(),
        name: name.into(),
        owner: Owner::Deployment { name: "web".into(), template_hash: hash.into() },
        template: template(),
        node: Some("alpha".into()),
        phase: Phase::Running,
        ready: Some(true),
        ready_changed_ms: NOW - 100_000,
        created_ms: NOW - 100_000,
        bound_ms: Some(NOW - 100_000),
        started_ms: Some(NOW - 100_000),
        restarts: 0,
        deleting: false,
    }
}

fn run(deployment: &DeploymentView, pods: &[PodView]) -> (u32, Vec<String>) {
    let plan = decide(deployment, &pods.iter().collect::<Vec<_>>(), NOW);
    (plan.create, plan.end)
}

#[test]
fn missing_and_failed_pods_are_made_anew() {
    let mut pods = vec![pod("a", "new"), pod("b", "new"), pod("c", "new")];
    pods[1].phase = Phase::Failed;
    pods[2].deleting = true;
    assert_eq!(run(&deployment(3, rolling(1, 0)), &pods), (2, vec![]));
    assert_eq!(run(&deployment(0, rolling(1, 0)), &[]), (0, vec![]));
}

#[test]
fn shrinking_ends_the_least_useful_first() {
    let mut pods: Vec<PodView> = ["a", "b", "c", "d", "e", "f"].map(|name| pod(name, "new")).into();
    pods[0].node = None;
    pods[0].phase = Phase::Pending;
    pods[1].phase = Phase::Pending;
    pods[2].ready = Some(false);
    pods[3].node = Some("beta".into());
    pods[4].ready_changed_ms = NOW - 5_000;
    // f is older and alpha is the more crowded node: d on beta stays longest.
    let order = ["a", "b", "c", "e", "f", "d"];
    for keep in 0..6u32 {
        let (_, end) = run(&deployment(keep, rolling(1, 0)), &pods);
        assert_eq!(end, order[..6 - keep as usize], "keeping {keep}");
    }
}

#[test]
fn the_cost_of_deletion_is_respected() {
    let mut pods = [pod("a", "new"), pod("b", "new")];
    let annotations = &mut Arc::make_mut(&mut pods[0].template).annotations;
    annotations.insert(DELETION_COST_ANNOTATION.into(), "-5".into());
    assert_eq!(run(&deployment(1, rolling(1, 0)), &pods).1, ["a"]);
}

#[test]
fn a_new_template_rolls_out_without_fewer_available_pods() {
    let deployment = deployment(3, rolling(1, 0));
    let mut pods = vec![pod("a", "old"), pod("b", "old"), pod("c", "old")];
    let (mut ended, mut made) = (0, 0);
    for round in 0..20 {
        let (create, end) = run(&deployment, &pods);
        let available = |pods: &[PodView]| pods.iter().filter(|p| is_available(p, 0, NOW)).count();
        pods.retain(|p| !end.contains(&p.uid));
        ended += end.len();
        assert!(available(&pods) >= 3, "round {round}");
        // What was made a round ago becomes ready.
        for p in pods.iter_mut().filter(|p| !p.is_ready()) {
            p.phase = Phase::Running;
            p.ready = Some(true);
        }
        for _ in 0..create {
            made += 1;
            let mut new = pod(&format!("n{made}"), "new");
            new.phase = Phase::Pending;
            new.ready = None;
            pods.push(new);
        }
        assert!(pods.len() <= 4, "round {round}");
    }
    assert_eq!((made, ended), (3, 3));
    assert!(pods.iter().all(|p| p.owner.template_hash() == "new"));
}

#[test]
fn a_new_template_that_does_not_get_ready_leaves_the_old_pods() {
    let deployment = deployment(3, rolling(1, 0));
    let mut broken = pod("n", "new");
    broken.ready = Some(false);
    let pods = [pod("a", "old"), pod("b", "old"), pod("c", "old"), broken];
    assert_eq!(run(&deployment, &pods), (0, vec![]));
}

#[test]
fn unavailable_old_pods_go_first_in_a_rollout() {
    let deployment = deployment(3, rolling(0, 1));
    let mut pods = vec![pod("a", "old"), pod("b", "old"), pod("c", "old")];
    pods[2].ready = Some(false);
    assert_eq!(run(&deployment, &pods).1, ["c"]);
}

#[test]
fn recreate_waits_for_the_end_of_all_old_pods() {
    let deployment = deployment(2, Rollout::Recreate);
    let mut pods = vec![pod("a", "old"), pod("b", "old")];
    assert_eq!(run(&deployment, &pods), (0, vec!["a".to_owned(), "b".to_owned()]));
    pods[0].deleting = true;
    pods[1].phase = Phase::Failed;
    assert_eq!(run(&deployment, &pods), (0, vec![]));
    pods.remove(0);
    assert_eq!(run(&deployment, &pods), (2, vec![]));
}

#[test]
fn a_pod_is_available_after_its_time() {
    let mut p = pod("a", "new");
    p.ready_changed_ms = NOW - 9_999;
    assert!(!is_available(&p, 10_000, NOW));
    p.ready_changed_ms = NOW - 10_000;
    assert!(is_available(&p, 10_000, NOW));
}
