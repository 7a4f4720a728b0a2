//! As much of the container runtime interface (`runtime.v1`) as it takes to run pods: messages with the
//! public interface's field numbers, and calls over the runtime's socket.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// Identity of a pod.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodMetadata {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Uid.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// Namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// Which namespaces of the kernel a pod shares: 2 is the node's.
#[derive(Clone, PartialEq, prost::Message)]
struct Namespaces {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxSandbox {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security: Option<SandboxSecurity>,
}

/// What a pod is like.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodMetadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "7")]
    annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxSandbox>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPod {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
}

/// A request or an answer of one id.
#[derive(Clone, PartialEq, prost::Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
    /// Of a stop: seconds to wait.
    #[prost(int64, tag = "2")]
    timeout: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Image {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resources {
    #[prost(int64, tag = "4")]
    memory_limit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxContainer {
    #[prost(message, optional, tag = "1")]
    resources: Option<Resources>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<Image>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(string, tag = "11")]
    log_path: String,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pod_config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

/// A container to be.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    /// Name.
    pub name: &'a str,
    /// Counts restarts.
    pub attempt: u32,
    /// Image.
    pub image: &'a str,
    /// What it runs.
    pub command: &'a [&'a str],
    /// In bytes; 0 for none.
    pub memory_limit: i64,
}

/// A runtime.
pub struct Runtime(Grpc<Channel>);

/// A pod that runs.
pub struct Pod {
    id: String,
    config: PodConfig,
}

impl Runtime {
    /// Connects to the socket.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect().await?;
        Ok(Self(Grpc::new(channel)))
    }

    /// Runs a pod on the node's network, below `cgroup_parent`, with its logs in `log_directory`.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn run_pod(
        &mut self,
        pod: PodMetadata,
        cgroup_parent: &str,
        log_directory: &Path,
    ) -> Result<Pod> {
        self.run_annotated_pod(pod, &[], cgroup_parent, log_directory).await
    }

    /// The same for a pod with annotations.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn run_annotated_pod(
        &mut self,
        pod: PodMetadata,
        annotations: &[(&str, &str)],
        cgroup_parent: &str,
        log_directory: &Path,
    ) -> Result<Pod> {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let labels = [("app".to_owned(), pod.name.clone())].into();
        let security = SandboxSecurity { namespaces: Some(Namespaces { network: 2 }) };
        let config = PodConfig {
            metadata: Some(pod),
            log_directory: log_directory.display().to_string(),
            labels,
            annotations: annotations.collect(),
            linux: Some(LinuxSandbox { cgroup_parent: cgroup_parent.to_owned(), security: Some(security) }),
        };
        let id: Id = self.call("RunPodSandbox", RunPod { config: Some(config.clone()) }).await?;
        Ok(Pod { id: id.id, config })
    }

    /// Creates and starts a container; its id.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn start(&mut self, pod: &Pod, wanted: Wanted<'_>) -> Result<String> {
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: wanted.name.to_owned(), attempt: wanted.attempt }),
            image: Some(Image { image: wanted.image.to_owned() }),
            command: wanted.command.iter().map(|part| (*part).to_owned()).collect(),
            log_path: format!("{}/{}.log", wanted.name, wanted.attempt),
            linux: Some(LinuxContainer { resources: Some(Resources { memory_limit: wanted.memory_limit }) }),
        };
        let create = CreateContainer {
            pod: pod.id.clone(),
            config: Some(config),
            pod_config: Some(pod.config.clone()),
        };
        let created: Id = self.call("CreateContainer", create).await?;
        let _: Empty = self.call("StartContainer", Id { id: created.id.clone(), timeout: 0 }).await?;
        Ok(created.id)
    }

    /// Stops and removes a container.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn remove(&mut self, container: &str) -> Result<()> {
        let id = || Id { id: container.to_owned(), timeout: 0 };
        let _: Empty = self.call("StopContainer", id()).await?;
        let _: Empty = self.call("RemoveContainer", id()).await?;
        Ok(())
    }

    /// Stops and removes a pod with its containers.
    ///
    /// # Errors
    /// What the runtime said.
    pub async fn remove_pod(&mut self, pod: &Pod) -> Result<()> {
        let id = || Id { id: pod.id.clone(), timeout: 0 };
        let _: Empty = self.call("StopPodSandbox", id()).await?;
        let _: Empty = self.call("RemovePodSandbox", id()).await?;
        Ok(())
    }

    async fn call<Q, A>(&mut self, method: &str, message: Q) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await?;
        let path: PathAndQuery = format!("/runtime.v1.RuntimeService/{method}").parse()?;
        let answer = self.0.unary(tonic::Request::new(message), path, ProstCodec::<Q, A>::default()).await;
        Ok(answer.with_context(|| method.to_owned())?.into_inner())
    }
}
