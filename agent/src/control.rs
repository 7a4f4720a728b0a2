//! The control stream: says what the node is and what its pods do, carries out what the server asks for.

mod results;

use std::time::Duration;

use binnacle_proto::node::command::What;
use binnacle_proto::node::node_client::NodeClient;
use binnacle_proto::node::report::What as Said;
use binnacle_proto::node::{self, Command, CommandResult, Report};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::agent::Context;
use crate::credentials::reason;
use crate::pods::{self, Handle, Refusal};
use crate::uplink::{Backoff, Complaint};
use crate::{Error, clock};
use results::Results;

/// Reports on their way to the server at most.
const MAX_REPORTS: usize = 64;

/// A stream that held so long was a good one: the next attempt comes soon.
const GOOD: Duration = Duration::from_secs(10);

/// Keeps a control stream open until shutdown.
///
/// # Errors
/// When the server's address is not one.
pub(crate) async fn run(
    context: Context,
    pods: Handle,
    events: mpsc::Receiver<node::NodeEvent>,
) -> Result<(), Error> {
    let limits = context.config.uplink;
    let server = context.config.server.clone();
    // The same seed as the uplink's would make both come back at the same moment.
    let mut backoff = Backoff::new(limits.backoff_min, limits.backoff_max, !context.session);
    let mut complaint = Complaint::default();
    let connected = context.metrics.gauge("binnacle_agent_control_connected", &[]);
    let mut control =
        Control { context: context.clone(), pods, events, unsent: None, results: Results::default() };
    loop {
        let begin = clock::instant();
        let ended = tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            ended = control.stream(|| { complaint.connected(&server); connected.set(1.0) }) => ended?,
        };
        connected.set(0.0);
        let now = clock::instant();
        if now.duration_since(begin) >= GOOD {
            backoff.reset();
        }
        complaint.failed(&server, &format!("control: {ended}"), now);
        tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.pause()) => {}
        }
    }
}

struct Control {
    context: Context,
    pods: Handle,
    events: mpsc::Receiver<node::NodeEvent>,
    /// Taken from the queue, and not handed to a stream yet.
    unsent: Option<node::NodeEvent>,
    results: Results,
}

/// Why a stream ended.
type Reason = String;

impl Control {
    /// One stream, from hello to its end.
    async fn stream(&mut self, connected: impl FnOnce()) -> Result<Reason, Error> {
        let channel = self.context.credentials.channel()?;
        let (reports, outgoing) = mpsc::channel(MAX_REPORTS);
        let mut statuses = self.pods.statuses();
        let mut targets = self.context.targets.reports();
        let hello = self.report(Said::Hello(self.hello()));
        // The server's answer may wait for the first report: both are on their way before it is asked for.
        let first =
            self.report(Said::Pods(node::PodStatuses { pods: statuses.borrow_and_update().to_vec() }));
        for report in [hello, first] {
            if reports.send(report).await.is_err() {
                return Ok("the stream closed".to_owned());
            }
        }
        let mut client = NodeClient::new(channel);
        let mut commands = match client.control(ReceiverStream::new(outgoing)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Ok(reason(&status)),
        };
        connected();
        loop {
            if let Some(event) = self.unsent.take() {
                let report = self.report(Said::Event(event.clone()));
                if let Err(reason) = hand_over(&reports, report, GOOD).await {
                    self.unsent = Some(event);
                    return Ok(reason);
                }
            }
            let said = tokio::select! {
                command = commands.message() => match command {
                    Ok(Some(command)) => Said::Result(self.carry_out(command).await),
                    Ok(None) => return Ok("the server closed the stream".to_owned()),
                    Err(status) => return Ok(reason(&status)),
                },
                changed = statuses.changed() => match changed {
                    Ok(()) => Said::Pods(node::PodStatuses { pods: statuses.borrow_and_update().to_vec() }),
                    Err(_) => return Ok("the pod runtime has ended".to_owned()),
                },
                report = targets.next() => Said::Targets(report),
                Some(event) = self.events.recv() => {
                    self.unsent = Some(event);
                    continue;
                }
            };
            if let Err(reason) = hand_over(&reports, self.report(said), GOOD).await {
                return Ok(reason);
            }
        }
    }

    fn report(&self, what: Said) -> Report {
        Report { node: self.context.config.node.clone(), what: Some(what) }
    }

    fn hello(&self) -> node::NodeHello {
        let config = &self.context.config;
        let capacity = pods::capacity(config);
        node::NodeHello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            cgroup_mode: self.context.cgroups.mode().to_string(),
            capacity: Some(node::Resources {
                cpu_millis: capacity.cpu_millis,
                memory_bytes: capacity.memory_bytes,
            }),
            labels: config.labels.clone().into_iter().collect(),
            started_ms: self.context.started_ms,
            runs_pods: true,
            session: self.context.session,
        }
    }

    /// Carries a command out, unless it is too late or was carried out before.
    async fn carry_out(&mut self, command: Command) -> CommandResult {
        if let Some(result) = self.results.get(&command.id) {
            return result;
        }
        let (kind, result) = if command.deadline_ms > 0 && clock::now_ms() > command.deadline_ms {
            let result = CommandResult {
                id: command.id,
                error: "the deadline has passed".to_owned(),
                expired: true,
                observed: String::new(),
            };
            ("expired", result)
        } else {
            let (kind, answer) = self.act(command.what).await;
            let (error, observed) = match answer {
                Ok(observed) => (String::new(), observed),
                Err(refusal) => (refusal.to_string(), String::new()),
            };
            if !error.is_empty() {
                tracing::warn!(id = %command.id, kind, error, "command failed");
            }
            (kind, CommandResult { id: command.id, error, expired: false, observed })
        };
        let outcome = if result.error.is_empty() { "done" } else { "failed" };
        self.context
            .metrics
            .counter("binnacle_agent_commands_total", &[("kind", kind), ("outcome", outcome)])
            .add(1);
        self.results.put(result.clone());
        result
    }

    async fn act(&self, what: Option<What>) -> (&'static str, Result<String, Refusal>) {
        match what {
            Some(What::Assigned(assigned)) => ("assign", self.pods.assign(assigned.pods).await),
            Some(What::SetOomScoreAdj(what)) => {
                ("set_oom_score_adj", self.pods.set_oom_score_adj(what).await)
            }
            Some(What::SetMemoryLimit(what)) => ("set_memory_limit", self.pods.set_memory_limit(what).await),
            Some(What::Evict(what)) => ("evict", self.pods.evict(what).await),
            None => ("unknown", Err(Refusal::Value("this agent does not know the command".to_owned()))),
        }
    }
}

/// What the server does not read in time must not hold up the reading of its commands for good.
async fn hand_over(reports: &mpsc::Sender<Report>, report: Report, most: Duration) -> Result<(), Reason> {
    match tokio::time::timeout(most, reports.send(report)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("the stream closed".to_owned()),
        Err(_) => Err("the server does not read".to_owned()),
    }
}

#[cfg(test)]
mod tests;
