//! Deployments and pods of their own: makes what is missing, ends what is too much.

use std::sync::Arc;

use super::Controller;
use crate::cluster::objects::{Key, Objects};
use crate::decide::{Owner, PodView, rollout};

impl Controller {
    /// Brings the pods on record in line with the objects.
    pub(super) fn keep_workloads(&mut self, now_ms: i64) {
        let objects = self.objects();
        let view = self.world.view(&objects, now_ms);
        self.keep_bare_pods(&objects, now_ms);
        for deployment in &view.deployments {
            let owned: Vec<&PodView> = view
                .pods
                .iter()
                .filter(|p| p.namespace == deployment.namespace)
                .filter(|p| p.owner.deployment() == Some(&deployment.name))
                .collect();
            let plan = rollout::decide(deployment, &owned, now_ms);
            let key = Key::new(&deployment.namespace, &deployment.name);
            let Some(object) = objects.deployments.get(&key) else { continue };
            let mut made = Vec::new();
            for _ in 0..plan.create {
                let name = self.world.pod_name(&deployment.name, &deployment.template_hash);
                let owner = Owner::Deployment {
                    name: deployment.name.clone(),
                    template_hash: deployment.template_hash.clone(),
                };
                made.push(name.clone());
                self.world.create(&deployment.namespace, name, owner, &object.definition, now_ms);
            }
            let named = |uid: &String| owned.iter().find(|p| p.uid == *uid).map(|p| p.name.clone());
            let ended: Vec<String> = plan.end.iter().filter_map(named).collect();
            for uid in &plan.end {
                self.world.end(uid, now_ms);
            }
            let reason =
                format!("{} replicas wanted of template {}", deployment.replicas, deployment.template_hash);
            for (action, pods) in [("create", made), ("end", ended)] {
                if !pods.is_empty() {
                    let (namespace, name) = (&deployment.namespace, &deployment.name);
                    tracing::info!(deployment = %key, action, ?pods, "rollout");
                    self.journal.rollout(namespace, name, action, &pods, &reason, now_ms);
                }
            }
        }
        // Pods whose deployment is gone.
        for pod in view.pods.iter().filter(|p| !p.deleting) {
            let Some(name) = pod.owner.deployment() else { continue };
            let key = Key::new(&pod.namespace, name);
            if !objects.deployments.contains_key(&key) {
                self.world.end(&pod.uid, now_ms);
                let pods = [pod.name.clone()];
                self.journal.rollout(&pod.namespace, name, "end", &pods, "the deployment is gone", now_ms);
            }
        }
        self.world.tidy(&objects, now_ms);
    }

    /// A pod manifest has exactly one pod; another specification replaces it.
    fn keep_bare_pods(&mut self, defined: &Objects, now_ms: i64) {
        let on_record: Vec<(String, String, String, String)> = self
            .world
            .state
            .pods
            .iter()
            .filter(|(_, pod)| matches!(pod.owner, Owner::Manifest { .. }))
            .map(|(uid, pod)| {
                (uid.clone(), pod.namespace.clone(), pod.name.clone(), pod.owner.template_hash().to_owned())
            })
            .collect();
        for (uid, namespace, name, hash) in &on_record {
            let key = Key::new(namespace, name);
            if defined.pods.get(&key).is_none_or(|pod| pod.template_hash != *hash) {
                self.world.end(uid, now_ms);
            }
        }
        for (key, pod) in &defined.pods {
            // The old one must be gone first: both have the same name.
            let there =
                self.world.state.pods.values().any(|p| p.namespace == key.namespace && p.name == key.name);
            if !there {
                let owner = Owner::Manifest { template_hash: pod.template_hash.clone() };
                let definition = Arc::clone(&pod.definition);
                self.world.create(&key.namespace, key.name.clone(), owner, &definition, now_ms);
                self.journal.rollout(
                    &key.namespace,
                    "",
                    "create",
                    std::slice::from_ref(&key.name),
                    "manifest",
                    now_ms,
                );
            }
        }
    }
}
