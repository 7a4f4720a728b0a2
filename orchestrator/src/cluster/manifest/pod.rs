//! Pod specifications: what the decisions see and what the node runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Affinity, Container as KubeContainer, PodSpec, Toleration as KubeToleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Wrong;
use super::convert::{check_name, requirement_test, selector};
use crate::cluster::objects::{Definition, Run, RunContainer};
use crate::cluster::quantity;
use crate::decide::{Container, PodTemplate, Requirement, Resources, Selector, Toleration};

/// Fields of a pod specification that are carried out. Others would be ignored in silence: refused.
const POD_FIELDS: [&str; 12] = [
    "affinity",
    "containers",
    "nodeName",
    "nodeSelector",
    "priority",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
    // These change nothing for processes of the host.
    "enableServiceLinks",
    "automountServiceAccountToken",
    "hostNetwork",
];

/// The same for containers.
const CONTAINER_FIELDS: [&str; 11] = [
    "args",
    "command",
    "env",
    "image",
    "name",
    "resources",
    "volumeMounts",
    "workingDir",
    // These change nothing for processes of the host.
    "imagePullPolicy",
    "ports",
    "resizePolicy",
];

/// Grace period when the manifest gives none, in seconds, as in Kubernetes.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// What pods of this specification are made from.
pub(super) fn definition(metadata: &ObjectMeta, spec: &PodSpec) -> Result<Definition, Wrong> {
    only(spec, &POD_FIELDS, "")?;
    if spec.containers.is_empty() {
        return Err(Wrong::new("containers", "is missing or empty"));
    }
    let volumes = volumes(spec)?;
    let mut names = BTreeSet::new();
    let mut containers = Vec::new();
    let mut run = Vec::new();
    for (i, c) in spec.containers.iter().enumerate() {
        let field = format!("containers[{i}]");
        only(c, &CONTAINER_FIELDS, &field)?;
        check_name(&format!("{field}.name"), &c.name)?;
        if !names.insert(&c.name) {
            return Err(Wrong::new(format!("{field}.name"), "is used by another container of the pod"));
        }
        let of = |w: Wrong| w.within(&field);
        let (requests, limits) = resources(c).map_err(of)?;
        containers.push(Container { name: c.name.clone(), requests, limits });
        run.push(run_container(c, &volumes).map_err(of)?);
    }
    let restart_policy = spec.restart_policy.as_deref().unwrap_or("Always");
    if !matches!(restart_policy, "Always" | "OnFailure" | "Never") {
        let message = format!("{restart_policy:?} is not one of Always, OnFailure, Never");
        return Err(Wrong::new("restartPolicy", message));
    }
    let grace = spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
    let grace = u32::try_from(grace)
        .map_err(|_| Wrong::new("terminationGracePeriodSeconds", format!("{grace} is out of range")))?;
    let (node_affinity, anti_affinity) =
        affinity(spec.affinity.as_ref()).map_err(|w| w.within("affinity"))?;
    let template = PodTemplate {
        labels: metadata.labels.clone().unwrap_or_default(),
        annotations: metadata.annotations.clone().unwrap_or_default(),
        containers,
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        node_affinity,
        anti_affinity,
        tolerations: tolerations(spec.tolerations.as_deref().unwrap_or_default())?,
        node_name: spec.node_name.clone(),
        priority: spec.priority.unwrap_or(0),
    };
    Ok(Definition {
        template: Arc::new(template),
        run: Run {
            containers: run,
            volumes: volumes.into_iter().collect(),
            restart_policy: restart_policy.to_owned(),
            termination_grace_seconds: grace,
        },
    })
}

/// Refuses fields outside `known`: Kubernetes has them, here they would have no effect.
fn only(object: &impl serde::Serialize, known: &[&str], field: &str) -> Result<(), Wrong> {
    let value = serde_json::to_value(object).map_err(|e| Wrong::new(field, e.to_string()))?;
    let unsupported = value.as_object().into_iter().flatten().find(|(key, _)| !known.contains(&key.as_str()));
    match unsupported {
        None => Ok(()),
        Some((key, _)) => Err(Wrong::new(key, "is not supported").within(field)),
    }
}

