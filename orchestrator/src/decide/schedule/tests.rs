use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decide::{
    Container, NodeView, Owner, Phase, PodTemplate, Requirement, RequirementTest, Selector, Taint, Toleration,
};

const NOW: i64 = 10_000_000;
const GIB: u64 = 1 << 30;

fn node(name: &str) -> NodeView {
    NodeView {
        name: name.into(),
        ready: true,
        capacity: Resources::of(1000, 2 * GIB),
        labels: BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.to_owned())]),
        taints: Vec::new(),
    }
}

fn pod(name: &str, cpu_millis: u64, on: Option<&str>) -> PodView {
    let container = Container {
        name: "main".into(),
        requests: Resources::of(cpu_millis, 64 << 20),
        limits: Resources::default(),
    };
    PodView {
        uid: format!("uid-{name}"),
        namespace: "default".into(),
        name: name.into(),
        owner: Owner::Deployment { name: "web".into(), template_hash: "h".into() },
        template: Arc::new(PodTemplate {
            labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            annotations: BTreeMap::new(),
            containers: vec![container],
            node_selector: BTreeMap::new(),
            node_affinity: Vec::new(),
            anti_affinity: Vec::new(),
            tolerations: Vec::new(),
            node_name: None,
            priority: 0,
        }),
        node: on.map(str::to_owned),
        phase: if on.is_some() { Phase::Running } else { Phase::Pending },
        ready: None,
        ready_changed_ms: 0,
        created_ms: NOW - 3_600_000,
        bound_ms: on.map(|_| NOW - 3_600_000),
        started_ms: None,
        restarts: 0,
        deleting: false,
    }
}

fn load(cpu: f64, age_ms: i64) -> NodeLoad {
    let usage = |share| Usage::of_points(&[share], &[share], 1.0);
    NodeLoad { cpu: usage(cpu), memory: usage(0.2), age_ms: Some(age_ms) }
}

fn view(pods: Vec<PodView>) -> ClusterView {
    ClusterView { nodes: vec![node("alpha"), node("beta")], pods, deployments: Vec::new() }
}

fn loads(alpha: NodeLoad, beta: NodeLoad) -> Signals {
    let nodes = BTreeMap::from([("alpha".to_owned(), alpha), ("beta".to_owned(), beta)]);
    Signals { nodes, pods: BTreeMap::new() }
}

fn place_all(view: &ClusterView, signals: &Signals) -> Vec<Option<String>> {
    decide(view, signals, &Config::default(), NOW).into_iter().map(|d| d.node).collect()
}

fn to(node: &str) -> Option<String> {
    Some(node.to_owned())
}

#[test]
fn the_node_with_less_real_load_wins_whatever_was_requested() {
    // Much was requested on alpha, but beta is what is busy.
    let view = view(vec![pod("old", 600, Some("alpha")), pod("new", 100, None)]);
    assert_eq!(place_all(&view, &loads(load(0.1, 1000), load(0.8, 1000))), [to("alpha")]);
    // Without fresh series requests are all there is.
    assert_eq!(place_all(&view, &loads(load(0.1, 400_000), load(0.8, 400_000))), [to("beta")]);
    assert_eq!(place_all(&view, &Signals::default()), [to("beta")]);
}

#[test]
fn the_weight_of_series_falls_with_their_age() {
    let view = view(vec![pod("new", 100, None)]);
    let freshness = |age_ms| {
        let decision = decide(&view, &loads(load(0.5, age_ms), load(0.5, age_ms)), &Config::default(), NOW);
        decision[0].candidates[0].freshness
    };
    assert_eq!(freshness(30_000), 1.0);
    assert!((freshness(165_000) - 0.5).abs() < 1e-9);
    assert_eq!(freshness(300_000), 0.0);
}

