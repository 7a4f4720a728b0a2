//! OOM protection: asks for working sets, scores, writes scores, rescues.

use std::sync::Arc;

use serde_json::json;

use super::Controller;
use crate::act::{self, Command};
use crate::cluster::objects::Objects;
use crate::cluster::quantity;
use crate::cluster::world::view::budgets_allow;
use crate::decide::oom::{self, Assessment, MAX_MEMORY_ANNOTATION, RESTART_COST_ANNOTATION, Rescue, Subject};
use crate::decide::{ClusterView, PodView};
use crate::journal::OomAction;
use crate::signals::{self, Asked};

/// Most commands under way at one time; the next round decides again about the others.
const MAX_COMMANDS: usize = 256;

/// A command that has come back, with what the journal needs.
pub(super) struct Done {
    node: String,
    asked: Vec<Asked>,
    container: Assessment,
    kernel_choice: Option<String>,
    action: OomAction,
}

impl Controller {
    /// Scores the containers of every node and acts on what was found.
    pub(super) async fn watch_memory(&mut self, now_ms: i64) {
        let objects = self.objects();
        let view = self.world.view(&objects, now_ms);
        let ask = Arc::clone(&self.ask);
        let window_ms = self.deps.config.oom.window_ms as i64;
        let answer = tokio::task::spawn_blocking(move || signals::oom::ask(&*ask, window_ms, now_ms)).await;
        let signals = answer.unwrap_or_else(|error| {
            tracing::error!(%error, "asking for working sets failed");
            Default::default()
        });
        let config = oom::Config::from(&self.deps.config.oom);
        self.acted.retain(|_, at_ms| now_ms - *at_ms < config.cool_down_ms);
        for node in &view.nodes {
            let subjects = self.subjects(&view, &objects, &node.name, &signals, now_ms);
            if subjects.is_empty() {
                continue;
            }
            let decision = oom::decide(node, &subjects, &config, now_ms);
            self.journal.oom_assessments(&node.name, &decision, now_ms);
            if !node.ready {
                continue;
            }
            for c in decision.containers.iter().filter(|c| c.write) {
                let command = Command::SetOomScoreAdj {
                    uid: c.uid.clone(),
                    container: c.container.clone(),
                    value: c.target_adj,
                };
                let action = OomAction {
                    action: "set_oom_score_adj",
                    reason: explain(c),
                    wanted: json!({"oom_score_adj": c.target_adj, "was": c.observed_adj}),
                    result: Ok(String::new()),
                    alternatives: Vec::new(),
                };
                self.start(&node.name, command, &signals.asked, c, &decision, action);
            }
            for rescue in &decision.rescues {
                self.rescue(&node.name, rescue, &signals.asked, &decision, now_ms);
            }
        }
    }

    fn rescue(
        &mut self,
        node: &str,
        rescue: &Rescue,
        asked: &[Asked],
        decision: &oom::Decision,
        now_ms: i64,
    ) {
        let (uid, container) = match rescue {
            Rescue::RaiseLimit { uid, container, .. } | Rescue::Evict { uid, container, .. } => {
                (uid, container)
            }
        };
        let Some(c) = decision.containers.iter().find(|c| c.uid == *uid && c.container == *container) else {
            return;
        };
        let key = (uid.clone(), container.clone());
        if self.acted.contains_key(&key) {
            return;
        }
        let (command, action) = match rescue {
            Rescue::RaiseLimit { to_bytes, from_bytes, reason, .. } => (
                Command::SetMemoryLimit { uid: uid.clone(), container: container.clone(), bytes: *to_bytes },
                OomAction {
                    action: "raise_limit",
                    reason: reason.clone(),
                    wanted: json!({"limit_bytes": to_bytes, "was": from_bytes}),
                    result: Ok(String::new()),
                    alternatives: vec!["evict".to_owned()],
                },
            ),
            Rescue::Evict { reason, alternatives, .. } => {
                let grace_seconds = self
                    .world
                    .state
                    .pods
                    .get(uid)
                    .and_then(|pod| self.world.state.definitions.get(&pod.definition))
                    .map_or(30, |definition| definition.run.termination_grace_seconds);
                let why = "Evicted".to_owned();
                (
                    Command::Evict { uid: uid.clone(), reason: why, grace_seconds },
                    OomAction {
                        action: "evict",
                        reason: reason.clone(),
                        wanted: json!({"grace_seconds": grace_seconds}),
                        result: Ok(String::new()),
                        alternatives: alternatives.clone(),
                    },
                )
            }
        };
        if self.start(node, command, asked, c, decision, action) {
            self.acted.insert(key, now_ms);
        }
    }