fn volumes(spec: &PodSpec) -> Result<BTreeMap<String, String>, Wrong> {
    let mut volumes = BTreeMap::new();
    for (i, volume) in spec.volumes.iter().flatten().enumerate() {
        let field = format!("volumes[{i}]");
        check_name(&format!("{field}.name"), &volume.name)?;
        let Some(host_path) = &volume.host_path else {
            return Err(Wrong::new(field, "only hostPath volumes are supported"));
        };
        if !host_path.path.starts_with('/') {
            return Err(Wrong::new(format!("{field}.hostPath.path"), "is not an absolute path"));
        }
        if volumes.insert(volume.name.clone(), host_path.path.clone()).is_some() {
            return Err(Wrong::new(format!("{field}.name"), "is used by another volume of the pod"));
        }
    }
    Ok(volumes)
}

fn amounts(map: Option<&BTreeMap<String, Quantity>>, field: &str) -> Result<Resources, Wrong> {
    let mut resources = Resources::default();
    for (name, quantity) in map.into_iter().flatten() {
        let wrong = |m| Wrong::new(format!("{field}.{name}"), m);
        match name.as_str() {
            "cpu" => {
                let milli = quantity::milli(&quantity.0).map_err(wrong)?;
                let milli =
                    u64::try_from(milli).map_err(|_| wrong(format!("{:?} is negative", quantity.0)))?;
                resources.cpu_millis = Some(milli);
            }
            "memory" => resources.memory_bytes = Some(quantity::units(&quantity.0).map_err(wrong)?),
            _ => return Err(wrong("only cpu and memory are supported".to_owned())),
        }
    }
    Ok(resources)
}

/// Requests and limits; what is limited and not requested is requested at the limit, as in Kubernetes.
fn resources(c: &KubeContainer) -> Result<(Resources, Resources), Wrong> {
    let Some(given) = &c.resources else { return Ok(Default::default()) };
    let limits = amounts(given.limits.as_ref(), "resources.limits")?;
    let asked = amounts(given.requests.as_ref(), "resources.requests")?;
    let requests = Resources {
        cpu_millis: asked.cpu_millis.or(limits.cpu_millis),
        memory_bytes: asked.memory_bytes.or(limits.memory_bytes),
    };
    let exceeds = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(request, limit)| request > limit);
    for (name, request, limit) in [
        ("cpu", requests.cpu_millis, limits.cpu_millis),
        ("memory", requests.memory_bytes, limits.memory_bytes),
    ] {
        if exceeds(request, limit) {
            return Err(Wrong::new(format!("resources.requests.{name}"), "is more than the limit"));
        }
    }
    Ok((requests, limits))
}

fn run_container(c: &KubeContainer, volumes: &BTreeMap<String, String>) -> Result<RunContainer, Wrong> {
    let image = c.image.clone().unwrap_or_default();
    if image.is_empty() {
        return Err(Wrong::new("image", "is missing"));
    }
    let mut env: Vec<(String, String)> = Vec::new();
    for (i, variable) in c.env.iter().flatten().enumerate() {
        if variable.value_from.is_some() {
            return Err(Wrong::new(format!("env[{i}].valueFrom"), "is not supported"));
        }
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
            return Err(Wrong::new(format!("env[{i}].name"), "is not the name of a variable"));
        }
        let value = expand(variable.value.as_deref().unwrap_or_default(), &env);
        env.push((variable.name.clone(), value));
    }
    let words = c.command.iter().flatten().chain(c.args.iter().flatten());
    let argv: Vec<String> = words.map(|word| expand(word, &env)).collect();
    if image == "host" && c.command.as_ref().is_none_or(Vec::is_empty) {
        return Err(Wrong::new("command", "is missing: image host has none of its own"));
    }
    let mut mounts = Vec::new();
    for (i, mount) in c.volume_mounts.iter().flatten().enumerate() {
        if !volumes.contains_key(&mount.name) {
            let message = format!("{:?} is not a volume of the pod", mount.name);
            return Err(Wrong::new(format!("volumeMounts[{i}].name"), message));
        }
        if mount.sub_path.is_some() || mount.sub_path_expr.is_some() {
            return Err(Wrong::new(format!("volumeMounts[{i}].subPath"), "is not supported"));
        }
        mounts.push((mount.name.clone(), mount.mount_path.clone(), mount.read_only.unwrap_or(false)));
    }
    let working_dir = c.working_dir.clone().unwrap_or_default();
    Ok(RunContainer { name: c.name.clone(), image, argv, env, working_dir, mounts })
}

