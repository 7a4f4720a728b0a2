//! The calls by which an agent gets its certificate.

use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::enroll::enrollment_server::{Enrollment, EnrollmentServer};
use binnacle_proto::enroll::{Certificate, JoinRequest, RenewRequest};
use binnacle_proto::identity::{Fingerprint, node_uri, requested_key};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};

use super::gate::{Gate, Peer};
use super::issue::issued_ms;
use super::metrics::{Reason, Security};
use super::nodes::{NodeRecord, NodeRecords};
use super::tokens::Claim;
use super::{Authority, Error};
use crate::Clock;

/// Largest message, in bytes: a name, a token and a request are far below.
const MAX_MESSAGE: usize = 16 << 10;

/// Requests worked on at one time; each writes a file.
const MAX_AT_ONCE: usize = 4;

/// How long one may wait for its turn.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The service; clones share it.
#[derive(Clone)]
pub(crate) struct Service(Arc<Shared>);

struct Shared {
    authority: Option<Arc<Authority>>,
    nodes: watch::Sender<NodeRecords>,
    gate: Gate,
    security: Arc<Security>,
    clock: Clock,
    lifetime_ms: i64,
    turns: Arc<Semaphore>,
}

/// Why a request is not met.
enum Failure {
    Refused(Reason, String),
    Internal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Internal(error)
    }
}

impl Service {
    /// `nodes` is told of every change; `lifetime_ms` is that of the nodes' certificates.
    pub(crate) fn new(
        authority: Option<Arc<Authority>>,
        nodes: watch::Sender<NodeRecords>,
        gate: Gate,
        security: Arc<Security>,
        clock: Clock,
        lifetime_ms: i64,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(MAX_AT_ONCE));
        Self(Arc::new(Shared { authority, nodes, gate, security, clock, lifetime_ms, turns }))
    }

    /// The service with its bound on message sizes.
    pub(crate) fn into_server(self) -> EnrollmentServer<Self> {
        EnrollmentServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Runs `work` where it may block, in its turn; refusals are counted and logged.
    async fn answer(
        &self,
        peer: &Peer,
        node: &str,
        work: impl FnOnce(&Shared, &Authority) -> Result<Certificate, Failure> + Send + 'static,
    ) -> Result<Response<Certificate>, Status> {
        let shared = self.0.clone();
        let turn = tokio::time::timeout(MAX_WAIT, shared.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Status::resource_exhausted("too many agents ask for certificates: try again"));
        };
        let worker = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            // The work goes on when the agent that asked for it has gone.
            let _turn = turn;
            match worker.authority.as_deref() {
                Some(authority) => work(&worker, authority),
                None => Err(Failure::Refused(Reason::NoAuthority, String::new())),
            }
        });
        match done.await.map_err(|error| Status::internal(error.to_string()))? {
            Ok(certificate) => Ok(Response::new(certificate)),
            Err(Failure::Refused(reason, detail)) => {
                let status = shared.gate.refuse(peer, node, reason);
                let text = [status.message(), &detail].join(if detail.is_empty() { "" } else { ": " });
                Err(Status::new(status.code(), text))
            }
            Err(Failure::Internal(error)) => {
                tracing::error!(node, %error, "cannot give a certificate");
                Err(Status::internal("the server cannot give a certificate now: see its log"))
            }
        }
    }
}

impl Shared {
    /// Issues a certificate to `node`, and keeps that it has one. The caller holds the lock.
    fn issue(
        &self,
        authority: &Authority,
        node: &str,
        key: Vec<u8>,
        known: Option<NodeRecord>,
    ) -> Result<Certificate, Error> {
        let now_ms = self.clock.now_ms();
        let certificate = authority.issue_node(node, key, self.lifetime_ms, now_ms)?;
        let expires_ms = now_ms + self.lifetime_ms;
        let mut record = known.unwrap_or(NodeRecord { joined_ms: now_ms, expires_ms, revoked_ms: None });
        record.expires_ms = expires_ms;
        authority.put_node(node, &record)?;
        self.nodes.send_modify(|nodes| {
            Arc::make_mut(nodes).insert(node.to_owned(), record);
        });
        Ok(Certificate { certificate, authority: authority.pem.clone() })
    }
}

/// The key in a request.
fn key_of(request: &[u8]) -> Result<Vec<u8>, Failure> {
    requested_key(request).map_err(|error| Failure::Refused(Reason::Request, error.to_string()))
}

#[tonic::async_trait]
impl Enrollment for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<Certificate>, Status> {
        let peer = Gate::peer(request.extensions());
        let JoinRequest { node, token, request } = request.into_inner();
        if !peer.encrypted {
            // The secret has been seen on the wire by now, but the certificate would be of no use.
            return Err(Status::failed_precondition("this port has no TLS: no certificate is needed"));
        }
        let name = if node_uri(&node).is_some() { node.clone() } else { "?".to_owned() };
        let work = move |shared: &Shared, authority: &Authority| {
            if node_uri(&node).is_none() {
                let text = "a node's name has letters, digits, `.`, `-` and `_`, at most 250";
                return Err(Failure::Refused(Reason::Request, text.into()));
            }
            let key = key_of(&request)?;
            let key_hash = Fingerprint::of(&key).to_string();
            let _lock = authority.lock()?;
            let known = authority.node(&node)?;
            let claim = Claim { credential: &token, node: &node, key: &key_hash };
            if let Err(reason) = authority.redeem(&claim, known.as_ref(), shared.clock.now_ms())? {
                return Err(Failure::Refused(reason, String::new()));
            }
            let joined_ms = shared.clock.now_ms();
            let known = known.map(|known| NodeRecord { joined_ms, ..known });
            let certificate = shared.issue(authority, &node, key, known)?;
            shared.security.joins.add(1);
            tracing::info!(node, "a node has joined");
            Ok(certificate)
        };
        self.answer(&peer, &name, work).await
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Certificate>, Status> {
        let peer = Gate::peer(request.extensions());
        let RenewRequest { request } = request.into_inner();
        let names = peer.facts.as_deref().and_then(|facts| Some((facts.nodes.first()?, &facts.serial)));
        let Some((node, serial)) = names.map(|(node, serial)| (node.clone(), serial.clone())) else {
            return Err(self.0.gate.refuse(&peer, "?", Reason::NoCertificate));
        };
        self.0.gate.admit(&peer, &node)?;
        let name = node.clone();
        let work = move |shared: &Shared, authority: &Authority| {
            let key = key_of(&request)?;
            let _lock = authority.lock()?;
            // The file knows more than the gate, when the node is revoked at this moment.
            let refused = |reason| Failure::Refused(reason, String::new());
            let known = authority.node(&node)?.ok_or_else(|| refused(Reason::NotJoined))?;
            let issued_ms = issued_ms(&serial).unwrap_or(0);
            if known.revoked_ms.is_some_and(|revoked_ms| issued_ms <= revoked_ms) {
                return Err(refused(Reason::Revoked));
            }
            let certificate = shared.issue(authority, &node, key, Some(known))?;
            shared.security.renewals.add(1);
            tracing::info!(node, "a node's certificate is renewed");
            Ok(certificate)
        };
        self.answer(&peer, &name, work).await
    }
}
