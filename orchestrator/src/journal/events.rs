//! What is no decision but must be found beside them: events of nodes, pods made and ended.

use serde_json::{Map, Value, json};

use super::{Journal, Kind, object};
use crate::nodes::Event;

impl Journal {
    /// Notes an event of a node, at the time it arrived; its own time is `event_time_ms`. Those about memory stand beside the OOM scorer's decisions.
    pub fn node_event(&mut self, event: &Event, now_ms: i64) {
        let e = &event.event;
        let kind = if e.reason.contains("OOM") || e.reason == "Evicted" { Kind::Oom } else { Kind::Node };
        let fields: Map<String, Value> =
            e.fields.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        let body = json!({
            "event": e.reason,
            "pod": e.pod,
            "container": e.container,
            "message": e.message,
            "fields": fields,
            "event_time_ms": e.time_ms,
        });
        self.record(kind, &e.namespace, Some(&event.node), now_ms, object(body));
    }

    /// Notes that pods of a deployment were made or ended.
    pub fn rollout(
        &mut self,
        namespace: &str,
        deployment: &str,
        action: &str,
        pods: &[String],
        reason: &str,
        now_ms: i64,
    ) {
        let body = json!({"deployment": deployment, "action": action, "pods": pods, "reason": reason});
        self.record(Kind::Rollout, namespace, None, now_ms, object(body));
    }
}
