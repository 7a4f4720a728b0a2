//! The server process: opens the stores, spawns every task, stops in order.

mod listen;
mod log_rules;
mod maintain;
mod reload;
mod secure;
mod tasks;
mod threads;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::authority::{self, Security};
use crate::config::Config;
use crate::selfmetrics::Counters;
use crate::{Clock, cluster, http, ingest, nodes, selfmetrics};
pub(crate) use log_rules::CheckOnly;
pub(crate) use reload::Reloader;
use tasks::Tasks;
use threads::Threads;

/// Why the server did not start or ended by itself. Show it to the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (server.{field}): {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The key of the config.
        field: &'static str,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The HTTP address would answer everybody.
    #[error(
        "server.http is {0}, which other machines reach, and nobody has to say who they are: anybody could \
         read and change everything. Set web.users or web.bearer_token_file (TLS is then set up by itself), \
         use a loopback address, or allow it with --insecure (server.insecure = true) on a network that \
         you trust"
    )]
    Open(SocketAddr),
    /// Certificates, keys or tokens cannot be used.
    #[error("TLS: {0}")]
    Authority(#[from] authority::Error),
    /// The files of `[web]` cannot be used.
    #[error("web: {0}")]
    Web(String),
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path}: {reason}")]
    DataDir {
        /// The folder.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The time-series database could not be opened.
    #[error(transparent)]
    Tsdb(#[from] binnacle_tsdb::Error),
    /// The threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// The log store could not be opened.
    #[error(transparent)]
    Logs(#[from] binnacle_logs::Error),
    /// A rule file cannot be used; after the start, a bad file leaves the old rules running.
    #[error("rule files (rules.files, rules.log_files):\n{0}")]
    Rules(String),
    /// A task ended that should not.
    #[error("the task {name} ended: {reason}")]
    Task {
        /// The task.
        name: &'static str,
        /// Why.
        reason: String,
    },
}

/// A running server.
pub struct Handle {
    /// Where HTTP is answered.
    pub http: SocketAddr,
    /// Where agents are answered.
    pub grpc: SocketAddr,
    tasks: Tasks,
    stop_timeout: Duration,
    db: binnacle_tsdb::Db,
    logs: binnacle_logs::Db,
}

/// Opens the stores and starts everything; `shutdown` stops it.
///
/// # Errors
/// When an address, the data folder or a store cannot be used.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<Handle, Error> {
    let clock = Clock::System;
    let config = Arc::new(config);
    let lock = maintain::claim(&config.server.data_dir)?;
    let hangups = reload::hangups()?;
    listen::check_open(&config)?;
    let http_listener = listen::bind(config.server.http, "http").await?;
    let grpc_listener = listen::bind(config.server.grpc, "grpc").await?;
    let (http, grpc) = (listen::local(&http_listener, "http")?, listen::local(&grpc_listener, "grpc")?);

    let security: Arc<Security> = Arc::default();
    let (ports, keeper) = tls::set_up(&config, (http, grpc), security.clone(), clock.clone())?;
    let authentication = http::Authentication::new(&config.web, security.clone()).map_err(Error::Web)?;
    let (tls, https) = (ports.grpc.is_some(), ports.http.is_some());
    listen::say_open("http", http, https);
    listen::say_open("grpc", grpc, tls);

    let mut tasks = Tasks::new(shutdown.clone());
    let gate = http::Gate::default();
    let clients = secure::connections(http_listener, http, ports.http, security.clone());
    let router = authentication.clone().around(gate.router());
    tasks.spawn("http", listen::serve_http(clients, router, shutdown.clone()));
    tasks.spawn("certificates", keeper.run(shutdown.clone()));
    tasks.spawn("passwords", authentication.run(shutdown.clone()));
    let (db, logs) = maintain::open(&config, gate.progress()).await?;
    let engine = binnacle_tsdb::Engine::new(config.query.clone());
    let threads = Threads::start()?;
    let steering = engine.clone().on(threads.steering());
    let counters: Arc<Counters> = Arc::default();
    let registry = nodes::Registry::new(clock.clone(), counters.clone(), config.ingest.max_nodes);
    let (cluster, desk) = cluster::channel();
    let api = api(&config, (http, grpc), db.clone(), engine, clock.clone());
    api.set_query_threads(threads.queries());
    let (stop, now) = (shutdown.clone(), clock.clone());
    let rules = rules(&config, db.clone(), steering.clone(), logs.clone(), now, stop)?;
    api.set_rules(rules.clone());
    let scraped = registry.clone();
    api.set_targets(Arc::new(move || nodes::targets(&scraped)));
    let reloader = reload::Reloader::new(cluster.clone(), rules.clone(), counters.clone());

    let joined = ports.authority.as_ref().map(|_| ports.nodes.subscribe());
    let rights = authority::Gate::new(joined, security.clone(), clock.clone());
    let enroll = authority::EnrollService::new(
        ports.authority,
        ports.nodes,
        rights.clone(),
        security.clone(),
        clock.clone(),
        config.tls.node_lifetime_ms,
    );
    let ingest = ingest::Deps {
        gate: rights,
        settings: config.ingest.clone(),
        registry: registry.clone(),
        counters: counters.clone(),
        clock: clock.clone(),
        shutdown: shutdown.clone(),
    };
    let service = ingest::Service::new(db.clone(), api.clone(), logs.clone(), ingest);
    let state = http::State {
        config: config.clone(),
        api,
        logs: logs.clone(),
        registry: registry.clone(),
        cluster,
        reloader: reloader.clone(),
        query_threads: threads.queries(),
        counters: counters.clone(),
        security: security.clone(),
        clock: clock.clone(),
        shutdown: shutdown.clone(),
    };

    let agents = secure::connections(grpc_listener, grpc, ports.grpc, security);
    tasks.spawn("grpc", listen::serve_agents(agents, service, enroll, shutdown.clone()));
    let gather = state.clone();
    gate.open(http::router(state));
    tasks.spawn("tsdb maintenance", maintain::tsdb(db.clone(), clock.clone(), shutdown.clone()));
    tasks.spawn("log maintenance", maintain::logs(logs.clone(), clock.clone(), shutdown.clone()));
    let until = shutdown.clone();
    tasks.spawn("rules", async move {
        until.cancelled().await;
        rules.stopped().await;
        Ok(())
    });
    tasks.spawn("reload", reload::on_hangup(hangups, reloader, shutdown.clone()));
    let (own_db, own_clock, own_shutdown) = (db.clone(), clock.clone(), shutdown.clone());
    let interval = Duration::from_millis(config.server.self_scrape_interval_ms);
    tasks.spawn("own metrics", async move {
        let text = move || http::metrics_text(&gather);
        selfmetrics::record(own_db, text, http.to_string(), interval, own_clock, own_shutdown).await;
        Ok(())
    });
    let deps = cluster::Deps {
        db: db.clone(),
        engine: steering,
        logs: logs.clone(),
        registry,
        config: config.clone(),
        clock,
        desk,
    };
    let controllers = cluster::run(deps, shutdown.clone());
    tasks.spawn("controllers", async move { controllers.await.map_err(|error| error.to_string()) });
    tasks.keep(lock);
    tasks.keep(threads);

    tracing::info!(%http, %grpc, tls, https, data_dir = %config.server.data_dir.display(), "binnacle is ready");
    Ok(Handle {
        http,
        grpc,
        tasks,
        stop_timeout: Duration::from_millis(config.server.stop_timeout_ms),
        db,
        logs,
    })
}

/// Starts the rules; each evaluation has the limits of a query's default account.
fn rules(
    config: &Config,
    db: binnacle_tsdb::Db,
    engine: binnacle_tsdb::Engine,
    logs: binnacle_logs::Db,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<binnacle_tsdb::rules::Handle, Error> {
    let limits = binnacle_tsdb::GuardLimits::default();
    let now = Arc::new(move || clock.now_ms());
    let logs = Some(Arc::new(log_rules::LogRules(logs)) as _);
    let rules = config.rules.clone();
    let manager = binnacle_tsdb::rules::Manager::with_logs(db, engine, logs, limits, rules, now);
    manager.run(async move { shutdown.cancelled().await }).map_err(|findings| {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Error::Rules(lines.join("\n"))
    })
}

/// Prometheus' API over the database.
fn api(
    config: &Config,
    (http, grpc): (SocketAddr, SocketAddr),
    db: binnacle_tsdb::Db,
    engine: binnacle_tsdb::Engine,
    clock: Clock,
) -> binnacle_tsdb::http::Api {
    let flags = [
        ("http", http.to_string()),
        ("grpc", grpc.to_string()),
        ("data-dir", config.server.data_dir.display().to_string()),
    ];
    let info = binnacle_tsdb::http::ServerInfo {
        start_ms: clock.now_ms(),
        config_text: format!("{config:#?}"),
        flags: flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        ..Default::default()
    };
    binnacle_tsdb::http::Api::new(db, engine, config.http.clone(), info, Arc::new(move || clock.now_ms()))
}

impl Handle {
    /// Waits until the server has stopped: because of `shutdown`, or because a task died, which is
    /// the error. The stores are flushed and closed.
    ///
    /// # Errors
    /// [`Error::Task`], and errors of closing the stores; acknowledged data is safe all the same.
    pub async fn wait(mut self) -> Result<(), Error> {
        let ended = self.tasks.run(self.stop_timeout).await;
        let (db, logs) = (self.db, self.logs);
        let closed = tokio::task::spawn_blocking(move || {
            let logs = logs.close().map_err(Error::from);
            db.close().map_err(Error::from).and(logs)
        });
        let closed =
            closed.await.map_err(|error| Error::Task { name: "close", reason: error.to_string() })?;
        ended.and(closed)
    }
}
