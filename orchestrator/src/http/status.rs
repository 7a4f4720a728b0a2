//! `/api/v1/binnacle/…`: what the server knows of the cluster, as JSON.

use axum::Json;
use axum::extract::State as Shared;
use serde_json::{Value, json};

use super::State;
use crate::nodes::Node;

pub(super) async fn nodes(Shared(state): Shared<State>) -> Json<Value> {
    let nodes: Vec<Value> = state.registry.snapshot().iter().map(node).collect();
    success(Value::Array(nodes))
}

pub(super) async fn pods(Shared(state): Shared<State>) -> Json<Value> {
    success(Value::Array(state.cluster.status().pods.clone()))
}

pub(super) async fn deployments(Shared(state): Shared<State>) -> Json<Value> {
    success(Value::Array(state.cluster.status().deployments.clone()))
}

pub(super) async fn hpas(Shared(state): Shared<State>) -> Json<Value> {
    success(Value::Array(state.cluster.status().hpas.clone()))
}

pub(super) async fn decisions(Shared(state): Shared<State>) -> Json<Value> {
    let status = state.cluster.status();
    let mut body = json!({"status": "success", "data": status.decisions});
    if !status.refused.is_empty() {
        body["warnings"] = json!(status.refused);
    }
    Json(body)
}

/// The envelope of Prometheus' API.
fn success(data: Value) -> Json<Value> {
    Json(json!({"status": "success", "data": data}))
}

fn node(node: &Node) -> Value {
    let pods = node.pods.as_ref().map(|pods| {
        let pod = |pod: &binnacle_proto::node::PodStatus| {
            json!({
                "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
                "phase": pod.phase, "reason": pod.reason, "startedMs": pod.started_ms,
            })
        };
        pods.iter().map(pod).collect::<Vec<_>>()
    });
    json!({
        "name": node.name,
        "connected": node.connected,
        "lastSeenMs": node.last_seen_ms,
        "startedMs": node.started_ms,
        "runsPods": node.runs_pods,
        "agentVersion": node.agent_version,
        "cgroupMode": node.cgroup_mode,
        "session": node.session.to_string(),
        "labels": node.labels,
        "capacity": {"cpuMillis": node.capacity.cpu_millis, "memoryBytes": node.capacity.memory_bytes},
        "pods": pods,
    })
}
