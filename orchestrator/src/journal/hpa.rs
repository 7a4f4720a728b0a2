//! Decisions of the horizontal scaler.

use serde_json::{Value, json};

use super::{Journal, Kind, failures, object, queries};
use crate::decide::hpa::{Decision, HpaSpec, MetricTarget};
use crate::signals::hpa::Signal;

impl Journal {
    /// Notes one decision with what it was made of.
    pub fn hpa(&mut self, spec: &HpaSpec, signals: &[Signal], decision: &Decision, now_ms: i64) {
        let labels = [
            ("namespace", spec.namespace.as_str()),
            ("horizontalpodautoscaler", spec.name.as_str()),
            ("deployment", spec.target.as_str()),
        ];
        let mut put = |name: &str, value: f64| self.sample(name, &labels, now_ms, value);
        put("binnacle_hpa_current_replicas", f64::from(decision.current));
        put("binnacle_hpa_desired_replicas", f64::from(decision.desired));
        put("binnacle_hpa_min_replicas", f64::from(spec.min_replicas));
        put("binnacle_hpa_max_replicas", f64::from(spec.max_replicas));
        if let Some(proposed) = decision.proposed {
            put("binnacle_hpa_recommendation_replicas", f64::from(proposed));
        }
        if let Some(stabilized) = decision.stabilized {
            put("binnacle_hpa_stabilized_replicas", f64::from(stabilized));
        }
        put("binnacle_hpa_limited", f64::from(u8::from(decision.limited.is_some())));
        for condition in &decision.state.conditions {
            let labels = [labels[0], labels[1], labels[2], ("condition", condition.kind.as_str())];
            let value = f64::from(u8::from(condition.status));
            self.sample("binnacle_hpa_condition", &labels, now_ms, value);
        }
        let mut values = Vec::new();
        for (i, metric) in decision.metrics.iter().enumerate() {
            let utilization =
                matches!(spec.metrics.get(i).map(|m| m.target), Some(MetricTarget::Utilization(_)));
            let scale = if utilization { 1.0 } else { 1000.0 };
            let unit = if utilization { "percent" } else { "value" };
            let labels = [labels[0], labels[1], labels[2], ("metric", metric.name.as_str()), ("unit", unit)];
            self.sample("binnacle_hpa_metric_target", &labels, now_ms, metric.target as f64 / scale);
            if let Some(value) = metric.value {
                self.sample("binnacle_hpa_metric_value", &labels, now_ms, value as f64 / scale);
            }
            values.push(json!({
                "metric": metric.name,
                "unit": unit,
                "value": metric.value.map(|value| value as f64 / scale),
                "target": metric.target as f64 / scale,
                "ratio": metric.ratio,
                "proposed": metric.proposed,
                "error": metric.error,
                "counted": metric.counts,
                "pods": signals.get(i).map(|signal| &signal.pods),
            }));
        }
        let asked: Vec<_> = signals.iter().flat_map(|signal| signal.asked.iter().cloned()).collect();
        let oldest = signals.iter().filter_map(oldest_age_ms).max();
        let action = match decision.desired.cmp(&decision.current) {
            std::cmp::Ordering::Greater => "scale_up",
            std::cmp::Ordering::Less => "scale_down",
            std::cmp::Ordering::Equal => "none",
        };
        let body = json!({
            "name": spec.name,
            "deployment": spec.target,
            "query": queries(&asked),
            "errors": failures(&asked),
            "values": values,
            "oldest_age_ms": oldest,
            "current": decision.current,
            "desired": decision.desired,
            "limits": {
                "min": spec.min_replicas,
                "max": spec.max_replicas,
                "proposed": decision.proposed,
                "stabilized": decision.stabilized,
                "applied": decision.limited,
            },
            "action": action,
            "reason": reason(decision),
            "conditions": decision.state.conditions,
            "events": decision.events,
        });
        self.record(Kind::Hpa, &spec.namespace, None, now_ms, object(body));
    }
}

fn oldest_age_ms(signal: &Signal) -> Option<i64> {
    use crate::signals::hpa::PodReading::{Fresh, Stale};
    signal
        .pods
        .values()
        .filter_map(|reading| match reading {
            Fresh { age_ms, .. } | Stale { age_ms } => Some(*age_ms),
            _ => None,
        })
        .max()
}

/// One sentence: why the size changes, or why it does not.
fn reason(decision: &Decision) -> Value {
    if !decision.reason.is_empty() {
        return decision.reason.clone().into();
    }
    let inactive = decision.condition("ScalingActive").filter(|c| !c.status);
    let limited = decision.condition("ScalingLimited").filter(|c| c.status);
    let stabilized = decision.condition("AbleToScale").filter(|c| c.reason.ends_with("Stabilized"));
    match inactive.or(limited).or(stabilized) {
        Some(condition) => condition.message.clone().into(),
        None => "the recommendation is the current size".into(),
    }
}
