use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decide::{Container, Owner, Phase, PodTemplate, Resources};

const NOW: i64 = 10_000_000;

fn pod(i: usize) -> PodView {
    let container = Container {
        name: "web".into(),
        requests: Resources::of(1000, 1 << 20),
        limits: Resources::default(),
    };
    PodView {
        uid: format!("u{i}"),
        namespace: "default".into(),
        name: format!("web-{i}"),
        owner: Owner::Deployment { name: "web".into(), template_hash: "a".into() },
        template: Arc::new(PodTemplate {
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            containers: vec![container],
            node_selector: BTreeMap::new(),
            node_affinity: Vec::new(),
            anti_affinity: Vec::new(),
            tolerations: Vec::new(),
            node_name: None,
            priority: 0,
        }),
        node: Some("alpha".into()),
        phase: Phase::Running,
        ready: Some(true),
        ready_changed_ms: NOW - 3_600_000,
        created_ms: NOW - 3_700_000,
        bound_ms: Some(NOW - 3_700_000),
        started_ms: Some(NOW - 3_650_000),
        restarts: 0,
        deleting: false,
    }
}

fn pods(n: usize) -> Vec<PodView> {
    (0..n).map(pod).collect()
}

fn spec(min: u32, max: u32, target: MetricTarget) -> HpaSpec {
    HpaSpec {
        namespace: "default".into(),
        name: "web".into(),
        target: "web".into(),
        min_replicas: min,
        max_replicas: max,
        metrics: vec![MetricSpec { source: MetricSource::Resource(ResourceKind::Cpu), target }],
        behavior: Behavior::default(),
    }
}

/// Without limits on the rate and without stabilisation, to see the bare recommendation.
fn unlimited(mut spec: HpaSpec) -> HpaSpec {
    let free = vec![Policy { kind: PolicyKind::Pods, value: 10_000, period_ms: 1_000 }];
    spec.behavior.up.policies.clone_from(&free);
    spec.behavior.down.policies = free;
    spec.behavior.down.stabilization_ms = Some(0);
    spec
}

fn values(milli: &[(usize, i64)]) -> MetricValues {
    let sample = |milli| PodSample { milli, t_ms: NOW - 1_000, window_ms: 60_000 };
    MetricValues::Pods(milli.iter().map(|(i, m)| (format!("web-{i}"), sample(*m))).collect())
}

fn run(spec: &HpaSpec, current: u32, pods: &[PodView], values: MetricValues, state: &HpaState) -> Decision {
    run_at(spec, current, pods, &[values], state, NOW)
}

fn run_at(
    spec: &HpaSpec,
    current: u32,
    pods: &[PodView],
    values: &[MetricValues],
    state: &HpaState,
    now_ms: i64,
) -> Decision {
    let target = Target { spec_replicas: current, status_replicas: current, pods: pods.iter().collect() };
    decide(spec, &target, values, state, &Config::default(), now_ms)
}

#[test]
fn utilization_moves_replicas_by_the_ratio() {
    // (replicas, milli-cores of each pod, target percent, wanted)
    let cases: &[(u32, i64, i64, u32)] = &[
        (3, 900, 50, 6), // 90% against 50%: 5.4
        (3, 550, 50, 3), // within a tenth
        (3, 560, 50, 4), // 1.12
        (3, 450, 50, 3), // 0.9 is still within
        (3, 440, 50, 3), // 0.88: 2.64
        (4, 300, 50, 3), // 0.6: 2.4
        (4, 0, 50, 1),   // nothing to do: the minimum
        (1, 559, 50, 1), // percents are whole: 55% against 50% is within
    ];
    for (i, &(replicas, milli, percent, wanted)) in cases.iter().enumerate() {
        let spec = unlimited(spec(1, 100, MetricTarget::Utilization(percent)));
        let pods = pods(replicas as usize);
        let milli: Vec<_> = (0..replicas as usize).map(|p| (p, milli)).collect();
        let decision = run(&spec, replicas, &pods, values(&milli), &HpaState::default());
        assert_eq!(decision.desired, wanted, "case {i}: {:?}", cases[i]);
    }
}

