use std::pin::Pin;
use std::sync::Arc;

use binnacle_proto::node::node_server::{Node, NodeServer};
use binnacle_proto::node::{Ack, Batch};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::Config;
use crate::cgroup::Cgroups;
use crate::credentials::Credentials;
use crate::pods::channel;
use crate::selfmetrics::SelfMetrics;

/// What the test has the server send.
type Commands = mpsc::Receiver<Result<Command, Status>>;

/// A server whose control stream is in the hands of the test.
#[derive(Clone)]
struct Server {
    reports: mpsc::Sender<Report>,
    commands: Arc<Mutex<Option<Commands>>>,
}

#[tonic::async_trait]
impl Node for Server {
    type PushStream = Pin<Box<dyn Stream<Item = Result<Ack, Status>> + Send>>;
    type ControlStream = ReceiverStream<Result<Command, Status>>;

    async fn push(&self, _: Request<Streaming<Batch>>) -> Result<Response<Self::PushStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn control(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let Some(commands) = self.commands.lock().await.take() else {
            return Err(Status::unavailable("one stream only"));
        };
        let (mut incoming, reports) = (request.into_inner(), self.reports.clone());
        tokio::spawn(async move {
            while let Some(Ok(report)) = incoming.next().await {
                if reports.send(report).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(commands)))
    }
}

#[tokio::test]
async fn hello_comes_first_and_commands_are_answered_once_and_alike() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reports_in, mut reports) = mpsc::channel(64);
    let (commands, commands_out) = mpsc::channel(8);
    let server = Server { reports: reports_in, commands: Arc::new(Mutex::new(Some(commands_out))) };
    let serving = tonic::transport::Server::builder()
        .add_service(NodeServer::new(server))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);

    let mut config =
        Config { server: format!("http://{address}"), node: "alpha".to_owned(), ..Config::default() };
    config.capacity.cpu_millis = Some(1500);
    let Ok(cgroups) = Cgroups::discover(&config) else {
        eprintln!("skipped: needs a cgroup mount");
        return;
    };
    let (uplink, _receiver) = crate::uplink::channel();
    let metrics = SelfMetrics::default();
    let context = Context {
        credentials: Credentials::load(&config, &metrics).unwrap(),
        config: Arc::new(config),
        cgroups: Arc::new(cgroups),
        registry: Default::default(),
        uplink,
        metrics,
        last: Default::default(),
        targets: Default::default(),
        session: 7,
        started_ms: 1,
        shutdown: CancellationToken::new(),
    };
    let (pods, inbox, events) = channel();
    let shutdown: CancellationToken = context.shutdown.clone();
    let agent = tokio::spawn(run(context, pods, events));
    inbox.emit_for_test(node::NodeEvent { reason: "OOMKilled".to_owned(), ..Default::default() });

    let first = reports.recv().await.unwrap();
    let Some(Said::Hello(hello)) = first.what else { panic!("{first:?}") };
    assert_eq!((first.node.as_str(), hello.capacity.unwrap().cpu_millis), ("alpha", 1500));
    assert!(hello.runs_pods && hello.session != 0 && !hello.cgroup_mode.is_empty());
    let second = reports.recv().await.unwrap();
    assert!(matches!(second.what, Some(Said::Pods(_))), "{second:?}");
    let third = reports.recv().await.unwrap();
    assert!(matches!(&third.what, Some(Said::Event(event)) if event.reason == "OOMKilled"), "{third:?}");

    // The runtime is not there: every request is answered with the agent's end.
    let _deaf = inbox.deaf();
    let evict = What::Evict(node::EvictPod { pod_uid: "u".into(), reason: "r".into(), grace_seconds: 0 });
    let command = Command { id: "c1".into(), deadline_ms: 0, what: Some(evict.clone()) };
    let late = Command { id: "c2".into(), deadline_ms: 1, what: Some(evict) };
    let mut results = Vec::new();
    for command in [command.clone(), late, command] {
        if commands.send(Ok(command)).await.is_err() {
            break;
        }
        while let Some(report) = reports.recv().await {
            if let Some(Said::Result(result)) = report.what {
                results.push(result);
                break;
            }
        }
    }
    assert_eq!(results.len(), 3);
    assert_eq!((results[0].id.as_str(), results[0].expired), ("c1", false));
    assert!(results[0].error.contains("ending"), "{:?}", results[0]);
    assert!(results[1].expired);
    assert_eq!(results[2], results[0]);
    shutdown.cancel();
    agent.await.unwrap().unwrap();
    serving.abort();
}

#[tokio::test]
async fn a_server_that_does_not_read_ends_the_stream() {
    let (reports, mut unread) = mpsc::channel(1);
    let soon = Duration::from_millis(20);
    hand_over(&reports, Report::default(), soon).await.unwrap();
    assert_eq!(hand_over(&reports, Report::default(), soon).await.unwrap_err(), "the server does not read");
    unread.close();
    assert_eq!(hand_over(&reports, Report::default(), soon).await.unwrap_err(), "the stream closed");
}
