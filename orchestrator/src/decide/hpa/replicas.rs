//! From the values of one metric to a replica count.

use std::collections::BTreeMap;

use super::model::{Config, MetricValues, PodCounts, PodSample, ResourceKind};
use super::{HpaSpec, Target};
use crate::decide::{Phase, PodView};

/// A count and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proposal {
    pub replicas: u32,
    /// Percent for utilisation, else thousandths.
    pub value: i64,
    pub ratio: f64,
    pub counts: PodCounts,
}

/// The band around 1 in which a ratio asks for nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    up: f64,
    down: f64,
}

impl Tolerance {
    pub(super) fn of(spec: &HpaSpec, config: &Config) -> Self {
        Self {
            up: spec.behavior.up.tolerance.unwrap_or(config.tolerance),
            down: spec.behavior.down.tolerance.unwrap_or(config.tolerance),
        }
    }

    fn holds(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// Rounds up to whole replicas; what does not fit is the largest count, which `maxReplicas` cuts.
fn whole(replicas: f64) -> u32 {
    if replicas.is_nan() || replicas <= 0.0 { 0 } else { replicas.ceil().min(f64::from(i32::MAX)) as u32 }
}

struct Groups<'a> {
    ready: usize,
    unready: Vec<&'a PodView>,
    missing: Vec<&'a PodView>,
    ignored: usize,
    /// Values of the ready pods.
    values: BTreeMap<&'a str, i64>,
}

impl Groups<'_> {
    fn counts(&self) -> PodCounts {
        PodCounts {
            ready: self.ready,
            unready: self.unready.len(),
            missing: self.missing.len(),
            ignored: self.ignored,
        }
    }
}

/// Sorts pods into ready, unready, missing and ignored. Only CPU looks at readiness: a pod that
/// starts burns CPU that says nothing of its load.
fn group<'a>(
    pods: &[&'a PodView],
    samples: &BTreeMap<String, PodSample>,
    resource: Option<ResourceKind>,
    config: &Config,
    now_ms: i64,
) -> Groups<'a> {
    let mut groups =
        Groups { ready: 0, unready: Vec::new(), missing: Vec::new(), ignored: 0, values: BTreeMap::new() };
    for pod in pods {
        if pod.deleting || pod.phase == Phase::Failed {
            groups.ignored += 1;
            continue;
        }
        if pod.phase == Phase::Pending {
            groups.unready.push(pod);
            continue;
        }
        let Some(sample) = samples.get(&pod.name) else {
            groups.missing.push(pod);
            continue;
        };
        if resource == Some(ResourceKind::Cpu) {
            let unready = match (pod.ready, pod.started_ms) {
                (Some(ready), Some(started_ms)) => {
                    if started_ms + config.cpu_initialization_ms > now_ms {
                        !ready || sample.t_ms < pod.ready_changed_ms + sample.window_ms
                    } else {
                        !ready && pod.ready_changed_ms < started_ms + config.initial_readiness_ms
                    }
                }
                _ => true,
            };
            if unready {
                groups.unready.push(pod);
                continue;
            }
        }
        groups.ready += 1;
        groups.values.insert(&pod.name, sample.milli);
    }
    groups
}

/// Thousandths requested by each pod, or by one container of each.
fn requests<'a>(
    pods: &[&'a PodView],
    resource: ResourceKind,
    container: Option<&str>,
) -> Result<BTreeMap<&'a str, i64>, String> {
    let mut requests = BTreeMap::new();
    for pod in pods {
        let mut sum = 0i64;
        let mut found = false;
        for c in &pod.template.containers {
            if container.is_some_and(|name| name != c.name) {
                continue;
            }
            found = true;
            let request = match resource {
                ResourceKind::Cpu => c.requests.cpu_millis,
                ResourceKind::Memory => c.requests.memory_bytes.map(|bytes| bytes.saturating_mul(1000)),
            };
            let Some(request) = request else {
                let (resource, container) = (resource.as_str(), &c.name);
                return Err(format!(
                    "missing request for {resource} in container {container} of Pod {}",
                    pod.name
                ));
            };
            sum = sum.saturating_add(i64::try_from(request).unwrap_or(i64::MAX));
        }
        if let (false, Some(name)) = (found, container) {
            return Err(format!("container {name} not found in Pod {}", pod.name));
        }
        requests.insert(pod.name.as_str(), sum);
    }
    Ok(requests)
}

/// Ratio and percentage of usage to requests, in Kubernetes' whole percents.
fn utilization(
    values: &BTreeMap<&str, i64>,
    requests: &BTreeMap<&str, i64>,
    target: i64,
) -> Result<(f64, i64), String> {
    let (mut used, mut requested) = (0i128, 0i128);
    for (pod, value) in values {
        if let Some(request) = requests.get(pod) {
            used += i128::from(*value);
            requested += i128::from(*request);
        }
    }
    if requested == 0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    let percent = i64::try_from(used * 100 / requested).unwrap_or(i64::MAX);
    Ok((percent as f64 / target as f64, percent))
}