#[test]
fn missing_pods_hold_back_in_both_directions() {
    let up = unlimited(spec(1, 100, MetricTarget::Utilization(50)));
    // Two of four at 100%: as if the others used nothing, 50%: within tolerance.
    let decision = run(&up, 4, &pods(4), values(&[(0, 1000), (1, 1000)]), &HpaState::default());
    assert_eq!(decision.desired, 4);
    // Three of four: 75% over four.
    let decision = run(&up, 4, &pods(4), values(&[(0, 1000), (1, 1000), (2, 1000)]), &HpaState::default());
    assert_eq!(decision.desired, 6);
    // Down: the missing pod counts as using all that it requested: (0+0+0+100)/4 = 25%.
    let decision = run(&up, 4, &pods(4), values(&[(0, 0), (1, 0), (2, 0)]), &HpaState::default());
    assert_eq!(decision.desired, 2);
    // Missing pods at 100% would turn the direction round: nothing happens.
    let decision = run(&up, 4, &pods(4), values(&[(0, 300)]), &HpaState::default());
    assert_eq!(decision.desired, 4);
    assert_eq!(decision.metrics[0].counts, model::PodCounts { ready: 1, unready: 0, missing: 3, ignored: 0 });
}

#[test]
fn unready_pods_count_as_idle_when_growing_and_not_at_all_when_shrinking() {
    let spec = unlimited(spec(1, 100, MetricTarget::Utilization(50)));
    let mut some = pods(4);
    some[3].phase = Phase::Pending;
    let busy = values(&[(0, 1000), (1, 1000), (2, 1000)]);
    assert_eq!(run(&spec, 4, &some, busy, &HpaState::default()).desired, 6);
    let idle = values(&[(0, 200), (1, 200), (2, 200)]);
    assert_eq!(run(&spec, 4, &some, idle, &HpaState::default()).desired, 2);
}

#[test]
fn a_starting_pod_is_not_judged_by_its_cpu() {
    let spec = unlimited(spec(1, 100, MetricTarget::Utilization(50)));
    let mut some = pods(2);
    some[1].started_ms = Some(NOW - 20_000);
    some[1].ready_changed_ms = NOW - 15_000;
    let decision = run(&spec, 2, &some, values(&[(0, 500), (1, 5000)]), &HpaState::default());
    assert_eq!(decision.desired, 2, "its sample covers the time before it was ready");
    assert_eq!(decision.metrics[0].counts.unready, 1);
    // Long after its start an unready pod that once was ready counts.
    some[1].started_ms = Some(NOW - 3_600_000);
    some[1].ready = Some(false);
    some[1].ready_changed_ms = NOW - 60_000;
    let decision = run(&spec, 2, &some, values(&[(0, 500), (1, 1500)]), &HpaState::default());
    assert_eq!(decision.desired, 4);
    // One that never became ready does not.
    some[1].ready_changed_ms = NOW - 3_590_000;
    let decision = run(&spec, 2, &some, values(&[(0, 500), (1, 1500)]), &HpaState::default());
    assert_eq!(decision.desired, 2);
    // Memory is judged from the start.
    let mut memory = spec.clone();
    memory.metrics[0].source = MetricSource::Resource(ResourceKind::Memory);
    let bytes = (1i64 << 20) * 1000;
    let decision = run(&memory, 2, &some, values(&[(0, bytes), (1, bytes)]), &HpaState::default());
    assert_eq!(decision.desired, 4);
}

#[test]
fn ending_and_failed_pods_are_ignored() {
    let spec = unlimited(spec(1, 100, MetricTarget::Utilization(50)));
    let mut some = pods(4);
    some[2].deleting = true;
    some[3].phase = Phase::Failed;
    let decision =
        run(&spec, 2, &some, values(&[(0, 1000), (1, 1000), (2, 0), (3, 0)]), &HpaState::default());
    assert_eq!(decision.desired, 4);
    assert_eq!(decision.metrics[0].counts.ignored, 2);
}

#[test]
fn without_any_metric_nothing_moves_and_the_conditions_say_why() {
    let spec = spec(1, 10, MetricTarget::Utilization(50));
    let decision = run(&spec, 4, &pods(4), values(&[]), &HpaState::default());
    assert_eq!(decision.desired, 4);
    let active = decision.condition("ScalingActive").unwrap();
    assert!(!active.status);
    assert_eq!(active.reason, "FailedGetResourceMetric");
    assert_eq!(
        active.message,
        "the HPA was unable to compute the replica count: failed to get cpu utilization: did not receive \
         metrics for targeted pods (pods might be unready)"
    );
    let why = MetricValues::Unavailable("the store is away".into());
    let decision = run(&spec, 4, &pods(4), why, &HpaState::default());
    assert!(decision.events.iter().any(|e| e.reason == "FailedComputeMetricsReplicas"));
    assert_eq!(decision.desired, 4);
}

