//! The agent's own HTTP port: `/metrics` about itself, and what the last round saw for a Prometheus
//! that scrapes: `/metrics/node` (node_exporter's families) and `/metrics/cadvisor` (containers).

mod secure;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use binnacle_proto::{Labels, is_stale};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::agent::Context;
use crate::sample::Round;
use secure::Tls;

/// How long requests may go on when the agent ends.
const GRACE: Duration = Duration::from_secs(2);

/// The media type of the Prometheus text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels that a Prometheus gives to what it scrapes.
const TARGET_LABELS: [&str; 4] = ["instance", "job", "metrics_path", "node"];

/// What the last round saw. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct LastRound(Arc<Mutex<Round>>);

impl LastRound {
    pub(crate) fn set(&self, round: &Round) {
        *self.0.lock() = round.clone();
    }

    /// The series for which `wanted` holds, in the text format, without the labels of a target.
    fn render(&self, wanted: impl Fn(&str) -> bool) -> String {
        let round = self.0.lock().clone();
        let mut lines: Vec<(Labels, f64)> = round
            .samples
            .iter()
            .filter(|(series, value)| !is_stale(*value) && series.labels().metric_name().is_some_and(&wanted))
            .map(|(series, value)| (series.labels().filtered(|name| !TARGET_LABELS.contains(&name)), *value))
            .collect();
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        let mut text = String::new();
        for (labels, value) in lines {
            text.push_str(labels.metric_name().unwrap_or_default());
            let mut separator = '{';
            for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(text, "{separator}{name}=\"{value}\"");
                separator = ',';
            }
            let _ = writeln!(text, "{} {value}", if separator == ',' { "}" } else { "" });
        }
        text
    }
}

/// Listens at `address`.
///
/// # Errors
/// When it is taken or not ours.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| Error::io(Path::new(&format!("http {address}")), e))
}

/// Serves until shutdown.
///
/// # Errors
/// When files of `[web]` cannot be used.
pub(crate) async fn run(listener: TcpListener, context: Context) -> Result<(), Error> {
    let tls = Tls::load(&context.config.web, &context.metrics)?;
    let (metrics, node, containers) = (context.metrics.clone(), context.last.clone(), context.last.clone());
    let text = |text: String| ([(CONTENT_TYPE, TEXT_FORMAT)], text);
    let is_node = |name: &str| name.starts_with("node_");
    let is_container = |name: &str| name.starts_with("container_") || name.starts_with("machine_");
    let router = Router::new()
        .route("/metrics", get(move || async move { text(metrics.render()) }))
        .route("/metrics/node", get(move || async move { text(node.render(is_node)) }))
        .route("/metrics/cadvisor", get(move || async move { text(containers.render(is_container)) }))
        .route("/-/healthy", get(|| async { "ok\n" }));
    let shutdown = context.shutdown.clone();
    // Not the whole context: it holds a sender of the uplink.
    drop(context);
    serve(listener, tls, router, shutdown).await
}

/// Serves until shutdown; whoever is not done soon after is cut off.
async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let broken = |e| Error::io(Path::new("http"), e);
    let tls = tls.map(Arc::new);
    let (connections, accepting) = secure::connections(listener, tls.clone()).map_err(broken)?;
    let serving = axum::serve(connections, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let following = async {
        match &tls {
            Some(tls) => tls.follow().await,
            None => std::future::pending().await,
        }
    };
    let end = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served.map_err(broken),
        () = accepting => Ok(()),
        () = following => Ok(()),
        () = end => Ok(()),
    }
}

#[cfg(test)]
mod tests;
