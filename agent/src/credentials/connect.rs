//! Makes connections: TCP, and TLS over it with the certificate of the moment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{Inner, Source};
use crate::Error;
use crate::error::with_causes;

/// A connection that is not made in this time is tried anew.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// HTTP/2 pings find out that the other side has vanished without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The kernel's own, for connections that wait for their handshake.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

pub(super) fn endpoint(server: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(server.to_owned())
        .map_err(|e| Error::config("server", format!("{server:?}: {e}")))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_keepalive(Some(TCP_KEEP_ALIVE))
        .tcp_nodelay(true))
}

pub(super) fn channel(inner: &Arc<Inner>) -> Result<Channel, Error> {
    let endpoint = endpoint(&inner.server)?;
    if matches!(inner.source, Source::Plain) {
        return Ok(endpoint.connect_lazy());
    }
    let inner = inner.clone();
    let settings =
        move || inner.settings.load_full().ok_or_else(|| io::Error::other(inner.problem.lock().clone()));
    Ok(channel_with(endpoint, settings))
}

/// A channel whose connections are made with what `settings` returns at the time.
pub(super) fn channel_with(
    endpoint: Endpoint,
    settings: impl Fn() -> io::Result<Arc<ClientConfig>> + Send + Sync + 'static,
) -> Channel {
    endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
        let settings = settings();
        async move { connect(&uri, settings?).await.map(TokioIo::new) }
    }))
}

async fn connect(uri: &Uri, settings: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let connecting = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
        rustix::net::sockopt::set_tcp_keepidle(&stream, TCP_KEEP_ALIVE)?;
        TlsConnector::from(settings).connect(name, stream).await
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(io::Error::other)?
}

/// What a status says, and what is behind it: a refused certificate is found there.
pub(crate) fn reason(status: &tonic::Status) -> String {
    with_causes(format!("{:?}: {}", status.code(), status.message()), status)
}