#[test]
fn a_container_without_request_is_an_error() {
    let spec = spec(1, 10, MetricTarget::Utilization(50));
    let mut some = pods(1);
    let template = Arc::make_mut(&mut some[0].template);
    template.containers[0].requests.cpu_millis = None;
    let decision = run(&spec, 1, &some, values(&[(0, 1000)]), &HpaState::default());
    let error = decision.metrics[0].error.as_deref();
    assert_eq!(error, Some("missing request for cpu in container web of Pod web-0"));
    assert_eq!(decision.desired, 1);
}

#[test]
fn bounds_win_without_asking_the_metrics() {
    let mut spec = spec(2, 5, MetricTarget::Utilization(50));
    let none = HpaState::default();
    let decision = run(&spec, 9, &pods(9), values(&[]), &none);
    assert_eq!(
        (decision.desired, decision.reason.as_str()),
        (5, "Current number of replicas above Spec.MaxReplicas")
    );
    let decision = run(&spec, 1, &pods(1), values(&[]), &none);
    assert_eq!(
        (decision.desired, decision.reason.as_str()),
        (2, "Current number of replicas below Spec.MinReplicas")
    );
    let decision = run(&spec, 0, &[], values(&[]), &none);
    assert_eq!(decision.desired, 0);
    assert_eq!(decision.condition("ScalingActive").unwrap().reason, "ScalingDisabled");
    spec = unlimited(spec);
    let decision = run(&spec, 4, &pods(4), values(&[(0, 9000), (1, 9000), (2, 9000), (3, 9000)]), &none);
    assert_eq!((decision.desired, decision.limited), (5, Some("TooManyReplicas")));
    let decision = run(&spec, 4, &pods(4), values(&[(0, 0), (1, 0), (2, 0), (3, 0)]), &none);
    assert_eq!((decision.desired, decision.limited), (2, Some("TooFewReplicas")));
}

#[test]
fn average_value_is_a_mean_over_pods() {
    let mut spec = unlimited(spec(1, 100, MetricTarget::AverageValue(100)));
    let source = MetricSource::Pods { name: "queue".into(), query: "queue".into() };
    spec.metrics[0].source = source;
    let decision = run(&spec, 2, &pods(2), values(&[(0, 300), (1, 100)]), &HpaState::default());
    assert_eq!(decision.desired, 4);
    // A missing pod counts as on target when shrinking: (0 + 100) / 2 = 50.
    let decision = run(&spec, 4, &pods(4), values(&[(0, 0), (1, 0), (2, 0)]), &HpaState::default());
    assert_eq!(decision.desired, 1);
    assert_eq!(decision.metrics[0].counts.missing, 1);
}

#[test]
fn external_values_scale_by_value_and_by_average() {
    let mut spec = unlimited(spec(0, 100, MetricTarget::Value(10_000)));
    spec.metrics[0].source = MetricSource::External { name: "queue".into(), query: "q".into() };
    let single = |milli| MetricValues::Single { milli, t_ms: NOW };
    let none = HpaState::default();
    assert_eq!(run(&spec, 2, &pods(2), single(30_000), &none).desired, 6);
    assert_eq!(run(&spec, 2, &pods(2), single(10_500), &none).desired, 2);
    assert_eq!(run(&spec, 0, &[], single(10_500), &none).desired, 2, "from zero there is no tolerance");
    assert_eq!(run(&spec, 2, &pods(2), single(0), &none).desired, 0);
    spec.metrics[0].target = MetricTarget::AverageValue(10_000);
    assert_eq!(run(&spec, 2, &pods(2), single(55_000), &none).desired, 6);
    assert_eq!(run(&spec, 2, &pods(2), single(21_000), &none).desired, 2);
}

#[test]
fn of_several_metrics_the_largest_counts_and_a_failed_one_forbids_shrinking() {
    let mut spec = unlimited(spec(1, 100, MetricTarget::Utilization(50)));
    spec.metrics.push(MetricSpec {
        source: MetricSource::External { name: "queue".into(), query: "q".into() },
        target: MetricTarget::Value(10_000),
    });
    let queue = |milli| MetricValues::Single { milli, t_ms: NOW };
    let none = HpaState::default();
    let both = |a, b| run_at(&spec, 2, &pods(2), &[a, b], &none, NOW);
    assert_eq!(both(values(&[(0, 1000), (1, 1000)]), queue(50_000)).desired, 10);
    let failed = || MetricValues::Unavailable("no answer".into());
    assert_eq!(both(values(&[(0, 1000), (1, 1000)]), failed()).desired, 4, "growing is allowed");
    let held = both(values(&[(0, 100), (1, 100)]), failed());
    assert_eq!(held.desired, 2, "shrinking is not");
    assert_eq!(held.condition("ScalingActive").unwrap().reason, "FailedGetExternalMetric");
}

