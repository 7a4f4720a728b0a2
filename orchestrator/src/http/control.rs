//! Health, reload, stop, metrics and the built-in page.

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};

use super::{State, metrics_text};

/// What the page may load: itself, and data from this server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'self'";

pub(super) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(binnacle_dashboards::PAGE))
}

pub(super) async fn metrics(Shared(state): Shared<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics_text(&state))
}

pub(super) async fn healthy() -> &'static str {
    "Binnacle is healthy.\n"
}

/// Only what is behind the gate answers so: both stores have replayed what they owed.
pub(super) async fn ready() -> &'static str {
    "Binnacle is ready.\n"
}

pub(super) async fn reload(Shared(state): Shared<State>) -> impl IntoResponse {
    match state.reloader.reload().await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(refused) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{refused}\n")),
    }
}

pub(super) async fn quit(Shared(state): Shared<State>) -> impl IntoResponse {
    if !state.config.server.enable_quit {
        let text = "stopping over HTTP is off: start the server with --enable-quit (server.enable_quit)\n";
        return (StatusCode::FORBIDDEN, text);
    }
    tracing::info!("asked to stop over HTTP");
    state.shutdown.cancel();
    (StatusCode::OK, "Binnacle stops.\n")
}
