//! From Kubernetes' types to ours: `Deployment`, `Pod`, `PodDisruptionBudget`; dispatch by kind.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment as KubeDeployment, DeploymentSpec};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::document::Document;
use super::{Wrong, hpa, pod};
use crate::cluster::objects::{Amount, BarePod, Budget, BudgetRule, Deployment, Key, Objects, Strategy};
use crate::decide::{Requirement, RequirementTest, Selector};

/// Where a field is wrong: line, field, message.
type Place = (Option<u64>, String, String);

/// Adds the object of one document.
pub(super) fn add(document: &Document, objects: &mut Objects) -> Result<(), Place> {
    let version = document.top("apiVersion").unwrap_or_default();
    let kind = document.top("kind").unwrap_or_default();
    let at = |wrong| document.locate(wrong);
    let twice = |key: &Key| at(Wrong::new("metadata.name", format!("{kind} {key} is defined twice")));
    match (version, kind) {
        ("apps/v1", "Deployment") => {
            let object: KubeDeployment = document.object()?;
            let key = key(&object.metadata).map_err(at)?;
            let new = deployment(object.spec.unwrap_or_default()).map_err(|w| at(w.within("spec")))?;
            if objects.deployments.insert(key.clone(), new).is_some() {
                return Err(twice(&key));
            }
        }
        ("autoscaling/v2", "HorizontalPodAutoscaler") => {
            let object: HorizontalPodAutoscaler = document.object()?;
            let key = key(&object.metadata).map_err(at)?;
            let new = hpa::convert(&key, &object).map_err(at)?;
            if objects.hpas.insert(key.clone(), new).is_some() {
                return Err(twice(&key));
            }
        }
        ("v1", "Pod") => {
            let object: Pod = document.object()?;
            let key = key(&object.metadata).map_err(at)?;
            let spec = object.spec.unwrap_or_default();
            let definition = pod::definition(&object.metadata, &spec).map_err(|w| at(w.within("spec")))?;
            let template_hash = definition.hash();
            let new = BarePod { definition: Arc::new(definition), template_hash };
            if objects.pods.insert(key.clone(), new).is_some() {
                return Err(twice(&key));
            }
        }
        ("policy/v1", "PodDisruptionBudget") => {
            let object: PodDisruptionBudget = document.object()?;
            let key = key(&object.metadata).map_err(at)?;
            let new = budget(&object).map_err(|w| at(w.within("spec")))?;
            if objects.budgets.insert(key.clone(), new).is_some() {
                return Err(twice(&key));
            }
        }
        ("", _) => return Err(at(Wrong::new("apiVersion", "is missing"))),
        (_, "") => return Err(at(Wrong::new("kind", "is missing"))),
        _ => {
            let message = format!(
                "{version} {kind} is not known here; known are apps/v1 Deployment, autoscaling/v2 \
                 HorizontalPodAutoscaler, v1 Pod and policy/v1 PodDisruptionBudget"
            );
            return Err(at(Wrong::new("kind", message)));
        }
    }
    Ok(())
}

/// Namespace (`default` when not given) and name.
fn key(metadata: &ObjectMeta) -> Result<Key, Wrong> {
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    check_name("metadata.namespace", namespace)?;
    let name = metadata.name.as_deref().ok_or_else(|| Wrong::new("metadata.name", "is missing"))?;
    check_name("metadata.name", name)?;
    Ok(Key::new(namespace, name))
}

/// Longest name: what a generated pod name adds must still fit in a label of 63 characters.
const MAX_NAME: usize = 46;

/// Names become parts of paths on the node: only Kubernetes' letters.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Wrong> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = !name.starts_with('-') && !name.ends_with('-') && !name.is_empty();
    if letters && ends && name.len() <= MAX_NAME {
        return Ok(());
    }
    let message = format!(
        "{name:?} is not a name: up to {MAX_NAME} lower case letters, digits and '-', a letter or digit at both ends"
    );
    Err(Wrong::new(field, message))
}