#[test]
fn shrinking_waits_for_the_highest_recommendation_of_the_window() {
    let mut spec = unlimited(spec(1, 100, MetricTarget::Utilization(50)));
    spec.behavior.down.stabilization_ms = Some(60_000);
    let busy = || values(&[(0, 500), (1, 500), (2, 500), (3, 500)]);
    let idle = || values(&[(0, 10), (1, 10), (2, 10), (3, 10)]);
    let first = run_at(&spec, 4, &pods(4), &[busy()], &HpaState::default(), NOW);
    let second = run_at(&spec, 4, &pods(4), &[idle()], &first.state, NOW + 30_000);
    assert_eq!(second.desired, 4);
    assert_eq!(second.condition("AbleToScale").unwrap().reason, "ScaleDownStabilized");
    let third = run_at(&spec, 4, &pods(4), &[idle()], &second.state, NOW + 60_000);
    assert_eq!(third.desired, 1, "the high recommendation is as old as the window");
}

#[test]
fn growing_waits_for_the_lowest_recommendation_of_the_up_window() {
    let mut spec = unlimited(spec(1, 100, MetricTarget::Utilization(50)));
    spec.behavior.up.stabilization_ms = Some(30_000);
    let calm = run_at(&spec, 2, &pods(2), &[values(&[(0, 500), (1, 500)])], &HpaState::default(), NOW);
    let busy = run_at(&spec, 2, &pods(2), &[values(&[(0, 2000), (1, 2000)])], &calm.state, NOW + 10_000);
    assert_eq!(busy.desired, 2);
    assert_eq!(busy.condition("AbleToScale").unwrap().reason, "ScaleUpStabilized");
    let later = run_at(&spec, 2, &pods(2), &[values(&[(0, 2000), (1, 2000)])], &busy.state, NOW + 30_000);
    assert_eq!(later.desired, 8);
}

#[test]
fn defaults_allow_the_larger_of_four_pods_and_doubling_in_fifteen_seconds() {
    let spec = spec(1, 1000, MetricTarget::Utilization(1));
    let hot = |n: usize| values(&(0..n).map(|i| (i, 100_000)).collect::<Vec<_>>());
    let first = run_at(&spec, 1, &pods(1), &[hot(1)], &HpaState::default(), NOW);
    assert_eq!((first.desired, first.limited), (5, Some("ScaleUpLimit")));
    let second = run_at(&spec, 5, &pods(5), &[hot(5)], &first.state, NOW + 5_000);
    assert_eq!(second.desired, 5, "the four are used up");
    let third = run_at(&spec, 5, &pods(5), &[hot(5)], &second.state, NOW + 15_000);
    assert_eq!(third.desired, 10);
}

#[test]
fn policies_count_from_the_start_of_the_period() {
    let mut spec = spec(1, 1000, MetricTarget::Utilization(50));
    spec.behavior.down.stabilization_ms = Some(0);
    spec.behavior.down.policies = vec![
        Policy { kind: PolicyKind::Percent, value: 10, period_ms: 60_000 },
        Policy { kind: PolicyKind::Pods, value: 5, period_ms: 60_000 },
    ];
    let idle = |n: usize| values(&(0..n).map(|i| (i, 0)).collect::<Vec<_>>());
    let first = run_at(&spec, 80, &pods(80), &[idle(80)], &HpaState::default(), NOW);
    assert_eq!((first.desired, first.limited), (72, Some("ScaleDownLimit")));
    let second = run_at(&spec, 72, &pods(72), &[idle(72)], &first.state, NOW + 30_000);
    assert_eq!(second.desired, 72);
    let third = run_at(&spec, 72, &pods(72), &[idle(72)], &second.state, NOW + 60_000);
    assert_eq!(third.desired, 64, "10% of 72 is 7.2, and 64.8 is cut");
    spec.behavior.down.select = SelectPolicy::Min;
    assert_eq!(run_at(&spec, 80, &pods(80), &[idle(80)], &HpaState::default(), NOW).desired, 75);
    spec.behavior.down.select = SelectPolicy::Disabled;
    assert_eq!(run_at(&spec, 80, &pods(80), &[idle(80)], &HpaState::default(), NOW).desired, 80);
}

