//! Against an engine in this process that speaks the interface over a socket.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use super::*;

#[derive(Clone, Default)]
struct Engine(Arc<Mutex<(Vec<v1::PodSandbox>, Vec<v1::Container>)>>);

#[tonic::async_trait]
impl RuntimeService for Engine {
    async fn list_pod_sandbox(
        &self,
        _: Request<v1::ListPodSandboxRequest>,
    ) -> Result<Response<v1::ListPodSandboxResponse>, Status> {
        Ok(Response::new(v1::ListPodSandboxResponse { items: self.0.lock().0.clone() }))
    }

    async fn list_containers(
        &self,
        _: Request<v1::ListContainersRequest>,
    ) -> Result<Response<v1::ListContainersResponse>, Status> {
        Ok(Response::new(v1::ListContainersResponse { containers: self.0.lock().1.clone() }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Result<Response<v1::ContainerStatusResponse>, Status> {
        let request = request.into_inner();
        assert!(request.verbose && request.container_id == "c1", "{request:?}");
        let info = [("info".to_owned(), r#"{"sandboxID":"s1","pid":4711}"#.to_owned())];
        Ok(Response::new(v1::ContainerStatusResponse { info: info.into() }))
    }
}

fn sandbox() -> v1::PodSandbox {
    v1::PodSandbox {
        id: "s1".into(),
        metadata: Some(v1::PodSandboxMetadata {
            name: "web-0".into(),
            uid: "u1".into(),
            namespace: "shop".into(),
        }),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        annotations: [("binnacle.io/logs", "/var/log/*.log"), ("other", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        created_at: 5_000_000,
    }
}

fn container(id: &str, sandbox: &str) -> v1::Container {
    v1::Container {
        id: id.into(),
        pod_sandbox_id: sandbox.into(),
        metadata: Some(v1::ContainerMetadata { name: "nginx".into() }),
        image: Some(v1::ImageSpec { image: "sha256:1".into(), ..Default::default() }),
        created_at: 7_000_000,
        state: v1::ContainerState::ContainerExited as i32,
        ..Default::default()
    }
}

fn pids() -> Pids {
    Pids::new(Arc::default())
}

#[tokio::test]
async fn names_come_from_the_engine_and_go_with_the_container() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let engine = Engine::default();
    *engine.0.lock() = (vec![sandbox()], vec![container("c1", "s1"), container("c2", "unknown")]);
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tonic::transport::Server::builder().add_service(RuntimeServiceServer::new(engine.clone()));
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));

    let (registry, mut known, mut client) = (Registry::default(), BTreeSet::new(), None);
    let mut pids = pids();
    let of_another = Container { id: "host1".into(), ..Container::default() };
    registry.insert(of_another);
    update(&registry, &mut known, ask(&mut client, &socket, &mut pids).await.unwrap());
    let nginx = registry.get("c1").unwrap();
    assert_eq!((nginx.namespace.as_str(), nginx.pod.as_str(), nginx.uid.as_str()), ("shop", "web-0", "u1"));
    assert_eq!((nginx.container.as_str(), nginx.image.as_str(), nginx.started_ms), ("nginx", "sha256:1", 7));
    assert_eq!(nginx.labels.get("app").map(String::as_str), Some("web"));
    assert_eq!(nginx.annotations.len(), 1, "only what is for the agent");
    assert_eq!((nginx.pid, pids.expecting), (None, false), "it has ended");
    engine.0.lock().1[0].set_state(v1::ContainerState::ContainerCreated);
    update(&registry, &mut known, ask(&mut client, &socket, &mut pids).await.unwrap());
    assert!(pids.expecting, "it is about to start");
    engine.0.lock().1[0].set_state(v1::ContainerState::ContainerRunning);
    update(&registry, &mut known, ask(&mut client, &socket, &mut pids).await.unwrap());
    assert_eq!(registry.get("c1").unwrap().pid, Some(4711));
    assert_eq!(registry.get("s1").unwrap().container, SANDBOX);
    assert!(registry.get("c2").is_none(), "its sandbox is not known");

    engine.0.lock().1.clear();
    update(&registry, &mut known, ask(&mut client, &socket, &mut pids).await.unwrap());
    assert!(registry.get("c1").is_none() && registry.get("s1").is_some());
    assert!(registry.get("host1").is_some(), "what others have put there stays");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_an_error_not_an_empty_list() {
    let dir = tempfile::tempdir().unwrap();
    let status = ask(&mut None, &dir.path().join("nobody.sock"), &mut pids()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn an_engine_that_hangs_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    // Takes connections and says nothing.
    let listener = UnixListener::bind(&socket).unwrap();
    let shutdown = CancellationToken::new();
    let numbers = Numbers { errors: Counter::default(), count: Gauge::default() };
    let stop = shutdown.clone();
    let following =
        tokio::spawn(async move { follow(Registry::default(), &socket, pids(), numbers, stop).await });
    let _connection = listener.accept().await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(2), following).await.unwrap().unwrap();
}