#[test]
fn a_herd_does_not_go_to_one_node() {
    // Alpha is a little emptier; four pods at once must not all land there.
    let pods = (0..4).map(|i| pod(&format!("new-{i}"), 200, None)).collect();
    let placed = place_all(&view(pods), &loads(load(0.10, 1000), load(0.12, 1000)));
    let alpha = placed.iter().filter(|node| **node == to("alpha")).count();
    assert_eq!(alpha, 2, "{placed:?}");
}

#[test]
fn a_pod_that_was_just_bound_counts_though_the_series_do_not_show_it() {
    let mut fresh = pod("fresh", 300, Some("alpha"));
    fresh.bound_ms = Some(NOW - 2_000);
    let view = view(vec![fresh, pod("new", 100, None)]);
    let decision = &decide(&view, &loads(load(0.1, 1000), load(0.1, 1000)), &Config::default(), NOW)[0];
    assert_eq!(decision.node, to("beta"));
    let alpha = decision.candidates.iter().find(|c| c.node == "alpha").unwrap();
    assert!(alpha.unseen.0 > 250.0 && alpha.unseen.0 < 256.0, "85% of 300 millicores: {alpha:?}");
}

#[test]
fn a_pod_is_expected_to_use_what_its_siblings_use() {
    let view = view(vec![pod("old", 600, Some("alpha")), pod("new", 600, None)]);
    let mut signals = loads(load(0.1, 1000), load(0.1, 1000));
    let usage = PodUsage { cpu_millis: Some(42.0), memory_bytes: Some(1e6) };
    signals.pods.insert(("default".into(), "old".into()), usage);
    let decision = &decide(&view, &signals, &Config::default(), NOW)[0];
    assert_eq!((decision.estimate, decision.estimate_source), ((42.0, 1e6), EstimateSource::History));
    signals.pods.clear();
    let decision = &decide(&view, &signals, &Config::default(), NOW)[0];
    assert_eq!(decision.estimate_source, EstimateSource::Manifest);
    assert!((decision.estimate.0 - 510.0).abs() < 1e-9);
}

#[test]
fn filters_say_why() {
    let rejected = |change: &dyn Fn(&mut PodTemplate, &mut NodeView)| {
        let mut new = pod("new", 100, None);
        let mut alpha = node("alpha");
        change(Arc::make_mut(&mut new.template), &mut alpha);
        let old = pod("old", 500, Some("alpha"));
        let view = ClusterView { nodes: vec![alpha], pods: vec![old, new], deployments: Vec::new() };
        let decision = decide(&view, &Signals::default(), &Config::default(), NOW).remove(0);
        (decision.node.is_none(), decision.reason)
    };
    let none = |why: &str| (true, format!("0/1 nodes are available: 1 {why}"));
    let selector = |test| Selector(vec![Requirement { key: "app".into(), test }]);
    assert!(!rejected(&|_, _| {}).0);
    assert_eq!(rejected(&|t, _| t.containers[0].requests.cpu_millis = Some(501)), none("Insufficient cpu"));
    assert_eq!(
        rejected(&|t, _| t.containers[0].requests.memory_bytes = Some(2 * GIB)),
        none("Insufficient memory")
    );
    assert_eq!(rejected(&|_, n| n.ready = false), none("node(s) were not ready"));
    let affinity = "node(s) didn't match Pod's node affinity/selector";
    assert_eq!(rejected(&|t, _| drop(t.node_selector.insert("disk".into(), "ssd".into()))), none(affinity));
    assert_eq!(rejected(&|t, _| t.node_affinity = vec![selector(RequirementTest::Exists)]), none(affinity));
    assert_eq!(
        rejected(&|t, _| t.anti_affinity = vec![selector(RequirementTest::In(vec!["web".into()]))]),
        none("node(s) didn't match pod anti-affinity rules")
    );
    let taint = |n: &mut NodeView| {
        n.taints.push(Taint { key: "gpu".into(), value: "yes".into(), effect: "NoSchedule".into() });
    };
    assert_eq!(rejected(&|_, n| taint(n)), none("node(s) had untolerated taint {gpu: yes}"));
    let tolerated = rejected(&|t, n| {
        taint(n);
        t.tolerations.push(Toleration { key: Some("gpu".into()), value: None, effect: None });
    });
    assert!(!tolerated.0);
    assert_eq!(
        rejected(&|t, _| t.node_name = Some("beta".into())),
        none("node(s) didn't match the requested node name")
    );
}