/// Replaces `$(NAME)` by the variable's value, `$$` by `$`; unknown names stay as they are.
fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(tail) = rest.strip_prefix("$$") {
            out.push('$');
            rest = tail;
            continue;
        }
        let name = rest.strip_prefix("$(").and_then(|tail| tail.split_once(')'));
        let known =
            name.and_then(|(name, tail)| Some((env.iter().rev().find(|(have, _)| have == name)?, tail)));
        match known {
            Some(((_, value), tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn tolerations(given: &[KubeToleration]) -> Result<Vec<Toleration>, Wrong> {
    let mut tolerations = Vec::new();
    for (i, t) in given.iter().enumerate() {
        let value = match t.operator.as_deref() {
            Some("Exists") => None,
            None | Some("Equal") => Some(t.value.clone().unwrap_or_default()),
            Some(other) => {
                let message = format!("{other:?} is neither Equal nor Exists");
                return Err(Wrong::new(format!("tolerations[{i}].operator"), message));
            }
        };
        let key = t.key.clone().filter(|key| !key.is_empty());
        let effect = t.effect.clone().filter(|effect| !effect.is_empty());
        tolerations.push(Toleration { key, value, effect });
    }
    Ok(tolerations)
}

/// Required node affinity terms, and required anti-affinity by host.
fn affinity(affinity: Option<&Affinity>) -> Result<(Vec<Selector>, Vec<Selector>), Wrong> {
    let Some(affinity) = affinity else { return Ok(Default::default()) };
    if affinity.pod_affinity.is_some() {
        return Err(Wrong::new("podAffinity", "is not supported"));
    }
    let mut nodes = Vec::new();
    let mut apart = Vec::new();
    if let Some(node) = &affinity.node_affinity {
        if node.preferred_during_scheduling_ignored_during_execution.is_some() {
            let field = "nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution";
            return Err(Wrong::new(field, "is not supported"));
        }
        let required = &node.required_during_scheduling_ignored_during_execution;
        for (i, term) in required.iter().flat_map(|r| &r.node_selector_terms).enumerate() {
            let field =
                format!("nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{i}]");
            if term.match_fields.is_some() {
                return Err(Wrong::new(format!("{field}.matchFields"), "is not supported"));
            }
            let mut requirements = Vec::new();
            for (j, e) in term.match_expressions.iter().flatten().enumerate() {
                let test = requirement_test(&e.operator, e.values.clone().unwrap_or_default())
                    .map_err(|m| Wrong::new(format!("{field}.matchExpressions[{j}].operator"), m))?;
                requirements.push(Requirement { key: e.key.clone(), test });
            }
            nodes.push(Selector(requirements));
        }
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        if pods.preferred_during_scheduling_ignored_during_execution.is_some() {
            let field = "podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution";
            return Err(Wrong::new(field, "is not supported"));
        }
        let required = &pods.required_during_scheduling_ignored_during_execution;
        for (i, term) in required.iter().flatten().enumerate() {
            let field = format!("podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[{i}]");
            if term.topology_key != "kubernetes.io/hostname" {
                let message = "only kubernetes.io/hostname is supported";
                return Err(Wrong::new(format!("{field}.topologyKey"), message));
            }
            if term.namespaces.is_some() || term.namespace_selector.is_some() {
                return Err(Wrong::new(format!("{field}.namespaces"), "is not supported"));
            }
            let labels = term.label_selector.clone().unwrap_or_default();
            apart.push(selector(&labels).map_err(|w| w.within(&format!("{field}.labelSelector")))?);
        }
    }
    Ok((nodes, apart))
}
