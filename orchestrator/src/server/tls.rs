//! The TLS of both ports: made at the start, renewed before it ends, read anew when its files change.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use binnacle_proto::identity::Facts;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::secure::Settings;
use crate::Clock;
use crate::authority::{self, Authority, Issued, NodeRecords, Security};
use crate::config::Config;

/// How often files and what is due are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Grpc,
    Http,
}

/// Where a port's certificate comes from.
enum Source {
    /// Of the server's own authority.
    Own,
    Files {
        cert: PathBuf,
        key: PathBuf,
        ca: Option<PathBuf>,
    },
}

/// A port with TLS.
struct Secured {
    port: Port,
    source: Source,
    settings: Settings,
    /// When the files were written that are in use.
    seen: Vec<Option<SystemTime>>,
    /// When a certificate of our own is to be renewed, milliseconds since the epoch.
    renew_ms: i64,
}

/// Keeps certificates in order.
pub(super) struct Keeper {
    authority: Option<Arc<Authority>>,
    names: Vec<String>,
    lifetime_ms: i64,
    ports: Vec<Secured>,
    nodes: watch::Sender<NodeRecords>,
    nodes_seen: Option<SystemTime>,
    security: Arc<Security>,
    clock: Clock,
}

/// What the ports are served with.
pub(super) struct Ports {
    pub grpc: Option<Settings>,
    pub http: Option<Settings>,
    pub authority: Option<Arc<Authority>>,
    pub nodes: watch::Sender<NodeRecords>,
}

/// Sets up the TLS that configuration and addresses ask for.
///
/// # Errors
/// When files or the authority cannot be used.
pub(super) fn set_up(
    config: &Config,
    (http, grpc): (SocketAddr, SocketAddr),
    security: Arc<Security>,
    clock: Clock,
) -> Result<(Ports, Keeper), authority::Error> {
    let now_ms = clock.now_ms();
    let reached = |address: SocketAddr| !address.ip().is_loopback() && !config.server.insecure;
    let grpc_tls = config.tls.on_loopback || config.tls.ca_file.is_some() || reached(grpc);
    let http_tls = config.web.tls_on_loopback || config.web.cert_file.is_some() || reached(http);
    let own_grpc = grpc_tls && config.tls.ca_file.is_none();
    let own_http = http_tls && config.web.cert_file.is_none();
    let authority = match own_grpc || own_http {
        true => Some(Arc::new(Authority::open(&config.server.data_dir, now_ms)?)),
        false => None,
    };
    if let Some(authority) = &authority {
        security.authority_expires_ms.store(expiry_ms(authority.certificate()), Ordering::Relaxed);
        tracing::info!(
            fingerprint = %authority.fingerprint(),
            certificate = %authority.certificate_path().display(),
            "the certificate authority of this server"
        );
    }
    let joins = authority.clone().filter(|_| own_grpc);
    let mut keeper = Keeper {
        authority,
        names: names(config, [http, grpc]),
        lifetime_ms: config.tls.server_lifetime_ms,
        ports: Vec::new(),
        nodes: watch::Sender::default(),
        nodes_seen: None,
        security,
        clock,
    };
    let mut ports = Ports { grpc: None, http: None, authority: joins, nodes: keeper.nodes.clone() };
    if grpc_tls {
        let ca = config.tls.ca_file.clone();
        let files = ca.zip(config.tls.cert_file.clone()).zip(config.tls.key_file.clone());
        let source = files.map_or(Source::Own, |((ca, cert), key)| Source::Files { cert, key, ca: Some(ca) });
        ports.grpc = Some(keeper.secure(Port::Grpc, source, now_ms)?);
    }
    if http_tls {
        let files = config.web.cert_file.clone().zip(config.web.key_file.clone());
        let source = files.map_or(Source::Own, |(cert, key)| Source::Files { cert, key, ca: None });
        ports.http = Some(keeper.secure(Port::Http, source, now_ms)?);
    }
    keeper.read_nodes()?;
    Ok((ports, keeper))
}

/// By what clients may call the server.
fn names(config: &Config, addresses: [SocketAddr; 2]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.extend(fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned()));
    names.extend(addresses.iter().filter(|a| !a.ip().is_unspecified()).map(|a| a.ip().to_string()));
    names.extend(config.tls.names.iter().cloned());
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}

impl Keeper {
    fn secure(&mut self, port: Port, source: Source, now_ms: i64) -> Result<Settings, authority::Error> {
        // Before they are read: a change while that goes on is seen as one.
        let seen = written(&source);
        let (made, renew_ms) = self.make(port, &source, now_ms)?;
        let settings = Arc::new(ArcSwap::from_pointee(made));
        self.ports.push(Secured { port, source, settings: settings.clone(), seen, renew_ms });
        Ok(settings)
    }