#[test]
fn a_size_that_could_not_be_set_is_not_counted() {
    let spec = unlimited(spec(1, 10, MetricTarget::Utilization(50)));
    let before = HpaState::default();
    let decision = run(&spec, 2, &pods(2), values(&[(0, 1000), (1, 1000)]), &before);
    assert_eq!(decision.state.ups.len(), 1);
    assert_eq!(
        decision.events[0].message,
        "New size: 4; reason: cpu resource utilization (percentage of request) above target"
    );
    let failed = decision.scaling_failed(&before, "the disk is full");
    assert_eq!(failed.desired, 2);
    assert!(failed.state.ups.is_empty());
    assert_eq!(failed.condition("AbleToScale").unwrap().reason, "FailedUpdateScale");
    assert_eq!(failed.events.len(), 1);
    assert_eq!(failed.events[0].message.split(';').next(), Some("New size: 4"));
}

fn any_pod() -> impl Strategy<Value = (u8, Option<bool>, bool, i64, Option<i64>)> {
    (
        0u8..4,
        prop::option::of(any::<bool>()),
        prop::bool::weighted(0.1),
        0i64..600_000,
        prop::option::of(0i64..5_000),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decisions_stay_within_bounds_and_are_repeatable(
        (min, span, current) in (0u32..5, 0u32..20, 0u32..30),
        percent in 1i64..200,
        described in prop::collection::vec(any_pod(), 0..30),
        past in prop::collection::vec((0i64..400_000, 0u32..40), 0..10),
    ) {
        let spec = spec(min, (min + span).max(1), MetricTarget::Utilization(percent));
        let mut pods = Vec::new();
        let mut known = Vec::new();
        for (i, (phase, ready, deleting, age_ms, milli)) in described.into_iter().enumerate() {
            let mut p = pod(i);
            p.phase = [Phase::Pending, Phase::Running, Phase::Running, Phase::Failed][phase as usize];
            p.ready = ready;
            p.deleting = deleting;
            p.started_ms = Some(NOW - age_ms);
            p.ready_changed_ms = NOW - age_ms / 2;
            if let Some(milli) = milli {
                known.push((i, milli));
            }
            pods.push(p);
        }
        let recommendations = past.into_iter().map(|(age, replicas)| Recommendation { t_ms: NOW - age, replicas });
        let state = HpaState { recommendations: recommendations.collect(), ..HpaState::default() };
        let decision = run(&spec, current, &pods, values(&known), &state);
        let again = run(&spec, current, &pods, values(&known), &state);
        prop_assert_eq!(&decision, &again);
        prop_assert!(decision.desired <= spec.max_replicas);
        prop_assert!(decision.desired >= spec.min_replicas || current == 0);
        // With no value at all nothing moves, other than into the bounds.
        let blind = run(&spec, current, &pods, values(&[]), &state);
        let bounded = if current == 0 { 0 } else { current.clamp(spec.min_replicas, spec.max_replicas) };
        if !(current == 0 && spec.min_replicas == 0) {
            prop_assert_eq!(blind.desired, bounded);
        }
    }

    #[test]
    fn one_more_missing_pod_never_makes_the_change_larger(
        milli in prop::collection::vec(0i64..3_000, 2..20),
        percent in 10i64..150,
    ) {
        let spec = unlimited(spec(0, 10_000, MetricTarget::Utilization(percent)));
        let n = milli.len();
        let all: Vec<_> = milli.iter().copied().enumerate().collect();
        // The same mean with and without the last pod, so that only its absence differs.
        let mean = all[..n - 1].iter().map(|(_, m)| m).sum::<i64>() / (n as i64 - 1);
        let even: Vec<_> = (0..n).map(|i| (i, mean)).collect();
        let full = run(&spec, n as u32, &pods(n), values(&even), &HpaState::default()).desired;
        let fewer = run(&spec, n as u32, &pods(n), values(&even[..n - 1]), &HpaState::default()).desired;
        prop_assert!(fewer.abs_diff(n as u32) <= full.abs_diff(n as u32), "{} and {} of {}", fewer, full, n);
    }
}
