//! The agent's own `/metrics`.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::Error;
use crate::agent::Context;

/// The media type of the Prometheus text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Listens at `address`.
///
/// # Errors
/// When it is taken or not ours.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| Error::io(Path::new(&format!("http {address}")), e))
}

/// Serves until shutdown.
pub(crate) async fn run(listener: TcpListener, context: Context) -> Result<(), Error> {
    let metrics = context.metrics.clone();
    let page = move || async move { ([(CONTENT_TYPE, TEXT_FORMAT)], metrics.render()) };
    let router = Router::new().route("/metrics", get(page)).route("/-/healthy", get(|| async { "ok\n" }));
    let shutdown = context.shutdown.clone();
    // Not the whole context: it holds a sender of the uplink.
    drop(context);
    let serve = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    serve.await.map_err(|e| Error::io(Path::new("http"), e))
}