fn deployment(spec: DeploymentSpec) -> Result<Deployment, Wrong> {
    if spec.paused == Some(true) {
        return Err(Wrong::new("paused", "pausing is not supported"));
    }
    let replicas = spec.replicas.unwrap_or(1);
    let replicas =
        u32::try_from(replicas).map_err(|_| Wrong::new("replicas", format!("{replicas} is negative")))?;
    let metadata = spec.template.metadata.unwrap_or_default();
    let pod_spec = spec.template.spec.unwrap_or_default();
    let definition = pod::definition(&metadata, &pod_spec).map_err(|w| w.within("template.spec"))?;
    let selector = selector(&spec.selector).map_err(|w| w.within("selector"))?;
    if selector.0.is_empty() {
        return Err(Wrong::new("selector", "is empty"));
    }
    if !selector.matches(&definition.template.labels) {
        return Err(Wrong::new("selector", "does not match the labels of the template"));
    }
    if !matches!(pod_spec.restart_policy.as_deref(), None | Some("Always")) {
        return Err(Wrong::new("template.spec.restartPolicy", "must be Always in a Deployment"));
    }
    let template_hash = definition.hash();
    let strategy = spec.strategy.unwrap_or_default();
    let rolling = strategy.rolling_update.unwrap_or_default();
    let strategy = match strategy.type_.as_deref() {
        Some("Recreate") => Strategy::Recreate,
        None | Some("RollingUpdate") => {
            let quarter = Amount::Percent(25);
            let max_surge = amount(rolling.max_surge, quarter)
                .map_err(|m| Wrong::new("strategy.rollingUpdate.maxSurge", m))?;
            let max_unavailable = amount(rolling.max_unavailable, quarter)
                .map_err(|m| Wrong::new("strategy.rollingUpdate.maxUnavailable", m))?;
            if max_surge.is_nothing() && max_unavailable.is_nothing() {
                let message = "must not be 0 when maxSurge is 0";
                return Err(Wrong::new("strategy.rollingUpdate.maxUnavailable", message));
            }
            Strategy::Rolling { max_surge, max_unavailable }
        }
        Some(other) => {
            let message = format!("{other:?} is neither RollingUpdate nor Recreate");
            return Err(Wrong::new("strategy.type", message));
        }
    };
    let min_ready_ms = i64::from(spec.min_ready_seconds.unwrap_or(0).max(0)) * 1000;
    Ok(Deployment {
        replicas,
        selector,
        definition: Arc::new(definition),
        template_hash,
        strategy,
        min_ready_ms,
    })
}

fn budget(object: &PodDisruptionBudget) -> Result<Budget, Wrong> {
    let spec = object.spec.clone().unwrap_or_default();
    let rule = match (spec.min_available, spec.max_unavailable) {
        (Some(least), None) => BudgetRule::MinAvailable(
            amount(Some(least), Amount::Count(0)).map_err(|m| Wrong::new("minAvailable", m))?,
        ),
        (None, Some(most)) => BudgetRule::MaxUnavailable(
            amount(Some(most), Amount::Count(0)).map_err(|m| Wrong::new("maxUnavailable", m))?,
        ),
        _ => return Err(Wrong::new("", "give one of minAvailable and maxUnavailable")),
    };
    let selector = selector(&spec.selector.unwrap_or_default()).map_err(|w| w.within("selector"))?;
    Ok(Budget { selector, rule })
}

fn amount(value: Option<IntOrString>, otherwise: Amount) -> Result<Amount, String> {
    match value {
        None => Ok(otherwise),
        Some(IntOrString::Int(count)) => {
            u32::try_from(count).map(Amount::Count).map_err(|_| format!("{count} is negative"))
        }
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<u32>().ok());
            percent
                .map(Amount::Percent)
                .ok_or_else(|| format!("{text:?} is neither a count nor a percentage"))
        }
    }
}

/// A label selector.
pub(super) fn selector(selector: &LabelSelector) -> Result<Selector, Wrong> {
    let mut requirements: Vec<Requirement> = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| Requirement { key: key.clone(), test: RequirementTest::In(vec![value.clone()]) })
        .collect();
    for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let values = expression.values.clone().unwrap_or_default();
        let test = requirement_test(&expression.operator, values)
            .map_err(|m| Wrong::new(format!("matchExpressions[{i}].operator"), m))?;
        requirements.push(Requirement { key: expression.key.clone(), test });
    }
    Ok(Selector(requirements))
}

/// The test of an operator with its values.
pub(super) fn requirement_test(operator: &str, values: Vec<String>) -> Result<RequirementTest, String> {
    let bound = |values: &[String]| match values {
        [one] => one.parse::<i64>().map_err(|_| format!("{one:?} is not an integer")),
        _ => Err(format!("{operator} needs one value")),
    };
    match operator {
        "In" if !values.is_empty() => Ok(RequirementTest::In(values)),
        "NotIn" if !values.is_empty() => Ok(RequirementTest::NotIn(values)),
        "In" | "NotIn" => Err(format!("{operator} needs values")),
        "Exists" if values.is_empty() => Ok(RequirementTest::Exists),
        "DoesNotExist" if values.is_empty() => Ok(RequirementTest::DoesNotExist),
        "Exists" | "DoesNotExist" => Err(format!("{operator} takes no values")),
        "Gt" => bound(&values).map(RequirementTest::Gt),
        "Lt" => bound(&values).map(RequirementTest::Lt),
        other => Err(format!("{other:?} is not an operator of selectors")),
    }
}
