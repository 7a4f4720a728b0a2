//! The Prometheus HTTP API: everything under `/api/v1` that Grafana, `promtool`, Prometheus servers and
//! client libraries ask for. `/-/…` and `/metrics` belong to the process and are its owner's.
//!
//! ```text
//! request ─► params ─► query, explore, write, rules, status ─► json ─► answer (gzip, CORS)
//! ```

mod admin;
mod answer;
mod exemplars;
mod explore;
mod expression;
mod json;
mod metrics;
mod otlp;
mod params;
mod query;
mod read;
mod receive;
mod rules;
mod status;
mod targets;
mod write;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, header};
use axum::routing::{any, get, post};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower_http::compression::{CompressionLayer, CompressionLevel};
use tower_http::cors::{Any, CorsLayer};

use self::answer::ApiError;
use crate::exemplars::Exemplars;
use crate::otlp::OtlpConfig;
use crate::remote::{Metadata, Receiver, ReceiverConfig};
use crate::select::GuardLimits;
use crate::{Db, Engine, rules as rule_files};

pub(crate) use self::metrics::Text;
pub use self::status::replay_status;
pub use self::targets::{Target, TargetSource, Targets};

/// Limits of the HTTP API; the section `[http]` of the server's config file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Queries evaluated at one time; more wait for their turn.
    pub query_concurrency: usize,
    /// Longest time a query may wait for its turn, in seconds; `timeout=` can shorten it.
    pub query_queue_seconds: u64,
    /// Longest time a query may run, in seconds. `timeout=` can only shorten it.
    pub query_timeout_seconds: u64,
    /// Memory one query may hold, in bytes.
    pub query_max_bytes: u64,
    /// Samples one query may read.
    pub query_max_samples: u64,
    /// Whether `admin/tsdb/…` answers.
    pub enable_admin_api: bool,
    /// Exemplars kept in memory; the oldest go. 0 keeps none.
    pub max_exemplars: usize,
    /// Remote write; its bounds of bodies are those of OpenTelemetry metrics as well.
    pub remote_write: ReceiverConfig,
    /// OpenTelemetry metrics.
    pub otlp: OtlpConfig,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            query_concurrency: 20,
            query_queue_seconds: 30,
            query_timeout_seconds: 120,
            query_max_bytes: 512 << 20,
            query_max_samples: 50_000_000,
            enable_admin_api: false,
            max_exemplars: 100_000,
            remote_write: ReceiverConfig::default(),
            otlp: OtlpConfig::default(),
        }
    }
}

/// What the status pages say of the process.
#[derive(Debug, Clone, Default)]
pub struct ServerInfo {
    /// When the process started, in milliseconds since the epoch.
    pub start_ms: i64,
    /// The config as it applies, as text.
    pub config_text: String,
    /// Flags and their values.
    pub flags: Vec<(String, String)>,
    /// Commit the binary was built from, when known.
    pub revision: String,
    /// Rust that built it.
    pub compiler: String,
}

/// Answers what time it is, in milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the handlers share; clones are cheap.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    db: Db,
    engine: Engine,
    config: ApiConfig,
    info: ServerInfo,
    clock: Clock,
    queries: Arc<Semaphore>,
    query_threads: OnceLock<tokio::runtime::Handle>,
    receiver: Receiver,
    exemplars: Exemplars,
    otlp: otlp::Counters,
    rules: RwLock<Option<rule_files::Handle>>,
    targets: RwLock<Option<TargetSource>>,
    counters: metrics::Counters,
}

impl Api {
    /// An API over `db`.
    pub fn new(db: Db, engine: Engine, config: ApiConfig, info: ServerInfo, clock: Clock) -> Self {
        let exemplars = Exemplars::new(config.max_exemplars, db.max_labels_bytes());
        Self(Arc::new(Inner {
            queries: Arc::new(Semaphore::new(config.query_concurrency.max(1))),
            query_threads: OnceLock::new(),
            receiver: Receiver::new(db.clone(), config.remote_write.clone(), exemplars.clone()),
            exemplars,
            otlp: otlp::Counters::default(),
            rules: RwLock::new(None),
            targets: RwLock::new(None),
            counters: metrics::Counters::default(),
            db,
            engine,
            config,
            info,
            clock,
        }))
    }

