//! Decisions of the scheduler.

use serde_json::json;

use super::{Journal, Kind, failures, object, queries};
use crate::decide::schedule::Decision;
use crate::signals::Asked;

impl Journal {
    /// Notes one placement, or that there was none.
    pub fn schedule(&mut self, asked: &[Asked], decision: &Decision, now_ms: i64) {
        for candidate in &decision.candidates {
            let chosen = decision.node.as_deref() == Some(candidate.node.as_str());
            let labels = [
                ("namespace", decision.namespace.as_str()),
                ("pod", decision.pod.as_str()),
                ("node", candidate.node.as_str()),
            ];
            if let Some(score) = candidate.score {
                self.sample("binnacle_schedule_score", &labels, now_ms, score);
                self.sample("binnacle_schedule_expected_cpu_ratio", &labels, now_ms, candidate.expected_cpu);
                let memory = candidate.expected_memory;
                self.sample("binnacle_schedule_expected_memory_ratio", &labels, now_ms, memory);
                self.sample("binnacle_schedule_freshness_ratio", &labels, now_ms, candidate.freshness);
            }
            self.sample("binnacle_schedule_chosen", &labels, now_ms, f64::from(u8::from(chosen)));
        }
        let body = json!({
            "pod": decision.pod,
            "uid": decision.uid,
            "query": queries(asked),
            "errors": failures(asked),
            "values": decision.candidates,
            "oldest_age_ms": decision.candidates.iter().filter_map(|c| c.load.age_ms).max(),
            "estimate": {
                "cpu_millis": decision.estimate.0,
                "memory_bytes": decision.estimate.1,
                "from": decision.estimate_source,
            },
            "action": if decision.node.is_some() { "bind" } else { "wait" },
            "chosen": decision.node,
            "reason": decision.reason,
            "alternatives": decision
                .candidates
                .iter()
                .filter(|c| decision.node.as_deref() != Some(c.node.as_str()))
                .map(|c| json!({"node": c.node, "score": c.score, "rejected": c.rejected}))
                .collect::<Vec<_>>(),
        });
        self.record(Kind::Schedule, &decision.namespace, decision.node.as_deref(), now_ms, object(body));
    }
}
