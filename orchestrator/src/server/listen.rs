//! The two listeners: HTTP for people and programs, gRPC for agents.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::config::Server;
use crate::ingest::Service;

/// Flow-control window of an agent's stream and connection, in bytes.
const WINDOW: u32 = 4 << 20;

pub(super) async fn bind(address: SocketAddr, field: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|reason| Error::Listen { address, field, reason })
}

/// Binds the address for agents, unless that were not safe.
pub(super) async fn bind_agents(settings: &Server) -> Result<TcpListener, Error> {
    if !settings.grpc.ip().is_loopback() {
        if !settings.insecure {
            return Err(Error::NotSafe(settings.grpc));
        }
        tracing::warn!(grpc = %settings.grpc, "agents are answered without TLS, as server.insecure allows");
    }
    bind(settings.grpc, "grpc").await
}

pub(super) fn local(listener: &TcpListener) -> Result<SocketAddr, Error> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|reason| Error::Listen { address: unknown, field: "http", reason })
}

pub(super) async fn serve_http(
    listener: TcpListener,
    router: axum::Router,
    shutdown: CancellationToken,
) -> Result<(), String> {
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(|error| error.to_string())
}

pub(super) async fn serve_agents(
    listener: TcpListener,
    service: Service,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let connections = TcpListenerStream::new(listener).map(|connection| {
        let connection = connection?;
        // Acks are small and awaited.
        connection.set_nodelay(true)?;
        Ok::<_, std::io::Error>(connection)
    });
    tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(service.into_server())
        .serve_with_incoming_shutdown(connections, shutdown.cancelled_owned())
        .await
        .map_err(|error| error.to_string())
}