/// Ratio and mean of values.
fn average(values: &BTreeMap<&str, i64>, target: i64) -> (f64, i64) {
    let sum: i128 = values.values().map(|value| i128::from(*value)).sum();
    let mean = i64::try_from(sum / values.len().max(1) as i128).unwrap_or(i64::MAX);
    (mean as f64 / target as f64, mean)
}

/// What a pod is held to use when its own value must not pull the result in the direction found.
enum Stand {
    /// Thousandths by pod: a percentage of its requests.
    OfRequests(i64),
    /// Thousandths.
    Fixed(i64),
}

/// How [`of_pods`] compares values with the target.
pub(super) enum Measure<'a> {
    /// Percent of requests.
    Utilization { resource: ResourceKind, container: Option<&'a str>, target: i64 },
    /// Mean in thousandths; `resource` is `None` for the metric of another kind.
    Average { resource: Option<ResourceKind>, target: i64 },
}

/// Resource, ContainerResource and Pods metrics.
pub(super) fn of_pods(
    measure: &Measure<'_>,
    target: &Target<'_>,
    samples: &BTreeMap<String, PodSample>,
    tolerance: Tolerance,
    config: &Config,
    now_ms: i64,
) -> Result<Proposal, String> {
    let current = target.spec_replicas;
    if target.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let resource = match measure {
        Measure::Utilization { resource, .. } => Some(*resource),
        Measure::Average { resource, .. } => *resource,
    };
    let mut groups = group(&target.pods, samples, resource, config, now_ms);
    if groups.values.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let counts = groups.counts();
    let requests = match measure {
        Measure::Utilization { resource, container, .. } => requests(&target.pods, *resource, *container)?,
        Measure::Average { .. } => BTreeMap::new(),
    };
    let ratio_of = |values: &BTreeMap<&str, i64>| match measure {
        Measure::Utilization { target, .. } => utilization(values, &requests, *target),
        Measure::Average { target, .. } => Ok(average(values, *target)),
    };
    let (ratio, value) = ratio_of(&groups.values)?;
    let answer = |replicas| Ok(Proposal { replicas, value, ratio, counts });
    let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        if tolerance.holds(ratio) {
            return answer(current);
        }
        return answer(whole(ratio * groups.ready as f64));
    }
    let stand = match measure {
        _ if ratio > 1.0 => Some(Stand::Fixed(0)),
        Measure::Utilization { target, .. } if ratio < 1.0 => Some(Stand::OfRequests((*target).max(100))),
        Measure::Average { target, .. } if ratio < 1.0 => Some(Stand::Fixed(*target)),
        _ => None,
    };
    if let Some(stand) = stand {
        for pod in &groups.missing {
            let held = match stand {
                Stand::Fixed(milli) => milli,
                Stand::OfRequests(percent) => {
                    requests.get(pod.name.as_str()).map_or(0, |r| r.saturating_mul(percent) / 100)
                }
            };
            groups.values.insert(&pod.name, held);
        }
    }
    if up_with_unready {
        for pod in &groups.unready {
            groups.values.insert(&pod.name, 0);
        }
    }
    let (again, _) = ratio_of(&groups.values)?;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if tolerance.holds(again) || turned {
        return answer(current);
    }
    let replicas = whole(again * groups.values.len() as f64);
    let against = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    answer(if against { current } else { replicas })
}

/// Object and External metrics with a target of kind Value.
pub(super) fn of_value(target: &Target<'_>, milli: i64, wanted: i64, tolerance: Tolerance) -> Proposal {
    let ratio = milli as f64 / wanted as f64;
    let ready = target.pods.iter().filter(|pod| pod.is_ready()).count();
    let replicas = if target.spec_replicas == 0 {
        whole(ratio)
    } else if tolerance.holds(ratio) {
        target.spec_replicas
    } else {
        whole(ratio * ready as f64)
    };
    Proposal { replicas, value: milli, ratio, counts: PodCounts { ready, ..PodCounts::default() } }
}

/// Object and External metrics with a target of kind AverageValue.
pub(super) fn of_average(target: &Target<'_>, milli: i64, wanted: i64, tolerance: Tolerance) -> Proposal {
    let status = target.status_replicas;
    let ratio = milli as f64 / (wanted as f64 * f64::from(status));
    let replicas =
        if status > 0 && tolerance.holds(ratio) { status } else { whole(milli as f64 / wanted as f64) };
    let value = if status == 0 { milli } else { (milli as f64 / f64::from(status)).ceil() as i64 };
    Proposal { replicas, value, ratio, counts: PodCounts::default() }
}

/// The values by pod, or why there are none.
pub(super) fn by_pod(values: &MetricValues) -> Result<&BTreeMap<String, PodSample>, String> {
    match values {
        MetricValues::Pods(samples) => Ok(samples),
        MetricValues::Single { .. } => Err("the metric has one value and not one for each pod".to_owned()),
        MetricValues::Unavailable(why) => Err(why.clone()),
    }
}

/// The one value, or why there is none.
pub(super) fn single(values: &MetricValues) -> Result<i64, String> {
    match values {
        MetricValues::Single { milli, .. } => Ok(*milli),
        MetricValues::Pods(_) => Err("the metric has a value for each pod and not one".to_owned()),
        MetricValues::Unavailable(why) => Err(why.clone()),
    }
}
