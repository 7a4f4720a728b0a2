//! Several metrics: the largest proposal counts; a failed one forbids shrinking.

use super::model::{Config, Decision, Event, MetricOutcome, MetricSource, MetricTarget, MetricValues};
use super::replicas::{self, Measure, Proposal, Tolerance};
use super::{HpaSpec, MetricSpec, Target};

/// The largest proposal and the name of its metric, or `None` when there is nothing to act on: then
/// conditions and events of `decision` say why.
pub(super) fn combine(
    spec: &HpaSpec,
    target: &Target<'_>,
    values: &[MetricValues],
    config: &Config,
    now_ms: i64,
    decision: &mut Decision,
) -> Option<(u32, String)> {
    let tolerance = Tolerance::of(spec, config);
    let unavailable = MetricValues::Unavailable("the metric was not queried".to_owned());
    let mut best: Option<(u32, String)> = None;
    let mut first_failure: Option<(&'static str, String)> = None;
    let mut failed = 0usize;
    for (i, metric) in spec.metrics.iter().enumerate() {
        let name = name_of(metric);
        let result =
            propose(metric, target, values.get(i).unwrap_or(&unavailable), tolerance, config, now_ms);
        let goal = match metric.target {
            MetricTarget::Utilization(goal)
            | MetricTarget::AverageValue(goal)
            | MetricTarget::Value(goal) => goal,
        };
        let mut outcome = MetricOutcome {
            name: name.clone(),
            proposed: None,
            value: None,
            target: goal,
            ratio: None,
            counts: Default::default(),
            error: None,
        };
        match result {
            Ok(proposal) => {
                outcome.proposed = Some(proposal.replicas);
                outcome.value = Some(proposal.value);
                outcome.ratio = proposal.ratio.is_finite().then_some(proposal.ratio);
                outcome.counts = proposal.counts;
                if best.as_ref().is_none_or(|(replicas, _)| proposal.replicas > *replicas) {
                    best = Some((proposal.replicas, name));
                }
            }
            Err(why) => {
                failed += 1;
                outcome.error = Some(why.clone());
                first_failure.get_or_insert_with(|| (reason_of(metric), describe_failure(metric, &why)));
            }
        }
        decision.metrics.push(outcome);
    }
    let total = spec.metrics.len();
    let shrinks = best.as_ref().is_none_or(|(replicas, _)| *replicas < target.spec_replicas);
    if let Some((reason, why)) = first_failure.filter(|_| shrinks) {
        decision.set_condition(
            "ScalingActive",
            false,
            reason,
            &format!("the HPA was unable to compute the replica count: {why}"),
        );
        decision.events.push(Event { warning: true, reason, message: why.clone() });
        decision.events.push(Event {
            warning: true,
            reason: "FailedComputeMetricsReplicas",
            message: format!("invalid metrics ({failed} invalid out of {total}), first error is: {why}"),
        });
        return None;
    }
    let (replicas, name) = best?;
    decision.set_condition(
        "ScalingActive",
        true,
        "ValidMetricFound",
        &format!("the HPA was able to successfully calculate a replica count from {name}"),
    );
    Some((replicas, name))
}

fn propose(
    metric: &MetricSpec,
    target: &Target<'_>,
    values: &MetricValues,
    tolerance: Tolerance,
    config: &Config,
    now_ms: i64,
) -> Result<Proposal, String> {
    let measure = match (&metric.source, metric.target) {
        (MetricSource::Resource(resource), MetricTarget::Utilization(target)) => {
            Measure::Utilization { resource: *resource, container: None, target }
        }
        (MetricSource::ContainerResource { resource, container }, MetricTarget::Utilization(target)) => {
            Measure::Utilization { resource: *resource, container: Some(container), target }
        }
        (
            MetricSource::Resource(resource) | MetricSource::ContainerResource { resource, .. },
            MetricTarget::AverageValue(target),
        ) => Measure::Average { resource: Some(*resource), target },
        (MetricSource::Pods { .. }, MetricTarget::AverageValue(target)) => {
            Measure::Average { resource: None, target }
        }
        (MetricSource::Object { .. } | MetricSource::External { .. }, MetricTarget::Value(wanted)) => {
            return Ok(replicas::of_value(target, replicas::single(values)?, wanted, tolerance));
        }
        (MetricSource::Object { .. } | MetricSource::External { .. }, MetricTarget::AverageValue(wanted)) => {
            return Ok(replicas::of_average(target, replicas::single(values)?, wanted, tolerance));
        }
        _ => return Err("the metric's target is not of a kind that its source can have".to_owned()),
    };
    replicas::of_pods(&measure, target, replicas::by_pod(values)?, tolerance, config, now_ms)
}

/// As Kubernetes names the metric in `ValidMetricFound` and in rescale reasons.
fn name_of(metric: &MetricSpec) -> String {
    match &metric.source {
        MetricSource::Resource(resource) => {
            let resource = resource.as_str();
            match metric.target {
                MetricTarget::Utilization(_) => {
                    format!("{resource} resource utilization (percentage of request)")
                }
                _ => format!("{resource} resource"),
            }
        }
        MetricSource::ContainerResource { resource, .. } => {
            let resource = resource.as_str();
            match metric.target {
                MetricTarget::Utilization(_) => {
                    format!("{resource} container resource utilization (percentage of request)")
                }
                _ => format!("{resource} container resource"),
            }
        }
        MetricSource::Pods { name, .. } => format!("pods metric {name}"),
        MetricSource::Object { name, .. } => format!("object metric {name}"),
        MetricSource::External { name, .. } => format!("external metric {name}(nil)"),
    }
}

fn reason_of(metric: &MetricSpec) -> &'static str {
    match metric.source {
        MetricSource::Resource(_) => "FailedGetResourceMetric",
        MetricSource::ContainerResource { .. } => "FailedGetContainerResourceMetric",
        MetricSource::Pods { .. } => "FailedGetPodsMetric",
        MetricSource::Object { .. } => "FailedGetObjectMetric",
        MetricSource::External { .. } => "FailedGetExternalMetric",
    }
}

fn describe_failure(metric: &MetricSpec, why: &str) -> String {
    match &metric.source {
        MetricSource::Resource(resource) | MetricSource::ContainerResource { resource, .. } => {
            let what =
                if matches!(metric.target, MetricTarget::Utilization(_)) { "utilization" } else { "usage" };
            format!("failed to get {} {what}: {why}", resource.as_str())
        }
        MetricSource::Pods { name, .. } => format!("failed to get pods metric value {name}: {why}"),
        MetricSource::Object { name, .. } => format!("failed to get object metric value {name}: {why}"),
        MetricSource::External { name, .. } => format!("failed to get external metric {name}: {why}"),
    }
}
