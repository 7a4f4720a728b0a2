//! Connections of the HTTP port: accepted, shaken hands with where there is TLS, handed on.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use binnacle_proto::identity::Facts;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::config::Web;
use crate::selfmetrics::{Counter, Gauge, SelfMetrics};

/// Handshakes at one time; further connections wait to be accepted.
const MAX_HANDSHAKES: usize = 32;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that wait to be served.
const MAX_WAITING: usize = 16;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Something to read from and to write to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The TLS of the port.
pub(super) struct Tls {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    settings: ArcSwap<ServerConfig>,
    /// What the files looked like before they were read: a change while that went on is seen as one.
    seen: [Looks; 3],
    numbers: Numbers,
}

struct Numbers {
    expiry: Gauge,
    refused: Counter,
    failures: Counter,
}

impl Tls {
    /// What the configuration asks for, if it does.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub(super) fn load(web: &Web, metrics: &SelfMetrics) -> Result<Option<Self>, Error> {
        let Some((cert, key)) = web.cert_file.clone().zip(web.key_file.clone()) else { return Ok(None) };
        let client_ca = web.client_ca_file.clone();
        let seen = looks([Some(&cert), Some(&key), client_ca.as_ref()]);
        let (settings, expires_ms) = settings(&cert, &key, client_ca.as_deref())?;
        let numbers = Numbers {
            expiry: metrics.gauge("binnacle_agent_http_certificate_expiry_timestamp_seconds", &[]),
            refused: metrics.counter("binnacle_agent_http_refused_total", &[]),
            failures: metrics.counter("binnacle_agent_http_certificate_failures_total", &[]),
        };
        numbers.expiry.set(expires_ms as f64 / 1000.0);
        let settings = ArcSwap::from_pointee(settings);
        Ok(Some(Self { cert, key, client_ca, settings, seen, numbers }))
    }

    /// Reads the files anew when they change, for ever. What cannot be used changes nothing.
    pub(super) async fn follow(&self) {
        let mut seen = self.seen;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let looks = looks([Some(&self.cert), Some(&self.key), self.client_ca.as_ref()]);
            if looks == seen {
                continue;
            }
            seen = looks;
            match settings(&self.cert, &self.key, self.client_ca.as_deref()) {
                Ok((settings, expires_ms)) => {
                    self.settings.store(Arc::new(settings));
                    self.numbers.expiry.set(expires_ms as f64 / 1000.0);
                    tracing::info!(certificate = %self.cert.display(), "the HTTP port has a new certificate");
                }
                Err(error) => {
                    self.numbers.failures.add(1);
                    tracing::error!(%error, "the HTTP port keeps its old certificate");
                }
            }
        }
    }
}

/// When a file was written, and how long it is.
type Looks = Option<(SystemTime, u64)>;

fn looks(files: [Option<&PathBuf>; 3]) -> [Looks; 3] {
    files.map(|file| {
        let meta = fs::metadata(file?).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

fn broken(path: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::config("web", format!("{}: {problem}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| broken(path, &e))?;
    if found.is_empty() { Err(broken(path, &"there is no certificate in it")) } else { Ok(found) }
}

/// Settings of the port, and when its certificate ends, in milliseconds since the epoch.
fn settings(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<(ServerConfig, i64), Error> {
    let chain = certificates(cert)?;
    let expires_ms = Facts::of(&chain[0]).map_err(|e| broken(cert, &e))?.not_after_ms;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| broken(key, &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| broken(cert, &e))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| broken(path, &e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| broken(path, &e))?)
        }
    };
    let mut settings = builder.with_single_cert(chain, private).map_err(|e| broken(cert, &e))?;
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would not look at the certificate again.
    settings.session_storage = Arc::new(NoServerSessionStorage {});
    settings.send_tls13_tickets = 0;
    Ok((settings, expires_ms))
}

/// Connections that are ready to be served.
pub(super) struct Connections {
    ready: mpsc::Receiver<(Box<dyn Stream>, SocketAddr)>,
    local: SocketAddr,
}

/// Splits a listener into what is ready and the work of getting it ready, which must be polled.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
) -> io::Result<(Connections, impl Future<Output = ()>)> {
    let (sender, ready) = mpsc::channel(MAX_WAITING);
    let local = listener.local_addr()?;
    Ok((Connections { ready, local }, accept(listener, tls, sender)))
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    ready: mpsc::Sender<(Box<dyn Stream>, SocketAddr)>,
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
        let (ready, tls) = (ready.clone(), tls.clone());
        let handing_over = async move {
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => Box::new(shake_hands(&tls, stream, address).await?),
            };
            // Nobody serves any more: the agent ends.
            let _ = ready.send((stream, address)).await;
            drop(turn);
            Some(())
        };
        tokio::spawn(handing_over);
    }
}

async fn shake_hands(
    tls: &Tls,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let acceptor = TlsAcceptor::from(tls.settings.load_full());
    let error = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    tls.numbers.refused.add(1);
    // Whoever reaches the port could fill the log.
    tracing::debug!(%address, error, "a connection is refused");
    None
}

impl axum::serve::Listener for Connections {
    type Io = Box<dyn Stream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Box<dyn Stream>, SocketAddr) {
        match self.ready.recv().await {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}
