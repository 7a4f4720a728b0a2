//! Signals of the horizontal scaler.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Ask, Asked, quote};
use crate::decide::PodView;
use crate::decide::hpa::{HpaSpec, MetricSource, MetricValues, PodSample, ResourceKind};

/// Settings.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Range of `rate()` over CPU seconds, in milliseconds.
    pub cpu_window_ms: i64,
    /// Samples older than this are missing, in milliseconds.
    pub max_age_ms: i64,
}

/// The answer for one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// What was asked.
    pub asked: Vec<Asked>,
    /// For the decision.
    pub values: MetricValues,
    /// For the journal: what each pod said, stale values included. Empty for a single value.
    pub pods: BTreeMap<String, PodReading>,
}

/// What the store knows of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum PodReading {
    /// A value that counts.
    Fresh {
        /// Cores or bytes.
        value: f64,
        /// Age of the newest sample in milliseconds.
        age_ms: i64,
    },
    /// A value that is too old to count.
    Stale {
        /// Age of the newest sample in milliseconds.
        age_ms: i64,
    },
    /// No value for one of the containers at least.
    Missing,
}

/// Asks for every metric of `spec`; `pods` are those of its target.
pub fn ask(ask: &dyn Ask, spec: &HpaSpec, pods: &[&PodView], config: &Config, now_ms: i64) -> Vec<Signal> {
    spec.metrics
        .iter()
        .map(|metric| match &metric.source {
            MetricSource::Resource(resource) => {
                of_resource(ask, &spec.namespace, *resource, None, pods, config, now_ms)
            }
            MetricSource::ContainerResource { resource, container } => {
                of_resource(ask, &spec.namespace, *resource, Some(container), pods, config, now_ms)
            }
            MetricSource::Pods { name, query } => of_pods(ask, name, query, pods, now_ms),
            MetricSource::Object { name, query } | MetricSource::External { name, query } => {
                single(ask, name, query, now_ms)
            }
        })
        .collect()
}

/// Usage of each pod. A pod counts only when all of its containers have a fresh value, as in
/// Kubernetes' metrics API.
fn of_resource(
    ask: &dyn Ask,
    namespace: &str,
    resource: ResourceKind,
    container: Option<&str>,
    pods: &[&PodView],
    config: &Config,
    now_ms: i64,
) -> Signal {
    let which = match container {
        Some(name) => format!("{{namespace={},container={}}}", quote(namespace), quote(name)),
        None => format!("{{namespace={},container!=\"\"}}", quote(namespace)),
    };
    let by = "sum by (namespace, pod, container)";
    let (query, series, window_ms) = match resource {
        ResourceKind::Cpu => {
            let series = format!("container_cpu_usage_seconds_total{which}");
            (format!("{by} (rate({series}[{}ms]))", config.cpu_window_ms), series, config.cpu_window_ms)
        }
        ResourceKind::Memory => {
            let series = format!("container_memory_working_set_bytes{which}");
            (format!("{by} ({series})"), series, 0)
        }
    };
    let times = format!("max by (namespace, pod, container) (timestamp({series}))");
    let (values, ages) = (ask.vector(&query, now_ms), ask.vector(&times, now_ms));
    let asked = vec![
        Asked::new(resource.as_str(), &query, values.as_ref().err().cloned()),
        Asked::new("time of the newest sample", &times, ages.as_ref().err().cloned()),
    ];
    let (values, ages) = match (values, ages) {
        (Ok(values), Ok(ages)) => (values, ages),
        (Err(why), _) | (_, Err(why)) => {
            return Signal { asked, values: MetricValues::Unavailable(why), pods: BTreeMap::new() };
        }
    };
    let by_container = |samples: &[binnacle_tsdb::InstantSample]| -> BTreeMap<(String, String), f64> {
        let label =
            |s: &binnacle_tsdb::InstantSample, name| s.labels.get(name).unwrap_or_default().to_owned();
        samples.iter().map(|s| ((label(s, "pod"), label(s, "container")), s.value)).collect()
    };
    let (values, times) = (by_container(&values), by_container(&ages));
    let mut readings = BTreeMap::new();
    let mut counted = BTreeMap::new();
    for pod in pods {
        let wanted = pod.template.containers.iter().filter(|c| container.is_none_or(|name| name == c.name));
        let (mut sum, mut oldest_ms, mut complete) = (0.0, i64::MAX, true);
        for c in wanted {
            let key = (pod.name.clone(), c.name.clone());
            match (values.get(&key), times.get(&key)) {
                (Some(value), Some(at_s)) if value.is_finite() => {
                    sum += value;
                    oldest_ms = oldest_ms.min((at_s * 1000.0) as i64);
                }
                _ => complete = false,
            }
        }
        let reading = if !complete || oldest_ms == i64::MAX {
            PodReading::Missing
        } else if now_ms - oldest_ms > config.max_age_ms {
            PodReading::Stale { age_ms: now_ms - oldest_ms }
        } else {
            let milli = (sum * 1000.0).ceil() as i64;
            counted.insert(pod.name.clone(), PodSample { milli, t_ms: oldest_ms, window_ms });
            PodReading::Fresh { value: sum, age_ms: now_ms - oldest_ms }
        };
        readings.insert(pod.name.clone(), reading);
    }
    Signal { asked, values: MetricValues::Pods(counted), pods: readings }
}

fn of_pods(ask: &dyn Ask, name: &str, query: &str, pods: &[&PodView], now_ms: i64) -> Signal {
    let answer = ask.vector(query, now_ms);
    let asked = vec![Asked::new(name, query, answer.as_ref().err().cloned())];
    let samples = match answer {
        Ok(samples) => samples,
        Err(why) => return Signal { asked, values: MetricValues::Unavailable(why), pods: BTreeMap::new() },
    };
    let mut readings = BTreeMap::new();
    let mut counted = BTreeMap::new();
    for pod in pods {
        let same = |s: &&binnacle_tsdb::InstantSample| {
            s.labels.get("pod") == Some(&pod.name)
                && s.labels.get("namespace").is_none_or(|namespace| namespace == pod.namespace)
        };
        let value: Vec<f64> =
            samples.iter().filter(same).map(|s| s.value).filter(|v| v.is_finite()).collect();
        let reading = if value.is_empty() {
            PodReading::Missing
        } else {
            let value: f64 = value.iter().sum();
            let milli = (value * 1000.0).ceil() as i64;
            counted.insert(pod.name.clone(), PodSample { milli, t_ms: now_ms, window_ms: 0 });
            PodReading::Fresh { value, age_ms: 0 }
        };
        readings.insert(pod.name.clone(), reading);
    }
    Signal { asked, values: MetricValues::Pods(counted), pods: readings }
}

fn single(ask: &dyn Ask, name: &str, query: &str, now_ms: i64) -> Signal {
    let answer = ask.vector(query, now_ms);
    let asked = vec![Asked::new(name, query, answer.as_ref().err().cloned())];
    let values = match answer {
        Err(why) => MetricValues::Unavailable(why),
        Ok(samples) if samples.is_empty() => {
            MetricValues::Unavailable("no metrics returned from the query".to_owned())
        }
        Ok(samples) if samples.iter().any(|s| !s.value.is_finite()) => {
            MetricValues::Unavailable("the query answers a value that is not a number".to_owned())
        }
        Ok(samples) => {
            let sum: f64 = samples.iter().map(|s| s.value).sum();
            MetricValues::Single { milli: (sum * 1000.0).ceil() as i64, t_ms: now_ms }
        }
    };
    Signal { asked, values, pods: BTreeMap::new() }
}
