use proptest::prelude::*;

use super::*;
use crate::decide::Resources;

const NOW: i64 = 1_000_000;
const MIB: f64 = 1024.0 * 1024.0;

fn node(memory_bytes: u64) -> NodeView {
    NodeView {
        name: "alpha".into(),
        ready: true,
        capacity: Resources::of(1000, memory_bytes),
        labels: Default::default(),
        taints: Vec::new(),
    }
}

/// A Burstable container of 64 MiB requested and 128 MiB allowed that grows to `level` MiB by `slope`
/// MiB a second.
fn subject(name: &str, level: f64, slope: f64) -> Subject {
    let working_set = (0..=20).map(|i| {
        let ago = 20 - i;
        (NOW - ago * 1000, (level - slope * ago as f64) * MIB)
    });
    Subject {
        uid: format!("uid-{name}"),
        namespace: "default".into(),
        pod: name.into(),
        container: "main".into(),
        qos: Qos::Burstable,
        request_bytes: 64 << 20,
        limit_bytes: Some(128 << 20),
        max_bytes: None,
        evictable: true,
        restart_cost: 1.0,
        observed_adj: 968,
        working_set: working_set.collect(),
        pressure: None,
    }
}

fn run(subjects: &[Subject]) -> Decision {
    decide(&node(2 << 30), subjects, &Config::default(), NOW)
}

#[test]
fn the_base_is_kubernetes_own() {
    const GIB: u64 = 1 << 30;
    assert_eq!(base_adj(Qos::Guaranteed, GIB, 2 * GIB), -997);
    assert_eq!(base_adj(Qos::BestEffort, 0, 2 * GIB), 1000);
    assert_eq!(base_adj(Qos::Burstable, GIB, 2 * GIB), 500);
    assert_eq!(base_adj(Qos::Burstable, 0, 2 * GIB), 999);
    assert_eq!(base_adj(Qos::Burstable, 2 * GIB, 2 * GIB), 3);
    assert_eq!(base_adj(Qos::Burstable, 9 * GIB, 2 * GIB), 3);
}

#[test]
fn a_container_that_grows_to_its_limit_is_seen_coming() {
    let decision = run(&[subject("leaky", 100.0, 2.0)]);
    let c = &decision.containers[0];
    assert_eq!(c.knowledge, Knowledge::Trend);
    assert!((c.slope.unwrap() - 2.0 * MIB).abs() < 1.0, "{c:?}");
    assert!((c.time_to_oom_s.unwrap() - 14.0).abs() < 0.01, "{c:?}");
    assert!(c.probability > 0.99, "{c:?}");
    assert_eq!(c.base_adj, 969);
    assert_eq!(c.target_adj, 999);
    assert!(c.write);
    assert!(decision.rescues.is_empty(), "there is time yet");
}

#[test]
fn one_that_rests_keeps_its_base() {
    let mut still = subject("still", 100.0, 0.0);
    still.observed_adj = 969;
    let c = &run(&[still]).containers[0];
    assert_eq!((c.time_to_oom_s, c.probability, c.target_adj, c.write), (None, 0.0, 969, false));
    let shrinking = subject("shrinking", 100.0, -1.0);
    assert_eq!(run(&[shrinking]).containers[0].probability, 0.0);
}

#[test]
fn slow_growth_is_no_danger_before_the_cool_down() {
    // 28 MiB of room, 6 MiB in a minute.
    let c = &run(&[subject("slow", 100.0, 0.1)]).containers[0];
    assert!(c.probability < 0.01, "{c:?}");
    assert_eq!(c.target_adj, c.base_adj);
}

#[test]
fn what_is_not_known_changes_nothing() {
    let mut missing = subject("missing", 100.0, 2.0);
    missing.working_set.clear();
    let mut stale = subject("stale", 100.0, 2.0);
    for point in &mut stale.working_set {
        point.0 -= 60_000;
    }
    let mut short = subject("short", 100.0, 2.0);
    short.working_set = short.working_set.split_off(18);
    for (subject, knowledge) in
        [(missing, Knowledge::Missing), (stale, Knowledge::Stale), (short, Knowledge::Level)]
    {
        let c = run(&[subject]).containers[0].clone();
        assert_eq!(c.knowledge, knowledge);
        assert_eq!((c.slope, c.time_to_oom_s, c.probability, c.target_adj), (None, None, 0.0, c.base_adj));
    }
}

