//! The one HTTP port: the APIs of both stores, status, metrics, control, the built-in page.

mod authentication;
mod control;
mod gate;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::compression::CompressionLayer;

use crate::authority::Security;
use crate::config::Config;
use crate::nodes::Registry;
use crate::selfmetrics::{self, Counters};
use crate::server::Reloader;
use crate::{Clock, cluster};
pub(crate) use authentication::Authentication;
pub(crate) use gate::Gate;

/// What the handlers need; clones share it.
#[derive(Clone)]
pub(crate) struct State {
    pub config: Arc<Config>,
    pub api: binnacle_tsdb::http::Api,
    pub logs: binnacle_logs::Db,
    pub registry: Registry,
    pub cluster: cluster::Handle,
    pub reloader: Reloader,
    /// Where queries of logs run.
    pub query_threads: tokio::runtime::Handle,
    pub counters: Arc<Counters>,
    pub security: Arc<Security>,
    pub clock: Clock,
    pub shutdown: CancellationToken,
}

/// All routes.
pub(crate) fn router(state: State) -> Router {
    let counters = state.counters.clone();
    let most = state.config.server.max_http_requests;
    let clock = state.clock.clone();
    let now_ns = Arc::new(move || clock.now_ms().saturating_mul(1_000_000));
    // What the server does not answer itself, e.g. a reload of more than rules, the stores answer.
    let stores = binnacle_tsdb::http::router(state.api.clone()).merge(binnacle_logs::http::router(
        state.logs.clone(),
        state.config.loki.clone(),
        now_ns,
        state.query_threads.clone(),
    ));
    let own = Router::new()
        .route("/", get(control::page))
        .route("/metrics", get(control::metrics))
        .route("/-/healthy", get(control::healthy))
        .route("/-/ready", get(control::ready))
        .route("/-/reload", post(control::reload).put(control::reload))
        .route("/-/quit", post(control::quit).put(control::quit))
        .route("/api/v1/binnacle/nodes", get(status::nodes))
        .route("/api/v1/binnacle/pods", get(status::pods))
        .route("/api/v1/binnacle/deployments", get(status::deployments))
        .route("/api/v1/binnacle/hpas", get(status::hpas))
        .route("/api/v1/binnacle/decisions", get(status::decisions))
        .layer(CompressionLayer::new().gzip(true))
        .with_state(state)
        .fallback_service(stores);
    own.layer(
        ServiceBuilder::new()
            .layer(GlobalConcurrencyLimitLayer::new(most))
            .layer(middleware::from_fn(move |request, next| count(counters.clone(), request, next))),
    )
}

async fn count(counters: Arc<Counters>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    counters.http_requests.add(1);
    counters.http_errors.add(u64::from(response.status().is_server_error()));
    response
}

/// The text of `/metrics`: the server's own, then those of the stores.
pub(crate) fn metrics_text(state: &State) -> String {
    let mut text = String::with_capacity(16 << 10);
    selfmetrics::render(&state.counters, &state.registry.snapshot(), &mut text);
    state.security.render(&mut text);
    text.push_str(&state.api.metrics_text());
    text.push_str(&state.logs.metrics_text());
    text
}