#[test]
fn an_overloaded_node_is_taken_only_when_no_other_passes() {
    let both = view(vec![pod("new", 100, None)]);
    let signals = loads(load(0.95, 1000), load(0.97, 1000));
    assert_eq!(place_all(&both, &signals), [to("alpha")]);
    let decision = &decide(&both, &loads(load(0.95, 1000), load(0.3, 1000)), &Config::default(), NOW)[0];
    assert_eq!(decision.node, to("beta"));
    assert_eq!(decision.candidates[1].rejected.as_deref(), Some("expected load is above 90%"));
}

#[test]
fn higher_priority_goes_first() {
    let (mut low, mut high) = (pod("a-low", 800, None), pod("z-high", 800, None));
    low.created_ms -= 1000;
    Arc::make_mut(&mut high.template).priority = 10;
    let view = ClusterView { nodes: vec![node("alpha")], pods: vec![low, high], deployments: Vec::new() };
    let decisions = decide(&view, &Signals::default(), &Config::default(), NOW);
    let placed: Vec<_> = decisions.iter().map(|d| (d.pod.as_str(), d.node.is_some())).collect();
    assert_eq!(placed, [("z-high", true), ("a-low", false)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_always_fit_and_the_same_input_gives_the_same_answer(
        described in prop::collection::vec((0u64..700, prop::bool::ANY, 0u64..(1 << 30)), 1..25),
        shares in prop::collection::vec((prop::option::of(0.0f64..1.5), 0i64..400_000), 3),
        unready in 0usize..4,
    ) {
        let nodes: Vec<NodeView> = (0..3)
            .map(|i| NodeView { ready: i != unready, ..node(&format!("n{i}")) })
            .collect();
        let mut pods = Vec::new();
        for (i, (cpu, bound, memory)) in described.into_iter().enumerate() {
            // What is bound already may exceed a node: filters only look at what is new.
            let mut p = pod(&format!("p{i}"), cpu, bound.then_some("n0"));
            Arc::make_mut(&mut p.template).containers[0].requests.memory_bytes = Some(memory);
            pods.push(p);
        }
        let view = ClusterView { nodes: nodes.clone(), pods, deployments: Vec::new() };
        let signals = Signals {
            nodes: shares
                .iter()
                .enumerate()
                .filter_map(|(i, (share, age_ms))| Some((format!("n{i}"), load((*share)?, *age_ms))))
                .collect(),
            pods: BTreeMap::new(),
        };
        let decisions = decide(&view, &signals, &Config::default(), NOW);
        prop_assert_eq!(&decisions, &decide(&view, &signals, &Config::default(), NOW));
        let mut after = view.clone();
        for d in &decisions {
            let p = after.pods.iter_mut().find(|p| p.uid == d.uid).unwrap();
            p.node.clone_from(&d.node);
        }
        for n in &nodes {
            let new: Vec<_> = decisions.iter().filter(|d| d.node.as_ref() == Some(&n.name)).collect();
            if new.is_empty() {
                continue;
            }
            prop_assert!(n.ready);
            let sum = requested(&after, &n.name);
            let asked = new.iter().any(|d| after.pods.iter().any(|p| p.uid == d.uid && p.template.requests().cpu() > 0));
            prop_assert!(!asked || sum.cpu() <= 1000, "{} has {:?}", n.name, sum);
        }
        for d in &decisions {
            for c in &d.candidates {
                prop_assert!(c.score.is_none_or(|s| (0.0..=100.0).contains(&s)), "{:?}", c);
                prop_assert_eq!(c.score.is_some(), c.rejected.is_none());
            }
        }
    }
}
