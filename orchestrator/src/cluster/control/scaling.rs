//! Horizontal scaling: asks, decides, sets replicas.

use std::sync::Arc;

use super::Controller;
use crate::decide::hpa::{self, HpaSpec, HpaState, MetricValues, Target};
use crate::decide::{ClusterView, PodView};
use crate::signals;

impl Controller {
    /// Evaluates every autoscaler whose time has come. Between its times it is looked whether the
    /// metrics ask for more replicas; that is acted on at once.
    pub(super) async fn scale(&mut self, now_ms: i64) {
        if !self.watch.is_due(now_ms) {
            return;
        }
        let objects = self.objects();
        self.synced.retain(|key, _| objects.hpas.keys().any(|have| have.to_string() == *key));
        let period_ms = self.deps.config.hpa.sync_period_ms as i64;
        for (key, spec) in &objects.hpas {
            let key = key.to_string();
            let last = self.synced.get(&key).copied();
            // Half a round of slack: ticks do not fall on the period exactly.
            let due = last.is_none_or(|at| now_ms - at + 500 >= period_ms || now_ms < at);
            let view = self.world.view(&objects, now_ms);
            self.evaluate(&key, spec, &view, due, now_ms).await;
        }
    }

    async fn evaluate(&mut self, key: &str, spec: &HpaSpec, view: &ClusterView, due: bool, now_ms: i64) {
        let config = hpa::Config::from(&self.deps.config.hpa);
        let state = self.world.state.hpas.get(key).cloned().unwrap_or_default();
        let deployment =
            view.deployments.iter().find(|d| d.namespace == spec.namespace && d.name == spec.target);
        let Some(deployment) = deployment else {
            if due {
                self.synced.insert(key.to_owned(), now_ms);
                let why = format!("deployments.apps {:?} not found", spec.target);
                let decision = hpa::without_target(&state, &why, now_ms);
                self.journal.hpa(spec, &[], &decision, now_ms);
                self.world.state.hpas.insert(key.to_owned(), decision.state);
            }
            return;
        };
        let pods: Vec<PodView> = view
            .pods
            .iter()
            .filter(|p| p.namespace == spec.namespace && deployment.selector.matches(&p.template.labels))
            .filter(|p| p.owner.deployment() == Some(&deployment.name))
            .cloned()
            .collect();
        let signals = self.ask_hpa(spec, pods.clone(), now_ms).await;
        let values: Vec<MetricValues> = signals.iter().map(|s| s.values.clone()).collect();
        let living = pods.iter().filter(|p| !p.phase.is_terminal() && !p.deleting).count();
        let target = Target {
            spec_replicas: deployment.replicas,
            status_replicas: u32::try_from(living).unwrap_or(u32::MAX),
            pods: pods.iter().collect(),
        };
        let decision = hpa::decide(spec, &target, &values, &state, &config, now_ms);
        let grows = decision.desired > decision.current;
        if !due && !grows {
            return;
        }
        self.synced.insert(key.to_owned(), now_ms);
        if decision.desired != decision.current {
            tracing::info!(
                hpa = key,
                from = decision.current,
                to = decision.desired,
                reason = decision.reason,
                "scaling"
            );
            self.world.scale(&format!("{}/{}", spec.namespace, spec.target), decision.desired);
        }
        self.journal.hpa(spec, &signals, &decision, now_ms);
        self.world.state.hpas.insert(key.to_owned(), HpaState::clone(&decision.state));
        if grows {
            // New pods are made in this round and not in the next.
            self.keep_workloads(now_ms);
        }
    }

    async fn ask_hpa(&self, spec: &HpaSpec, pods: Vec<PodView>, now_ms: i64) -> Vec<signals::hpa::Signal> {
        let settings = &self.deps.config.hpa;
        let config = signals::hpa::Config {
            cpu_window_ms: settings.cpu_window_ms as i64,
            max_age_ms: settings.max_age_ms as i64,
        };
        let (ask, asked_spec) = (Arc::clone(&self.ask), spec.clone());
        let answer = tokio::task::spawn_blocking(move || {
            let pods: Vec<&PodView> = pods.iter().collect();
            signals::hpa::ask(&*ask, &asked_spec, &pods, &config, now_ms)
        });
        answer.await.unwrap_or_else(|error| {
            tracing::error!(%error, "asking for an autoscaler's metrics failed");
            Vec::new()
        })
    }
}
