//! Connections as they come in: accepted, shaken hands with, handed on. Plain or TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use binnacle_proto::identity::Facts;
use futures::Stream;
use rustls::{AlertDescription, CertificateError, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::authority::{Peer, Reason, Security};

/// Handshakes at one time; further connections wait to be accepted.
const MAX_HANDSHAKES: usize = 256;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that have been shaken hands with and wait to be served.
const MAX_WAITING: usize = 64;

/// What the TLS of a port is at the moment; replaced when its certificate is.
pub(super) type Settings = Arc<ArcSwap<ServerConfig>>;

/// A connection.
pub(super) enum Connection {
    Plain(TcpStream, SocketAddr),
    Tls(Box<TlsStream<TcpStream>>, Peer),
}

/// Connections that are ready to be served.
pub(super) struct Connections {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    local: SocketAddr,
}

/// Splits a listener into what is ready and the work of getting it ready, which must be polled.
pub(super) fn connections(
    listener: TcpListener,
    local: SocketAddr,
    tls: Option<Settings>,
    security: Arc<Security>,
) -> (Connections, impl Future<Output = ()>) {
    let (sender, ready) = mpsc::channel(MAX_WAITING);
    (Connections { ready, local }, accept(listener, tls, security, sender))
}

async fn accept(
    listener: TcpListener,
    tls: Option<Settings>,
    security: Arc<Security>,
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        // The semaphore is never closed.
        let Ok(turn) = handshakes.clone().acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, most likely: the connections that are open go on.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        set_up(&stream);
        let (ready, security) = (ready.clone(), security.clone());
        match tls.as_ref().map(|tls| TlsAcceptor::from(tls.load_full())) {
            None => {
                if ready.send((Connection::Plain(stream, address), address)).await.is_err() {
                    return;
                }
            }
            Some(acceptor) => {
                tokio::spawn(async move {
                    if let Some(connection) = shake_hands(acceptor, stream, address, &security).await {
                        // Nobody serves any more: the server stops.
                        let _ = ready.send((connection, address)).await;
                    }
                    drop(turn);
                });
            }
        }
    }
}

/// Answers are small and awaited; the far end may vanish without a word.
fn set_up(stream: &TcpStream) {
    let set = stream.set_nodelay(true).and_then(|()| {
        rustix::net::sockopt::set_socket_keepalive(stream, true)?;
        Ok(rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?)
    });
    if let Err(error) = set {
        tracing::debug!(%error, "a connection's options cannot be set");
    }
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    security: &Security,
) -> Option<Connection> {
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            refuse(address, reason_of(&error), &error.to_string(), security);
            return None;
        }
        Err(_) => {
            refuse(address, Reason::Handshake, "it took too long", security);
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let facts = match certificate.map(|certificate| Facts::of(certificate)).transpose() {
        Ok(facts) => facts.map(Arc::new),
        Err(error) => {
            refuse(address, Reason::Handshake, &error.to_string(), security);
            return None;
        }
    };
    Some(Connection::Tls(Box::new(stream), Peer { address, encrypted: true, facts }))
}

fn refuse(address: SocketAddr, reason: Reason, error: &str, security: &Security) {
    security.refused(reason);
    if security.may_log() {
        tracing::warn!(%address, reason = reason.label(), error, "a connection is refused");
    }
}

/// Why a handshake failed, when that was a certificate.
fn reason_of(error: &io::Error) -> Reason {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Reason::Expired,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => Reason::WrongAuthority,
        // The other end does not trust this server.
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::DecryptError | AlertDescription::BadCertificate,
        )) => Reason::WrongAuthority,
        _ => Reason::Handshake,
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(context).map(|next| next.map(|(connection, _)| Ok(connection)))
    }
}

impl axum::serve::Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.ready.recv().await {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        match self {
            Self::Plain(_, address) => Peer { address: *address, encrypted: false, facts: None },
            Self::Tls(_, peer) => peer.clone(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream, _) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream, _) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
