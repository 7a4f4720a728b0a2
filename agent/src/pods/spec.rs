//! What a pod should be: the server's `PodSpec`, checked and in the form that is kept on disk.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use binnacle_proto::node;
use serde::{Deserialize, Serialize};

/// The only image so far: the command runs as a process of the node.
pub(crate) const HOST_IMAGE: &str = "host";

/// Most containers a pod may have.
const MAX_CONTAINERS: usize = 64;

/// A pod that this node was told to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pod {
    /// Unique for good; names the pod's cgroup and state directory.
    pub(crate) uid: String,
    /// Kubernetes namespace.
    pub(crate) namespace: String,
    /// Name within the namespace.
    pub(crate) name: String,
    /// Annotations of the manifest.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Labels of the manifest.
    pub(crate) labels: BTreeMap<String, String>,
    /// At least one, names distinct.
    pub(crate) containers: Vec<Container>,
    /// Quality of service: decides the cgroup's place and the first `oom_score_adj`.
    pub(crate) qos: Qos,
    /// What happens when a container ends.
    pub(crate) restart: RestartPolicy,
    /// Seconds between `SIGTERM` and `SIGKILL`.
    pub(crate) grace_seconds: u32,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Container {
    /// Name within the pod.
    pub(crate) name: String,
    /// `host`, or something this node cannot run.
    pub(crate) image: String,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Environment, in order; later entries win.
    pub(crate) env: Vec<(String, String)>,
    /// Empty: `/`.
    pub(crate) working_dir: String,
    /// What the container asks for.
    pub(crate) requests: Amounts,
    /// What the container gets at most.
    pub(crate) limits: Amounts,
    /// Host directories that the container sees elsewhere.
    pub(crate) mounts: Vec<Mount>,
}

/// A host directory or file bound to a path inside the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// Where it is on the node.
    pub(crate) host_path: String,
    /// Where the container sees it.
    pub(crate) mount_path: String,
    /// Whether writes are refused.
    pub(crate) read_only: bool,
}

/// Amounts of what a node shares out; 0 means not set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Amounts {
    /// Thousandths of a core.
    pub(crate) cpu_millis: u64,
    /// Bytes.
    pub(crate) memory_bytes: u64,
}

/// Kubernetes' classes of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Qos {
    /// Every container has limits, and requests equal to them.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// None has.
    BestEffort,
}

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RestartPolicy {
    /// Started again.
    Always,
    /// Started again when it failed.
    OnFailure,
    /// Left.
    Never,
}

impl RestartPolicy {
    /// Whether a container that ended so is started again.
    pub(crate) fn restarts(self, succeeded: bool) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => !succeeded,
            Self::Never => false,
        }
    }
}

/// Why the server's pod was refused: the field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pod {pod}: {field}: {problem}")]
pub(crate) struct Refused {
    /// `namespace/name` as sent.
    pub(crate) pod: String,
    /// Field of the `PodSpec`.
    pub(crate) field: &'static str,
    /// What is wrong.
    pub(crate) problem: String,
}

impl TryFrom<node::PodSpec> for Pod {
    type Error = Refused;

    fn try_from(spec: node::PodSpec) -> Result<Self, Refused> {
        let pod = format!("{}/{}", spec.namespace, spec.name);
        let refuse = |field, problem| Refused { pod: pod.clone(), field, problem };
        check_name(&spec.uid).map_err(|problem| refuse("uid", problem))?;
        check_name(&spec.namespace).map_err(|problem| refuse("namespace", problem))?;
        check_name(&spec.name).map_err(|problem| refuse("name", problem))?;
        let qos = match spec.qos_class.as_str() {
            "Guaranteed" => Qos::Guaranteed,
            "Burstable" => Qos::Burstable,
            "BestEffort" => Qos::BestEffort,
            other => return Err(refuse("qos_class", format!("{other:?} is not a class"))),
        };
        let restart = match spec.restart_policy.as_str() {
            "Always" | "" => RestartPolicy::Always,
            "OnFailure" => RestartPolicy::OnFailure,
            "Never" => RestartPolicy::Never,
            other => return Err(refuse("restart_policy", format!("{other:?} is not a policy"))),
        };
        if spec.containers.is_empty() || spec.containers.len() > MAX_CONTAINERS {
            let problem = format!("{} given; 1 to {MAX_CONTAINERS} are possible", spec.containers.len());
            return Err(refuse("containers", problem));
        }
        let mut volumes = BTreeMap::new();
        for volume in spec.volumes {
            check_path(&volume.host_path).map_err(|problem| refuse("volumes.host_path", problem))?;
            volumes.insert(volume.name, volume.host_path);
        }
        let mut containers: Vec<Container> = Vec::with_capacity(spec.containers.len());
        for container in spec.containers {
            let container =
                convert(container, &volumes).map_err(|(field, problem)| refuse(field, problem))?;
            if containers.iter().any(|other| other.name == container.name) {
                return Err(refuse("containers.name", format!("{:?} is given twice", container.name)));
            }
            containers.push(container);
        }
        Ok(Self {
            uid: spec.uid,
            namespace: spec.namespace,
            name: spec.name,
            annotations: spec.annotations.into_iter().collect(),
            labels: spec.labels.into_iter().collect(),
            containers,
            qos,
            restart,
            grace_seconds: spec.termination_grace_seconds,
        })
    }
}

