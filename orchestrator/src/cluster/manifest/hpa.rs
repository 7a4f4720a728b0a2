//! `HorizontalPodAutoscaler` of `autoscaling/v2`, with Kubernetes' defaults and checks.

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, MetricSpec as KubeMetric, MetricTarget as KubeTarget,
};

use super::Wrong;
use crate::cluster::objects::Key;
use crate::cluster::quantity;
use crate::decide::hpa::{
    Behavior, HpaSpec, MetricSource, MetricSpec, MetricTarget, Policy, PolicyKind, ResourceKind, Rules,
    SelectPolicy,
};

/// Gives the PromQL of a metric: `metric.binnacle.dev/NAME: EXPRESSION` on the autoscaler.
const QUERY_ANNOTATION: &str = "metric.binnacle.dev/";

/// Most metrics of one autoscaler.
const MAX_METRICS: usize = 50;

/// Longest stabilisation window and longest policy period, in seconds; Kubernetes' bounds.
const MAX_WINDOW_SECONDS: i32 = 3600;
const MAX_PERIOD_SECONDS: i32 = 1800;

pub(super) fn convert(key: &Key, object: &HorizontalPodAutoscaler) -> Result<HpaSpec, Wrong> {
    let spec = object.spec.clone().unwrap_or_default();
    let wrong = |field: &str, message: String| Err(Wrong::new(format!("spec.{field}"), message));
    let target = &spec.scale_target_ref;
    if target.kind != "Deployment" || !matches!(target.api_version.as_deref(), None | Some("apps/v1")) {
        return wrong("scaleTargetRef", "only a Deployment of apps/v1 can be scaled".into());
    }
    if target.name.is_empty() {
        return wrong("scaleTargetRef.name", "is missing".into());
    }
    let (Ok(max_replicas), false) = (u32::try_from(spec.max_replicas), spec.max_replicas == 0) else {
        return wrong("maxReplicas", "must be given and above 0".into());
    };
    let Ok(min_replicas) = u32::try_from(spec.min_replicas.unwrap_or(1)) else {
        return wrong("minReplicas", "is negative".into());
    };
    if min_replicas > max_replicas {
        return wrong("maxReplicas", "is below minReplicas".into());
    }
    let mut metrics = Vec::new();
    let given = spec.metrics.unwrap_or_default();
    if given.len() > MAX_METRICS {
        return wrong("metrics", format!("there are {} and may be {MAX_METRICS}", given.len()));
    }
    for (i, m) in given.iter().enumerate() {
        metrics.push(metric(object, m).map_err(|w| w.within(&format!("spec.metrics[{i}]")))?);
    }
    if metrics.is_empty() {
        // Kubernetes' default.
        let source = MetricSource::Resource(ResourceKind::Cpu);
        metrics.push(MetricSpec { source, target: MetricTarget::Utilization(80) });
    }
    let from_outside =
        |m: &MetricSpec| matches!(m.source, MetricSource::Object { .. } | MetricSource::External { .. });
    if min_replicas == 0 && !metrics.iter().any(from_outside) {
        return wrong("minReplicas", "may be 0 only with an Object or External metric".into());
    }
    let mut behavior = Behavior::default();
    if let Some(given) = &spec.behavior {
        rules(given.scale_up.as_ref(), &mut behavior.up).map_err(|w| w.within("spec.behavior.scaleUp"))?;
        rules(given.scale_down.as_ref(), &mut behavior.down)
            .map_err(|w| w.within("spec.behavior.scaleDown"))?;
    }
    Ok(HpaSpec {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        target: target.name.clone(),
        min_replicas,
        max_replicas,
        metrics,
        behavior,
    })
}

fn metric(object: &HorizontalPodAutoscaler, metric: &KubeMetric) -> Result<MetricSpec, Wrong> {
    let missing = |field: &str| Wrong::new(field, "is missing");
    let query = |field: &str, name: &str| {
        let key = format!("{QUERY_ANNOTATION}{name}");
        let annotations = object.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(&key)).cloned().ok_or_else(|| {
            let message = format!("the query of {name:?} is missing: give it as the annotation {key}");
            Wrong::new(format!("{field}.metric.name"), message)
        })
    };
    let resource = |field: &str, name: &str| match name {
        "cpu" => Ok(ResourceKind::Cpu),
        "memory" => Ok(ResourceKind::Memory),
        other => Err(Wrong::new(format!("{field}.name"), format!("{other:?} is neither cpu nor memory"))),
    };
    let (field, source, target) = match metric.type_.as_str() {
        "Resource" => {
            let given = metric.resource.as_ref().ok_or_else(|| missing("resource"))?;
            ("resource", MetricSource::Resource(resource("resource", &given.name)?), &given.target)
        }
        "ContainerResource" => {
            let field = "containerResource";
            let given = metric.container_resource.as_ref().ok_or_else(|| missing(field))?;
            let resource = resource(field, &given.name)?;
            let container = given.container.clone();
            (field, MetricSource::ContainerResource { resource, container }, &given.target)
        }
        "Pods" => {
            let given = metric.pods.as_ref().ok_or_else(|| missing("pods"))?;
            let name = given.metric.name.clone();
            let query = query("pods", &name)?;
            ("pods", MetricSource::Pods { name, query }, &given.target)
        }
        "Object" => {
            let given = metric.object.as_ref().ok_or_else(|| missing("object"))?;
            let name = given.metric.name.clone();
            let query = query("object", &name)?;
            ("object", MetricSource::Object { name, query }, &given.target)
        }
        "External" => {
            let given = metric.external.as_ref().ok_or_else(|| missing("external"))?;
            let name = given.metric.name.clone();
            let query = query("external", &name)?;
            ("external", MetricSource::External { name, query }, &given.target)
        }
        other => return Err(Wrong::new("type", format!("{other:?} is not a kind of metric"))),
    };
    let target = goal(&source, target).map_err(|w| w.within("target").within(field))?;
    Ok(MetricSpec { source, target })
}

