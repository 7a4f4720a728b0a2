//! The two listeners: HTTP for people and programs, gRPC for agents.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::secure::Connections;
use crate::authority::EnrollService;
use crate::config::Config;
use crate::ingest::Service;

/// Flow-control window of an agent's stream and connection, in bytes.
const WINDOW: u32 = 4 << 20;

/// HTTP/2 pings find out that the other end has vanished without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) async fn bind(address: SocketAddr, field: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|reason| Error::Listen { address, field, reason })
}

/// Refuses addresses that other machines reach when anybody could use them.
pub(super) fn check_open(config: &Config) -> Result<(), Error> {
    let server = &config.server;
    if !server.insecure && !server.http.ip().is_loopback() && !config.web.authenticates() {
        return Err(Error::Open(server.http));
    }
    Ok(())
}

/// Says of a port that other machines reach in the clear that it is so; `server.insecure` allows it.
pub(super) fn say_open(field: &str, address: SocketAddr, tls: bool) {
    if !tls && !address.ip().is_loopback() {
        tracing::warn!(%address, "server.{field} is open without TLS, as server.insecure allows");
    }
}

pub(super) fn local(listener: &TcpListener, field: &'static str) -> Result<SocketAddr, Error> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|reason| Error::Listen { address: unknown, field, reason })
}

pub(super) async fn serve_http(
    (connections, accepting): (Connections, impl Future<Output = ()>),
    router: axum::Router,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let serving = axum::serve(connections, router).with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::select! {
        served = serving.into_future() => served.map_err(|error| error.to_string()),
        () = accepting => Err("no connections are accepted any more".into()),
    }
}

pub(super) async fn serve_agents(
    (connections, accepting): (Connections, impl Future<Output = ()>),
    service: Service,
    enroll: EnrollService,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let serving = tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(service.into_server())
        .add_service(enroll.into_server())
        .serve_with_incoming_shutdown(connections, shutdown.cancelled_owned());
    tokio::select! {
        served = serving => served.map_err(|error| error.to_string()),
        () = accepting => Err("no connections are accepted any more".into()),
    }
}
