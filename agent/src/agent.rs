//! Runs the agent: every task is spawned here, named and joined.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cgroup::Cgroups;
use crate::credentials::Credentials;
use crate::http::LastRound;
use crate::identity::Registry;
use crate::selfmetrics::SelfMetrics;
use crate::{Config, Error, clock, collect, control, cri, http, logs, pods, scrape, uplink};

/// What every task is given. Clones share everything.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) cgroups: Arc<Cgroups>,
    /// Containers known on this node.
    pub(crate) registry: Registry,
    /// Samples and log lines for the server.
    pub(crate) uplink: uplink::Sender,
    pub(crate) metrics: SelfMetrics,
    /// The way to the server.
    pub(crate) credentials: Credentials,
    /// What the last round saw, for `/metrics/node` and `/metrics/cadvisor`.
    pub(crate) last: LastRound,
    /// What is scraped.
    pub(crate) targets: scrape::Board,
    /// Random, non-zero, of this process.
    pub(crate) session: u64,
    /// When this process started, milliseconds since the epoch.
    pub(crate) started_ms: i64,
    /// Cancelled when the agent is to end.
    pub(crate) shutdown: CancellationToken,
}

/// Runs the agent until `shutdown` is cancelled or a task ends by itself.
///
/// # Errors
/// When the agent cannot start (configuration, cgroups, state directory), and when one of its tasks
/// dies: the process should end then and be started anew.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let config = config.checked()?;
    std::fs::create_dir_all(&config.state_dir).map_err(|e| Error::io(&config.state_dir, e))?;
    raise_file_limit();
    let cgroups = Cgroups::discover(&config)?;
    let (uplink, receiver) = uplink::channel();
    let metrics = SelfMetrics::default();
    let credentials = Credentials::load(&config, &metrics)?;
    let context = Context {
        config: Arc::new(config),
        cgroups: Arc::new(cgroups),
        registry: Registry::default(),
        uplink,
        metrics,
        credentials,
        last: LastRound::default(),
        targets: scrape::Board::default(),
        session: random_session()?,
        started_ms: clock::now_ms(),
        shutdown: shutdown.clone(),
    };
    let (node, server) = (&context.config.node, &context.config.server);
    tracing::info!(%node, %server, cgroups = %context.cgroups.mode(), "agent starts");

    let mut tasks = Tasks::default();
    let (pods, inbox, events) = pods::channel();
    tasks.spawn("pods", pods::run(context.clone(), inbox));
    tasks.spawn("credentials", context.credentials.clone().run(context.session, shutdown.clone()));
    tasks.spawn("control", control::run(context.clone(), pods.clone(), events));
    tasks.spawn("scrape", scrape::run(context.clone(), pods.clone()));
    tasks.spawn("logs", logs::run(context.clone(), pods));
    tasks.spawn("cri", cri::run(context.clone()));
    tasks.spawn("collectors", collect::run(context.clone()));
    if let Some(address) = context.config.http {
        let listener = http::bind(address).await?;
        tasks.spawn("http", http::run(listener, context.clone()));
    }
    let setup = uplink::Setup {
        config: context.config.clone(),
        node: context.config.node.clone(),
        session: context.session,
        metrics: context.metrics.clone(),
        credentials: context.credentials.clone(),
        shutdown: shutdown.clone(),
    };
    // The uplink ends when nobody can send any more: it must not hold a sender itself.
    drop(context);
    tasks.spawn("uplink", uplink::run(setup, receiver));
    tasks.join(shutdown).await
}

/// Kernel files are kept open: about 20 for each container. The limit a shell gives, 1024, is soon
/// reached; the hard one is ours to use.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "cannot raise the limit of open files");
    }
}

/// Names a process in the protocol: never 0.
fn random_session() -> Result<u64, Error> {
    use std::io::Read;
    let path = std::path::Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    file.read_exact(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

/// The running tasks.
#[derive(Default)]
struct Tasks {
    set: JoinSet<Result<(), Error>>,
    names: Vec<(tokio::task::Id, &'static str)>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.push((handle.id(), name));
    }

    /// Waits for all tasks. The first that ends without having been asked to ends the others.
    async fn join(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut first = Ok(());
        while let Some(ended) = self.set.join_next_with_id().await {
            let (id, result) = match ended {
                Ok((id, result)) => (id, result.map_err(|e| e.to_string())),
                Err(error) => (error.id(), Err(error.to_string())),
            };
            let task = self.names.iter().find(|(known, _)| *known == id).map_or("unknown", |(_, name)| name);
            let reason = match result {
                Ok(()) if shutdown.is_cancelled() => continue,
                Ok(()) => "nobody asked it to".to_owned(),
                Err(reason) => reason,
            };
            tracing::error!(task, reason, "task ended");
            if first.is_ok() {
                first = Err(Error::Task { task, reason });
            }
            shutdown.cancel();
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_dies_ends_the_others_and_is_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::default();
        let asked = shutdown.clone();
        tasks.spawn("patient", async move {
            asked.cancelled().await;
            Ok(())
        });
        tasks.spawn("short-lived", async { Ok(()) });
        let error = tasks.join(shutdown).await.unwrap_err().to_string();
        assert!(error.contains("short-lived"), "{error}");
    }

    #[tokio::test]
    async fn a_panic_ends_the_agent() {
        let mut tasks = Tasks::default();
        tasks.spawn("clumsy", async { panic!("dropped it") });
        let error = tasks.join(CancellationToken::new()).await.unwrap_err().to_string();
        assert!(error.contains("clumsy") && error.contains("dropped it"), "{error}");
    }

    #[test]
    fn sessions_differ_and_are_not_zero() {
        let (a, b) = (random_session().unwrap(), random_session().unwrap());
        assert!(a != b && a != 0 && b != 0);
    }
}
