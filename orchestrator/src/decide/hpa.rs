//! Horizontal pod autoscaling as `autoscaling/v2` defines it.
//!
//! [`decide`] answers how many replicas a deployment should have. The steps have a module each:
//! [`replicas`] turns one metric into a count, [`metrics`] combines several, [`behavior`] stabilises
//! and limits the result. Reasons and messages of conditions and events are Kubernetes' own, because
//! people and tools look for them.

mod behavior;
mod metrics;
mod model;
mod replicas;
#[cfg(test)]
mod tests;

use crate::decide::PodView;

pub use model::{
    Behavior, Condition, Config, Decision, Event, HpaSpec, HpaState, MetricOutcome, MetricSource, MetricSpec,
    MetricTarget, MetricValues, PodSample, Policy, PolicyKind, Recommendation, ResourceKind, Rules,
    ScaleEvent, SelectPolicy,
};

/// What the decision is about: the target's size and pods.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Replicas in the target's specification.
    pub spec_replicas: u32,
    /// Replicas in the target's status.
    pub status_replicas: u32,
    /// Pods that the target's selector matches.
    pub pods: Vec<&'a PodView>,
}

/// Decides about one autoscaler. `values[i]` belongs to `spec.metrics[i]`. The state in the decision
/// includes the scale event, as if the new size has been set; when setting it fails, call
/// [`Decision::scaling_failed`] and keep what that returns.
pub fn decide(
    spec: &HpaSpec,
    target: &Target<'_>,
    values: &[MetricValues],
    state: &HpaState,
    config: &Config,
    now_ms: i64,
) -> Decision {
    let current = target.spec_replicas;
    let mut decision = Decision::unchanged(current, state.clone(), now_ms);
    decision.set_condition(
        "AbleToScale",
        true,
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
    );
    let wanted = if current == 0 && spec.min_replicas != 0 {
        decision.set_condition(
            "ScalingActive",
            false,
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        );
        return decision;
    } else if current > spec.max_replicas {
        decision.reason = "Current number of replicas above Spec.MaxReplicas".to_owned();
        decision.proposed = Some(spec.max_replicas);
        spec.max_replicas
    } else if current < spec.min_replicas {
        decision.reason = "Current number of replicas below Spec.MinReplicas".to_owned();
        decision.proposed = Some(spec.min_replicas);
        spec.min_replicas
    } else {
        let Some((proposed, metric)) = metrics::combine(spec, target, values, config, now_ms, &mut decision)
        else {
            return decision;
        };
        decision.proposed = Some(proposed);
        if proposed > current {
            decision.reason = format!("{metric} above target");
        } else if proposed < current {
            decision.reason = "All metrics below target".to_owned();
        }
        behavior::normalize(spec, current, proposed, config, &mut decision, now_ms)
    };
    decision.desired = wanted;
    if wanted == current {
        decision.reason.clear();
        return decision;
    }
    behavior::remember_scaling(&mut decision.state, spec, current, wanted, now_ms);
    decision.set_condition(
        "AbleToScale",
        true,
        "SucceededRescale",
        &format!("the HPA controller was able to update the target scale to {wanted}"),
    );
    decision.events.push(Event {
        warning: false,
        reason: "SuccessfulRescale",
        message: format!("New size: {wanted}; reason: {}", decision.reason),
    });
    decision
}

/// The decision when the target is not there.
pub fn without_target(state: &HpaState, why: &str, now_ms: i64) -> Decision {
    let mut decision = Decision::unchanged(0, state.clone(), now_ms);
    let message = format!("the HPA controller was unable to get the target's current scale: {why}");
    decision.set_condition("AbleToScale", false, "FailedGetScale", &message);
    decision.events.push(Event { warning: true, reason: "FailedGetScale", message: why.to_owned() });
    decision
}