    /// Renews and reads anew until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<(), String> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            // It reads files, and may wait for a command line that holds the lock.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            self = looked.await.map_err(|error| error.to_string())?;
        }
    }

    fn look(&mut self) {
        let now_ms = self.clock.now_ms();
        for at in 0..self.ports.len() {
            let port = &self.ports[at];
            let written = written(&port.source);
            if now_ms < port.renew_ms && written == port.seen {
                continue;
            }
            let (which, source) = (port.port, &port.source);
            let made = self.make(which, source, now_ms);
            let port = &mut self.ports[at];
            // What cannot be used is not tried again before it changes again.
            port.seen = written;
            match made {
                Ok((settings, renew_ms)) => {
                    port.settings.store(Arc::new(settings));
                    port.renew_ms = renew_ms;
                    tracing::info!(port = ?which, "a new certificate is in use");
                }
                Err(error) => {
                    port.renew_ms = port.renew_ms.max(now_ms + 60_000);
                    self.security.reloads_failed.add(1);
                    tracing::error!(port = ?which, %error, "the old certificate stays in use");
                }
            }
        }
        if let Err(error) = self.read_nodes() {
            tracing::error!(%error, "cannot read which nodes have joined");
        }
    }

    /// What the command line has changed: nodes that were revoked.
    fn read_nodes(&mut self) -> Result<(), authority::Error> {
        let Some(authority) = &self.authority else { return Ok(()) };
        let changed = authority.nodes_changed();
        // Times are coarse: a change within the same tick would be missed for ever.
        let recent = |time: SystemTime| time.elapsed().is_ok_and(|age| age < 3 * INTERVAL);
        if changed.is_some() && changed == self.nodes_seen && !changed.is_some_and(recent) {
            return Ok(());
        }
        // Under the lock: what was read must not replace what is enrolled at this moment.
        let _lock = authority.lock()?;
        self.nodes_seen = changed;
        let nodes = authority.list_nodes()?;
        self.nodes.send_if_modified(|known| {
            let news = *known != nodes;
            *known = nodes;
            news
        });
        Ok(())
    }

    /// The settings of a port, and when to make them anew.
    fn make(
        &self,
        port: Port,
        source: &Source,
        now_ms: i64,
    ) -> Result<(ServerConfig, i64), authority::Error> {
        let refused = |error: &dyn std::fmt::Display| authority::Error::Crypto(error.to_string());
        let (Issued { chain, key }, roots, renew_ms) = match (source, &self.authority) {
            (Source::Own, None) => return Err(refused(&"there is no authority")),
            (Source::Own, Some(authority)) => {
                let issued = authority.issue_server(&self.names, self.lifetime_ms, now_ms)?;
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate().clone()).map_err(|error| refused(&error))?;
                // Agents spread theirs by chance; one server needs none.
                (issued, Some(roots), now_ms + self.lifetime_ms * 4 / 5)
            }
            (Source::Files { cert, key, ca }, _) => {
                let issued = Issued { chain: authority::certificates(cert)?, key: read_key(key)? };
                let roots = ca.as_deref().map(read_roots).transpose()?;
                (issued, roots, i64::MAX)
            }
        };
        let expires_ms = expiry_ms(&chain[0]);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error))?;
        let builder = match (port, roots) {
            (Port::Grpc, Some(roots)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                // Who has no certificate may join with a token; the gate refuses the rest.
                let verifier = verifier.allow_unauthenticated().build().map_err(|error| refused(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut settings = builder.with_single_cert(chain, key).map_err(|error| refused(&error))?;
        settings.alpn_protocols = match port {
            Port::Grpc => vec![b"h2".to_vec()],
            Port::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        if port == Port::Grpc {
            // A resumed session would not look at the certificate again.
            settings.session_storage = Arc::new(NoServerSessionStorage {});
            settings.send_tls13_tickets = 0;
        }
        self.shown(port).store(expires_ms, Ordering::Relaxed);
        Ok((settings, renew_ms))
    }

    fn shown(&self, port: Port) -> &AtomicI64 {
        match port {
            Port::Grpc => &self.security.grpc_expires_ms,
            Port::Http => &self.security.http_expires_ms,
        }
    }
}

fn expiry_ms(certificate: &CertificateDer<'_>) -> i64 {
    Facts::of(certificate).map_or(0, |facts| facts.not_after_ms)
}

/// When the files of a source were written.
fn written(source: &Source) -> Vec<Option<SystemTime>> {
    let Source::Files { cert, key, ca } = source else { return Vec::new() };
    let time = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    [Some(cert), Some(key), ca.as_ref()].into_iter().flatten().map(time).collect()
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, authority::Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| authority::Error::broken(path, error))
}

fn read_roots(path: &Path) -> Result<RootCertStore, authority::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in authority::certificates(path)? {
        roots.add(certificate).map_err(|error| authority::Error::broken(path, error))?;
    }
    Ok(roots)
}
