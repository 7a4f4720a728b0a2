//! Decisions of the OOM scorer.

use serde_json::{Value, json};

use super::{Journal, Kind, failures, object, queries};
use crate::decide::oom::{Assessment, Decision};
use crate::signals::Asked;

/// What was done about one container, and how it went.
#[derive(Debug, Clone)]
pub struct OomAction {
    /// `set_oom_score_adj`, `raise_limit` or `evict`.
    pub action: &'static str,
    /// Why.
    pub reason: String,
    /// What was asked of the node.
    pub wanted: Value,
    /// What the node read back, or why it was not done.
    pub result: Result<String, String>,
    /// Others that were weighed.
    pub alternatives: Vec<String>,
}

impl Journal {
    /// Notes what was found about the containers of one node.
    pub fn oom_assessments(&mut self, node: &str, decision: &Decision, now_ms: i64) {
        for c in &decision.containers {
            let labels = [
                ("namespace", c.namespace.as_str()),
                ("pod", c.pod.as_str()),
                ("container", c.container.as_str()),
                ("node", node),
            ];
            let mut put = |name: &str, value: f64| self.sample(name, &labels, now_ms, value);
            put("binnacle_oom_probability_ratio", c.probability);
            put("binnacle_oom_score_bytes", c.score);
            put("binnacle_oom_base_score_adj", f64::from(c.base_adj));
            put("binnacle_oom_target_score_adj", f64::from(c.target_adj));
            put("binnacle_oom_observed_score_adj", f64::from(c.observed_adj));
            if let Some(slope) = c.slope {
                put("binnacle_oom_slope_bytes_per_second", slope);
            }
            // +Inf is "not in sight"; a missing series is "not known".
            if c.slope.is_some() {
                put("binnacle_oom_time_to_oom_seconds", c.time_to_oom_s.unwrap_or(f64::INFINITY));
            }
        }
        let seconds = decision.node_time_to_oom_s.unwrap_or(f64::INFINITY);
        self.sample("binnacle_oom_node_time_to_oom_seconds", &[("node", node)], now_ms, seconds);
    }

    /// Notes one action on a container and its result.
    pub fn oom_action(
        &mut self,
        node: &str,
        asked: &[Asked],
        container: &Assessment,
        kernel_choice: Option<&str>,
        action: &OomAction,
        now_ms: i64,
    ) {
        let (observed, error) = match &action.result {
            Ok(observed) => (Some(observed), None),
            Err(error) => (None, Some(error)),
        };
        let labels = [
            ("namespace", container.namespace.as_str()),
            ("pod", container.pod.as_str()),
            ("container", container.container.as_str()),
            ("node", node),
            ("action", action.action),
            ("result", if error.is_none() { "done" } else { "failed" }),
        ];
        self.sample("binnacle_oom_action", &labels, now_ms, 1.0);
        let body = json!({
            "pod": container.pod,
            "container": container.container,
            "uid": container.uid,
            "query": queries(asked),
            "errors": failures(asked),
            "values": container,
            "oldest_age_ms": container.age_ms,
            "limits": {"memory_bytes": container.limit_bytes, "class": container.qos},
            "action": action.action,
            "wanted": action.wanted,
            "reason": action.reason,
            "result": {"observed": observed, "error": error},
            "alternatives": action.alternatives,
            "kernel_would_kill": kernel_choice,
        });
        self.record(Kind::Oom, &container.namespace, Some(node), now_ms, object(body));
    }
}