fn convert(
    spec: node::ContainerSpec,
    volumes: &BTreeMap<String, String>,
) -> Result<Container, (&'static str, String)> {
    check_name(&spec.name).map_err(|problem| ("containers.name", problem))?;
    if spec.argv.first().is_none_or(String::is_empty) {
        return Err(("containers.argv", format!("container {:?} has no command", spec.name)));
    }
    let texts = spec.argv.iter().chain(spec.env.iter().flat_map(|var| [&var.name, &var.value]));
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(("containers.argv", format!("container {:?} has a NUL byte in it", spec.name)));
    }
    if let Some(var) = spec.env.iter().find(|var| var.name.is_empty() || var.name.contains('=')) {
        return Err(("containers.env", format!("{:?} is not a variable's name", var.name)));
    }
    let mut mounts = Vec::with_capacity(spec.mounts.len());
    for mount in spec.mounts {
        let Some(host_path) = volumes.get(&mount.volume) else {
            return Err(("containers.mounts", format!("there is no volume {:?}", mount.volume)));
        };
        check_path(&mount.mount_path).map_err(|problem| ("containers.mounts.mount_path", problem))?;
        mounts.push(Mount {
            host_path: host_path.clone(),
            mount_path: mount.mount_path,
            read_only: mount.read_only,
        });
    }
    Ok(Container {
        name: spec.name,
        image: spec.image,
        argv: spec.argv,
        env: spec.env.into_iter().map(|var| (var.name, var.value)).collect(),
        working_dir: spec.working_dir,
        requests: spec.requests.map(Amounts::from).unwrap_or_default(),
        limits: spec.limits.map(Amounts::from).unwrap_or_default(),
        mounts,
    })
}

impl From<node::Resources> for Amounts {
    fn from(resources: node::Resources) -> Self {
        Self { cpu_millis: resources.cpu_millis, memory_bytes: resources.memory_bytes }
    }
}

/// Names become parts of paths: they may hold nothing that leads out of a directory.
fn check_name(name: &str) -> Result<(), String> {
    let good = !name.is_empty()
        && name.len() <= 253
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if good { Ok(()) } else { Err(format!("{name:?} is not a name of letters, digits, '-' and '.'")) }
}

fn check_path(path: &str) -> Result<(), String> {
    let good = Path::new(path).is_absolute()
        && !path.contains('\0')
        && !Path::new(path).components().any(|part| part == Component::ParentDir);
    if good { Ok(()) } else { Err(format!("{path:?} is not an absolute path without '..'")) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn message(uid: &str, argv: &[&str]) -> node::PodSpec {
        node::PodSpec {
            uid: uid.to_owned(),
            namespace: "default".to_owned(),
            name: format!("pod-{uid}"),
            containers: vec![node::ContainerSpec {
                name: "main".to_owned(),
                image: HOST_IMAGE.to_owned(),
                argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
                ..Default::default()
            }],
            qos_class: "BestEffort".to_owned(),
            restart_policy: "Never".to_owned(),
            termination_grace_seconds: 5,
            ..Default::default()
        }
    }

    #[test]
    fn a_good_pod_is_taken_with_its_mounts() {
        let mut spec = message("u1", &["sleep", "1"]);
        spec.volumes = vec![node::Volume { name: "v".to_owned(), host_path: "/data/x".to_owned() }];
        spec.containers[0].mounts = vec![node::VolumeMount {
            volume: "v".to_owned(),
            mount_path: "/var/app".to_owned(),
            read_only: true,
        }];
        let pod = Pod::try_from(spec).expect("taken");
        assert_eq!(pod.containers[0].mounts[0].host_path, "/data/x");
        assert_eq!(pod.qos, Qos::BestEffort);
    }

    #[test]
    fn names_that_lead_out_of_a_directory_are_refused() {
        for uid in ["", "..", "a/b", ".hidden", "a\0b", "a b"] {
            let refused = Pod::try_from(message(uid, &["true"])).expect_err(uid);
            assert_eq!(refused.field, "uid", "{refused}");
        }
        let mut spec = message("u1", &["true"]);
        spec.volumes = vec![node::Volume { name: "v".to_owned(), host_path: "/a/../etc".to_owned() }];
        assert_eq!(Pod::try_from(spec).expect_err("refused").field, "volumes.host_path");
    }

    #[test]
    fn a_container_without_command_or_with_an_unknown_volume_is_refused() {
        assert_eq!(Pod::try_from(message("u1", &[])).expect_err("no command").field, "containers.argv");
        let mut spec = message("u1", &["true"]);
        spec.containers[0].mounts = vec![node::VolumeMount {
            volume: "missing".to_owned(),
            mount_path: "/x".to_owned(),
            read_only: false,
        }];
        assert_eq!(Pod::try_from(spec).expect_err("no volume").field, "containers.mounts");
    }
}
