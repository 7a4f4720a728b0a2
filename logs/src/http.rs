//! Loki's HTTP API over the log store.
//!
//! Answers have the shapes of Loki's documentation; errors are plain text with the place of what is
//! wrong. Bodies are bounded before they are decoded.

mod answer;
mod delete;
mod detect;
mod index;
mod labels;
mod otlp;
mod params;
mod proto;
mod push;
mod query;
mod tail;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::compression::CompressionLayer;

use crate::{Answer, Db, Error, LogQuery};

/// The wall clock: nanoseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Limits of the HTTP API; the section `[loki]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest body of a push as sent, in bytes.
    pub max_push_bytes: usize,
    /// Largest body of a push when decompressed, in bytes.
    pub max_decoded_bytes: usize,
    /// Bytes of pushes, decompressed, that are worked on at a time; more wait.
    pub max_decoding_bytes: usize,
    /// Largest form of a query, in bytes.
    pub max_form_bytes: usize,
    /// Queries that run at a time; more wait.
    pub max_concurrent_queries: usize,
    /// Lines answered when a query does not say how many.
    pub default_entries: usize,
    /// WebSocket tails at a time; more are refused.
    pub max_tails: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_push_bytes: 16 << 20,
            max_decoded_bytes: 64 << 20,
            max_decoding_bytes: 256 << 20,
            max_form_bytes: 1 << 20,
            max_concurrent_queries: 8,
            default_entries: 100,
            max_tails: 64,
        }
    }
}

/// What every handler knows.
#[derive(Clone)]
pub(crate) struct Api {
    db: Db,
    limits: Arc<Limits>,
    clock: Clock,
    /// Room for pushes, in KiB.
    decoding: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    /// Whose blocking threads run the queries.
    query_threads: Handle,
    tails: Arc<Semaphore>,
    /// Delete requests so far, as they are listed.
    deletes: Arc<Mutex<Vec<serde_json::Value>>>,
}

/// The routes under `/loki/api/v1/` (and `/otlp/v1/logs`, `/ready`), to be merged into the server's own. Queries
/// run on the blocking threads of the runtime `query_threads`.
pub fn router(db: Db, limits: Limits, clock: Clock, query_threads: Handle) -> Router {
    let queries = Arc::new(Semaphore::new(limits.max_concurrent_queries.max(1)));
    let tails = Arc::new(Semaphore::new(limits.max_tails));
    let decoding = Arc::new(Semaphore::new((limits.max_decoding_bytes >> 10).max(1)));
    let (limits, deletes) = (Arc::new(limits), Arc::default());
    let api = Api { db, limits, clock, decoding, queries, query_threads, tails, deletes };
    let routes = Router::new()
        .route("/push", post(push::push))
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values).post(labels::values))
        .route("/series", get(labels::series).post(labels::series))
        .route("/tail", get(tail::tail))
        .route("/index/stats", get(index::stats).post(index::stats))
        .route("/index/volume", get(index::volume).post(index::volume))
        .route("/index/volume_range", get(index::volume_range).post(index::volume_range))
        .route("/detected_labels", get(detect::labels).post(detect::labels))
        .route("/detected_fields", get(detect::fields).post(detect::fields))
        .route("/detected_field/{name}/values", get(detect::field_values).post(detect::field_values))
        .route("/patterns", get(detect::patterns).post(detect::patterns))
        .route("/delete", get(delete::list).post(delete::request).put(delete::request))
        .route("/status/buildinfo", get(build_info))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(CompressionLayer::new());
    let otlp = Router::new().route("/otlp/v1/logs", post(otlp::logs));
    let otlp = otlp.layer(axum::extract::DefaultBodyLimit::disable());
    // Who answers here has its store open.
    let ready = get(|| async { "ready\n" });
    Router::new().nest("/loki/api/v1", routes).merge(otlp).route("/ready", ready).with_state(api)
}

async fn build_info() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let body = serde_json::json!({
        "version": version, "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
    });
    answer::json(body.to_string())
}

impl Api {
    fn now_ns(&self) -> i64 {
        (self.clock)()
    }

    fn now_ms(&self) -> i64 {
        self.now_ns().div_euclid(1_000_000)
    }

    /// Evaluates a query and does `then` with the answer, both where it may block. When the client goes away,
    /// which drops this future, the query ends early.
    async fn query<T: Send + 'static>(
        &self,
        query: LogQuery,
        limits: crate::Limits,
        then: impl FnOnce(Answer) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let gone = Gone::default();
        let canceled = gone.0.clone();
        self.blocking(move |db| db.query_until(&query, &limits, canceled).map(then)).await
    }

    /// Waits until there is room for a push of so many bytes; it is given back when the result is dropped.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let all = (self.limits.max_decoding_bytes >> 10).max(1);
        let kib = u32::try_from((bytes >> 10).clamp(1, all)).unwrap_or(u32::MAX);
        let room = self.decoding.clone().acquire_many_owned(kib).await;
        room.map_err(|_| Failure(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping".into()))
    }

    /// What a query may cost, as configured.
    fn query_limits(&self) -> crate::Limits {
        self.db.config().query.clone()
    }

    /// Runs work that blocks, no more at a time than allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = self.queries.clone().acquire_owned().await;
        let db = self.db.clone();
        let done = self.query_threads.spawn_blocking(move || {
            let result = work(&db);
            drop(permit);
            result
        });
        match done.await {
            Ok(result) => result.map_err(Failure::from),
            Err(err) => {
                Err(Failure(StatusCode::INTERNAL_SERVER_ERROR, format!("the query has failed: {err}")))
            }
        }
    }
}

/// Sets its flag when it is dropped.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// An error on its way out: status and plain text, as Loki answers.
#[derive(Debug)]
pub(crate) struct Failure(StatusCode, String);

impl Failure {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Parse { .. } | Error::BadInput(_) | Error::Execution(_) | Error::Limit(_) => {
                StatusCode::BAD_REQUEST
            }
            Error::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::Open { .. } | Error::Storage { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, [("content-type", "text/plain; charset=utf-8")], format!("{}\n", self.1.trim_end()))
            .into_response()
    }
}