    /// Shows the rules of `handle` under `rules` and `alerts`, and lets `/-/reload` reload them.
    pub fn set_rules(&self, handle: rule_files::Handle) {
        *self.0.rules.write() = Some(handle);
    }

    /// Shows what `source` answers under `targets` and `scrape_pools`.
    pub fn set_targets(&self, source: TargetSource) {
        *self.0.targets.write() = Some(source);
    }

    /// Runs queries on the blocking threads of `runtime` from now on, once; on those of the caller's runtime
    /// before.
    pub fn set_query_threads(&self, runtime: tokio::runtime::Handle) {
        // A second call changes nothing.
        let _ = self.0.query_threads.set(runtime);
    }

    /// Runs a query, or another look into the database, on a thread that may block.
    fn on_query_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match self.0.query_threads.get() {
            Some(runtime) => runtime.spawn_blocking(work),
            None => tokio::task::spawn_blocking(work),
        }
    }

    /// Help, type and unit of metric families, as senders told them. Sources other than remote write
    /// may add theirs.
    pub fn metadata(&self) -> &Metadata {
        self.0.receiver.metadata()
    }

    /// Keeps exemplars, each with the labels of its series, as far as there is room and they are in order. Sources
    /// other than remote write may add theirs.
    pub fn add_exemplars(&self, exemplars: Vec<(binnacle_proto::Labels, crate::Exemplar)>) {
        self.0.exemplars.add(exemplars);
    }

    /// This part's own metrics and those of the rules, in the text format of `/metrics`.
    pub fn metrics_text(&self) -> String {
        metrics::text(self)
    }

    fn now_ms(&self) -> i64 {
        (self.0.clock)()
    }

    fn rules(&self) -> Option<rule_files::Handle> {
        self.0.rules.read().clone()
    }

    fn targets(&self) -> Targets {
        let source = self.0.targets.read().clone();
        source.map(|source| source()).unwrap_or_default()
    }

    fn limits(&self, asked: Option<Duration>) -> GuardLimits {
        let longest = Duration::from_secs(self.0.config.query_timeout_seconds);
        GuardLimits {
            max_bytes: self.0.config.query_max_bytes,
            max_samples: self.0.config.query_max_samples,
            timeout: asked.map_or(longest, |asked| asked.min(longest)),
        }
    }
}

/// All routes. Bodies are bounded by each handler before they are decoded.
pub fn router(api: Api) -> Router {
    let v1 = Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(exemplars::query).post(exemplars::query))
        .route("/format_query", get(expression::format).post(expression::format))
        .route("/parse_query", get(expression::parse).post(expression::parse))
        .route("/series", get(explore::series).post(explore::series))
        .route("/labels", get(explore::labels).post(explore::labels))
        .route("/label/{name}/values", get(explore::label_values))
        .route("/metadata", get(explore::metadata))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(targets::metadata))
        .route("/scrape_pools", get(targets::scrape_pools))
        .route("/notifications", get(status::notifications))
        .route("/alertmanagers", get(rules::alertmanagers))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/status/runtimeinfo", get(status::runtimeinfo))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/walreplay", get(status::walreplay))
        .route("/write", post(write::write))
        .route("/read", post(read::read))
        .route("/otlp/v1/metrics", post(otlp::metrics))
        .route("/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .fallback(any(unknown));
    Router::new()
        .nest("/api/v1", v1)
        .route("/federate", get(read::federate))
        .layer(DefaultBodyLimit::disable())
        .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
        .layer(cors())
        .with_state(api)
}

/// What Prometheus allows by default: any origin, without credentials.
fn cors() -> CorsLayer {
    let allowed = [header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE, header::ORIGIN];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
        .allow_headers(
            allowed.into_iter().chain([HeaderName::from_static("x-requested-with")]).collect::<Vec<_>>(),
        )
        .expose_headers([header::DATE])
}

async fn unknown(uri: axum::http::Uri) -> ApiError {
    ApiError::not_found(format!("there is no endpoint /api/v1{}", uri.path()))
}

#[cfg(test)]
mod tests;