    /// Gives a command to a node; its result is journaled when it comes.
    fn start(
        &mut self,
        node: &str,
        command: Command,
        asked: &[Asked],
        container: &Assessment,
        decision: &oom::Decision,
        mut action: OomAction,
    ) -> bool {
        if self.commands.len() >= MAX_COMMANDS {
            tracing::warn!(node, pod = container.pod, "too many commands are under way: decided again later");
            return false;
        }
        let registry = self.deps.registry.clone();
        let (node, asked, container) = (node.to_owned(), asked.to_vec(), container.clone());
        let kernel_choice = decision.kernel_choice.clone();
        self.commands.spawn(async move {
            action.result = act::carry_out(&registry, &node, command).await;
            Done { node, asked, container, kernel_choice, action }
        });
        true
    }

    /// Journals the commands that have come back.
    pub(super) fn take_results(&mut self, now_ms: i64) {
        while let Some(done) = self.commands.try_join_next() {
            let Ok(Done { node, asked, container, kernel_choice, action }) = done else { continue };
            tracing::info!(
                node,
                pod = container.pod,
                action = action.action,
                result = ?action.result,
                reason = action.reason,
                "memory"
            );
            self.journal.oom_action(&node, &asked, &container, kernel_choice.as_deref(), &action, now_ms);
        }
    }

    /// The running containers of one node.
    fn subjects(
        &self,
        view: &ClusterView,
        objects: &Objects,
        node: &str,
        signals: &signals::oom::Signals,
        now_ms: i64,
    ) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for pod in view.pods_on(node).filter(|p| !p.deleting) {
            let Some(status) = self.world.status(&pod.uid) else { continue };
            let evictable = budgets_allow(view, objects, pod, now_ms);
            for c in status.containers.iter().filter(|c| c.running) {
                let template = pod.template.containers.iter().find(|t| t.name == c.name);
                subjects.push(Subject {
                    uid: pod.uid.clone(),
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    container: c.name.clone(),
                    qos: pod.template.qos(),
                    request_bytes: template.map_or(0, |t| t.requests.memory()),
                    limit_bytes: (c.memory_limit_bytes > 0).then_some(c.memory_limit_bytes),
                    max_bytes: annotation(pod, MAX_MEMORY_ANNOTATION, |text| quantity::units(text).ok()),
                    evictable,
                    restart_cost: annotation(pod, RESTART_COST_ANNOTATION, |text| {
                        text.parse().ok().filter(|cost: &f64| cost.is_finite() && *cost > 0.0)
                    })
                    .unwrap_or(1.0),
                    observed_adj: c.oom_score_adj,
                    working_set: signals.working_sets.get(&c.id).cloned().unwrap_or_default(),
                    pressure: signals.pressures.get(&c.id).copied(),
                });
            }
        }
        subjects
    }
}

/// The value of an annotation, `None` when it is absent or not of its kind.
fn annotation<T>(pod: &PodView, name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    pod.template.annotations.get(name).and_then(|text| read(text))
}

fn explain(c: &Assessment) -> String {
    if c.target_adj == c.base_adj {
        return format!("{} is the base of class {} and nothing says more", c.base_adj, c.qos.as_str());
    }
    let soon = match c.time_to_oom_s {
        Some(seconds) => format!("runs out of memory in {seconds:.0} s"),
        None => "shares a node that runs out of memory".to_owned(),
    };
    format!(
        "{soon} with probability {:.2}, growing by {:.0} bytes/s; scores {:.0} bytes above its request",
        c.probability,
        c.slope.unwrap_or(0.0),
        c.score
    )
}