#[test]
fn classes_do_not_mix() {
    let mut guaranteed = subject("guaranteed", 127.0, 5.0);
    guaranteed.qos = Qos::Guaranteed;
    let mut best_effort = subject("best-effort", 10.0, 0.0);
    best_effort.qos = Qos::BestEffort;
    best_effort.request_bytes = 0;
    let decision = run(&[guaranteed, subject("leaky", 127.0, 5.0), best_effort]);
    let order: Vec<(&str, i32)> =
        decision.containers.iter().map(|c| (c.pod.as_str(), c.target_adj)).collect();
    assert_eq!(order, [("best-effort", 1000), ("leaky", 999), ("guaranteed", -997)]);
}

#[test]
fn the_greater_excess_goes_first_within_a_class() {
    let decision = run(&[subject("small", 90.0, 2.0), subject("large", 110.0, 2.0)]);
    let adj = |name: &str| decision.containers.iter().find(|c| c.pod == name).unwrap().target_adj;
    assert_eq!(decision.containers[0].pod, "large");
    assert!(adj("large") > adj("small"), "{decision:?}");
    let mut dear = subject("dear", 110.0, 2.0);
    dear.restart_cost = 0.1;
    assert_eq!(run(&[dear, subject("small", 90.0, 2.0)]).containers[0].pod, "small");
}

#[test]
fn near_the_end_the_limit_is_raised_when_that_is_allowed_and_there_is_room() {
    let mut leaky = subject("leaky", 124.0, 2.0);
    leaky.max_bytes = Some(150 << 20);
    let decision = run(std::slice::from_ref(&leaky));
    let [Rescue::RaiseLimit { from_bytes, to_bytes, .. }] = decision.rescues.as_slice() else {
        panic!("{:?}", decision.rescues);
    };
    assert_eq!((*from_bytes, *to_bytes), (128 << 20, 150 << 20));
    // Without room on the node the pod ends in order instead.
    let full = decide(&node(130 << 20), std::slice::from_ref(&leaky), &Config::default(), NOW);
    assert!(matches!(full.rescues.as_slice(), [Rescue::Evict { .. }]), "{:?}", full.rescues);
    // At the most that it allows, too.
    leaky.max_bytes = Some(128 << 20);
    assert!(matches!(run(std::slice::from_ref(&leaky)).rescues.as_slice(), [Rescue::Evict { .. }]));
    // A budget forbids that; so does the config.
    leaky.evictable = false;
    assert!(run(&[leaky]).rescues.is_empty());
    let config = Config { evict: false, ..Config::default() };
    assert!(decide(&node(2 << 30), &[subject("leaky", 124.0, 2.0)], &config, NOW).rescues.is_empty());
}

#[test]
fn when_the_node_fills_up_the_best_victim_goes() {
    let mut a = subject("a", 60.0, 4.0);
    let mut b = subject("b", 120.0, 4.0);
    (a.limit_bytes, b.limit_bytes) = (None, None);
    let decision = decide(&node(190 << 20), &[a, b], &Config::default(), NOW);
    assert!(decision.node_time_to_oom_s.unwrap() < 2.0, "{decision:?}");
    let [Rescue::Evict { uid, .. }] = decision.rescues.as_slice() else { panic!("{decision:?}") };
    assert_eq!(uid, "uid-b", "a is within its request");
}

#[test]
fn the_kernel_would_choose_by_size_and_score() {
    let mut guaranteed = subject("huge", 1000.0, 0.0);
    guaranteed.observed_adj = -997;
    let decision = run(&[guaranteed, subject("small", 100.0, 0.0)]);
    assert_eq!(decision.kernel_choice.as_deref(), Some("default/small/main"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scores_stay_within_their_class_and_are_repeatable(
        described in prop::collection::vec((0u8..3, 0.0f64..300.0, -5.0f64..5.0, prop::bool::ANY), 0..12),
        memory in 1u64..(4 << 30),
    ) {
        let subjects: Vec<Subject> = described
            .into_iter()
            .enumerate()
            .map(|(i, (class, level, slope, limited))| {
                let mut s = subject(&format!("p{i}"), level, slope);
                s.qos = [Qos::BestEffort, Qos::Burstable, Qos::Guaranteed][class as usize];
                if !limited {
                    s.limit_bytes = None;
                }
                s
            })
            .collect();
        let decision = decide(&node(memory), &subjects, &Config::default(), NOW);
        prop_assert_eq!(&decision, &decide(&node(memory), &subjects, &Config::default(), NOW));
        for c in &decision.containers {
            let range = match c.qos {
                Qos::BestEffort => 1000..=1000,
                Qos::Burstable => c.base_adj..=999,
                Qos::Guaranteed => -997..=-997,
            };
            prop_assert!(range.contains(&c.target_adj), "{:?}", c);
            prop_assert!((0.0..=1.0).contains(&c.probability), "{:?}", c);
            prop_assert!(c.score >= 0.0 && c.score.is_finite(), "{:?}", c);
        }
    }
}