fn goal(source: &MetricSource, target: &KubeTarget) -> Result<MetricTarget, Wrong> {
    use MetricSource::{ContainerResource, External, Object, Pods, Resource};
    let missing = |field: &str| Wrong::new(field, "is missing");
    let positive = |field: &str, text: &str| match quantity::milli(text) {
        Ok(milli) if milli > 0 => Ok(milli),
        Ok(_) => Err(Wrong::new(field, "must be above 0")),
        Err(message) => Err(Wrong::new(field, message)),
    };
    match (target.type_.as_str(), source) {
        ("Utilization", Resource(_) | ContainerResource { .. }) => match target.average_utilization {
            Some(percent) if percent > 0 => Ok(MetricTarget::Utilization(i64::from(percent))),
            Some(_) => Err(Wrong::new("averageUtilization", "must be above 0")),
            None => Err(missing("averageUtilization")),
        },
        ("AverageValue", _) => {
            let value = target.average_value.as_ref().ok_or_else(|| missing("averageValue"))?;
            positive("averageValue", &value.0).map(MetricTarget::AverageValue)
        }
        ("Value", Object { .. } | External { .. }) => {
            let value = target.value.as_ref().ok_or_else(|| missing("value"))?;
            positive("value", &value.0).map(MetricTarget::Value)
        }
        (other, Resource(_) | ContainerResource { .. }) => {
            Err(Wrong::new("type", format!("{other:?} is neither Utilization nor AverageValue")))
        }
        (other, Pods { .. }) => Err(Wrong::new("type", format!("{other:?} is not AverageValue"))),
        (other, _) => Err(Wrong::new("type", format!("{other:?} is neither Value nor AverageValue"))),
    }
}

/// Overrides the defaults in `rules` by what is given.
fn rules(given: Option<&HPAScalingRules>, rules: &mut Rules) -> Result<(), Wrong> {
    let Some(given) = given else { return Ok(()) };
    if let Some(seconds) = given.stabilization_window_seconds {
        if !(0..=MAX_WINDOW_SECONDS).contains(&seconds) {
            let message = format!("{seconds} is not within 0 and {MAX_WINDOW_SECONDS}");
            return Err(Wrong::new("stabilizationWindowSeconds", message));
        }
        rules.stabilization_ms = Some(i64::from(seconds) * 1000);
    }
    rules.select = match given.select_policy.as_deref() {
        None | Some("Max") => SelectPolicy::Max,
        Some("Min") => SelectPolicy::Min,
        Some("Disabled") => SelectPolicy::Disabled,
        Some(other) => {
            let message = format!("{other:?} is not one of Max, Min, Disabled");
            return Err(Wrong::new("selectPolicy", message));
        }
    };
    if let Some(tolerance) = &given.tolerance {
        let milli = quantity::milli(&tolerance.0).map_err(|m| Wrong::new("tolerance", m))?;
        if milli < 0 {
            return Err(Wrong::new("tolerance", "is negative"));
        }
        rules.tolerance = Some(milli as f64 / 1000.0);
    }
    if let Some(policies) = &given.policies {
        rules.policies.clear();
        for (i, policy) in policies.iter().enumerate() {
            let wrong = |field: &str, message: String| Wrong::new(format!("policies[{i}].{field}"), message);
            let kind = match policy.type_.as_str() {
                "Pods" => PolicyKind::Pods,
                "Percent" => PolicyKind::Percent,
                other => return Err(wrong("type", format!("{other:?} is neither Pods nor Percent"))),
            };
            let value = u32::try_from(policy.value).unwrap_or(0);
            if value == 0 {
                return Err(wrong("value", "must be above 0".into()));
            }
            if !(1..=MAX_PERIOD_SECONDS).contains(&policy.period_seconds) {
                return Err(wrong("periodSeconds", format!("must be within 1 and {MAX_PERIOD_SECONDS}")));
            }
            rules.policies.push(Policy { kind, value, period_ms: i64::from(policy.period_seconds) * 1000 });
        }
        if rules.policies.is_empty() {
            return Err(Wrong::new("policies", "must have at least one entry"));
        }
    }
    Ok(())
}
