//! Scheduling: asks for the nodes' load, chooses, binds.

use std::sync::Arc;

use super::Controller;
use crate::decide::schedule;
use crate::signals;

impl Controller {
    /// Binds every pod that waits and can be placed.
    pub(super) async fn place(&mut self, now_ms: i64) {
        let objects = self.objects();
        let view = self.world.view(&objects, now_ms);
        let waits = |p: &crate::decide::PodView| p.node.is_none() && !p.deleting && !p.phase.is_terminal();
        self.waiting.retain(|uid, _| view.pods.iter().any(|p| p.uid == *uid && waits(p)));
        if !view.pods.iter().any(waits) {
            return;
        }
        let config = schedule::Config::from(&self.deps.config.schedule);
        let (ask, nodes) = (Arc::clone(&self.ask), view.nodes.clone());
        let rate_window_ms = self.deps.config.schedule.rate_window_ms as i64;
        let asked_config = config.clone();
        let answer = tokio::task::spawn_blocking(move || {
            signals::schedule::ask(&*ask, &nodes, rate_window_ms, &asked_config, now_ms)
        });
        let (asked, signals) = answer.await.unwrap_or_else(|error| {
            tracing::error!(%error, "asking for the nodes' load failed");
            Default::default()
        });
        for decision in schedule::decide(&view, &signals, &config, now_ms) {
            match &decision.node {
                Some(node) => {
                    tracing::info!(pod = decision.pod, node, reason = decision.reason, "bound");
                    self.world.bind(&decision.uid, node, now_ms);
                    self.waiting.remove(&decision.uid);
                }
                // Said once, and again when the reason changes.
                None if self.waiting.get(&decision.uid) == Some(&decision.reason) => continue,
                None => {
                    tracing::warn!(pod = decision.pod, reason = decision.reason, "cannot be placed");
                    self.waiting.insert(decision.uid.clone(), decision.reason.clone());
                }
            }
            self.journal.schedule(&asked, &decision, now_ms);
        }
    }
}
