//! The Control stream of one agent.

use std::time::Duration;

use binnacle_proto::node::{Command, Report, report};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::Registry;
use crate::authority::{Gate, Peer};

/// Longest node name, in bytes: that of a Kubernetes object.
pub(crate) const MAX_NODE_NAME: usize = 253;
/// Most targets in one report; its bytes are bounded as those of every message.
const MAX_TARGETS: usize = 20_000;
/// How long an agent may wait before it says who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Most pods in one report.
const MAX_PODS: usize = 10_000;

/// One control stream.
pub(crate) struct Control {
    /// Says who may speak as which node.
    pub gate: Gate,
    /// The other end.
    pub peer: Peer,
    /// Where its node is entered.
    pub registry: Registry,
    /// Its number, for telling it from an older stream of the same node.
    pub stream: u64,
    /// Where commands for the agent go.
    pub out: mpsc::Sender<Result<Command, Status>>,
    /// The end of the server.
    pub shutdown: CancellationToken,
}

impl Control {
    /// Serves the stream to its end: reads reports, writes commands.
    pub(crate) async fn serve(self, mut reports: impl Stream<Item = Result<Report, Status>> + Unpin) {
        let first = tokio::select! {
            first = reports.next() => first,
            () = self.shutdown.cancelled() => return,
            refusal = self.gate.ended(&self.peer, None) => return self.say(refusal).await,
            () = tokio::time::sleep(HELLO_WITHIN) => {
                let said = format!("no `hello` within {HELLO_WITHIN:?}");
                return self.say(Status::deadline_exceeded(said)).await;
            }
        };
        let Some(Ok(first)) = first else { return };
        let (name, commands) = match self.enter(first) {
            Ok(entered) => entered,
            Err(status) => {
                tracing::warn!(reason = status.message(), "control stream refused");
                self.say(status).await;
                return;
            }
        };
        let reason = match self.exchange(&name, &mut reports, commands).await {
            Ok(reason) => reason,
            Err(status) => {
                let reason = status.message().to_owned();
                self.say(status).await;
                reason
            }
        };
        self.registry.disconnect(&name, self.stream);
        tracing::info!(node = name, reason, "control stream closed");
    }

    /// Takes the first report, which must be the hello, and enters the node.
    fn enter(&self, first: Report) -> Result<(String, mpsc::Receiver<Command>), Status> {
        let Some(report::What::Hello(hello)) = first.what else {
            return Err(Status::invalid_argument("the first report must carry `hello`"));
        };
        if first.node.is_empty() || first.node.len() > MAX_NODE_NAME {
            return Err(Status::invalid_argument(format!("a node name has 1 to {MAX_NODE_NAME} bytes")));
        }
        self.gate.admit(&self.peer, &first.node)?;
        let version = hello.agent_version.clone();
        let commands =
            self.registry.connect(&first.node, self.stream, hello).map_err(Status::resource_exhausted)?;
        tracing::info!(node = first.node, version, "control stream open");
        Ok((first.node, commands))
    }

    /// Goes on until either side ends; says why it ended, or what the agent did wrong.
    async fn exchange(
        &self,
        name: &str,
        reports: &mut (impl Stream<Item = Result<Report, Status>> + Unpin),
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<String, Status> {
        let mut right = Box::pin(self.gate.ended(&self.peer, Some(name)));
        loop {
            // A command is taken from the queue only when there is room to write it.
            let forward = async {
                let room = self.out.reserve().await.ok()?;
                room.send(Ok(commands.recv().await?));
                Some(())
            };
            tokio::select! {
                report = reports.next() => match report {
                    Some(Ok(report)) => self.take(name, report)?,
                    Some(Err(status)) => return Ok(status.message().to_owned()),
                    None => return Ok("the agent closed it".into()),
                },
                forwarded = forward => if forwarded.is_none() {
                    return Ok("the agent has opened another one, or is gone".into());
                },
                () = self.shutdown.cancelled() => return Ok("the server stops".into()),
                refusal = &mut right => return Err(refusal),
            }
        }
    }

    fn take(&self, name: &str, report: Report) -> Result<(), Status> {
        if report.node != name {
            return Err(Status::permission_denied(format!(
                "this stream speaks for node {name}, not for {}",
                report.node
            )));
        }
        let Self { registry, stream, .. } = self;
        match report.what {
            Some(report::What::Pods(pods)) if pods.pods.len() > MAX_PODS => {
                return Err(Status::resource_exhausted(format!("more than {MAX_PODS} pods in one report")));
            }
            Some(report::What::Pods(pods)) => registry.report_pods(name, *stream, pods.pods),
            Some(report::What::Result(result)) => registry.report_result(name, *stream, result),
            Some(report::What::Event(event)) => registry.report_event(name, *stream, event),
            Some(report::What::Targets(targets)) if targets.targets.len() > MAX_TARGETS => {
                return Err(Status::resource_exhausted(format!(
                    "more than {MAX_TARGETS} targets in one report"
                )));
            }
            Some(report::What::Targets(targets)) => registry.report_targets(name, *stream, targets),
            Some(report::What::Hello(_)) | None => registry.seen(name),
        }
        Ok(())
    }

    /// Ends the stream with a status; the agent may be gone already.
    async fn say(&self, status: Status) {
        let _ = self.out.send(Err(status)).await;
    }
}
