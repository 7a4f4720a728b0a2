//! Who may speak as which node: asked when a stream begins, and for as long as it lasts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::identity::Facts;
use tokio::sync::watch;
use tonic::{Extensions, Status};

use super::issue::issued_ms;
use super::metrics::{Reason, Security};
use super::nodes::NodeRecords;
use crate::Clock;

/// A stream's right is looked at anew this often, at the latest.
const RECHECK: Duration = Duration::from_secs(30);

/// The other end of a connection of the port for agents.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is TLS: else it is from this machine, or `server.insecure` allows it.
    pub encrypted: bool,
    /// What its certificate says; TLS has verified it.
    pub facts: Option<Arc<Facts>>,
}

/// Decides who may speak as which node; clones share it.
#[derive(Clone)]
pub(crate) struct Gate {
    /// Nodes that have joined here; `None` when certificates come from elsewhere.
    nodes: Option<watch::Receiver<NodeRecords>>,
    security: Arc<Security>,
    clock: Clock,
}

impl Gate {
    pub(crate) fn new(
        nodes: Option<watch::Receiver<NodeRecords>>,
        security: Arc<Security>,
        clock: Clock,
    ) -> Self {
        Self { nodes, security, clock }
    }

    /// A gate for a port without TLS.
    #[cfg(test)]
    pub(crate) fn open(clock: Clock) -> Self {
        Self::new(None, Arc::default(), clock)
    }

    /// The other end of a request's connection. Tests speak over connections of their own, which say
    /// nothing: they count as this machine's.
    pub(crate) fn peer(extensions: &Extensions) -> Peer {
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let own = || Peer { address: unknown, encrypted: false, facts: None };
        extensions.get::<Peer>().cloned().unwrap_or_else(own)
    }

    /// Refuses who may not speak for anybody, before the first message.
    pub(crate) fn enter(&self, peer: &Peer) -> Result<(), Status> {
        match self.right(peer, None) {
            Ok(()) => Ok(()),
            Err(reason) => Err(self.refuse(peer, "?", reason)),
        }
    }

    /// Refuses who may not, or no longer, speak as `node`: logged and counted.
    pub(crate) fn admit(&self, peer: &Peer, node: &str) -> Result<(), Status> {
        self.right(peer, Some(node)).map_err(|reason| self.refuse(peer, node, reason))
    }

    /// Completes when `peer` may no longer speak as `node` (or at all, while it has not said as which).
    pub(crate) async fn ended(&self, peer: &Peer, node: Option<&str>) -> Status {
        let mut nodes = self.nodes.clone();
        loop {
            if let Err(reason) = self.right(peer, node) {
                return self.refuse(peer, node.unwrap_or("?"), reason);
            }
            let changed = async {
                let news = match &mut nodes {
                    Some(nodes) => nodes.changed().await.is_ok(),
                    None => false,
                };
                if !news {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(self.until_expiry(peer, node)) => {}
            }
        }
    }

    /// Counts and logs a refusal; what is said to the other end.
    pub(crate) fn refuse(&self, peer: &Peer, node: &str, reason: Reason) -> Status {
        self.security.refused(reason);
        let names = peer.facts.as_deref().map(|facts| facts.nodes.join(",")).unwrap_or_default();
        let (address, why) = (peer.address, reason.label());
        // A stranger must not fill the log; who has a certificate of ours may be looked for.
        if peer.facts.is_some() || self.security.may_log() {
            tracing::warn!(node, %address, certificate = names, reason = why, "an agent is refused");
        }
        match reason {
            Reason::OtherNode => Status::permission_denied(format!(
                "{}: it names {names:?}, and this is {node:?}",
                reason.text()
            )),
            _ => Status::permission_denied(reason.text()),
        }
    }

    fn right(&self, peer: &Peer, node: Option<&str>) -> Result<(), Reason> {
        if !peer.encrypted {
            return Ok(());
        }
        let facts = peer.facts.as_deref().ok_or(Reason::NoCertificate)?;
        let now_ms = self.clock.now_ms();
        let Some(nodes) = &self.nodes else {
            // Given certificates may name a node as a host, too.
            let named = |node: &str| facts.nodes.iter().chain(&facts.dns).any(|name| name == node);
            return match node {
                _ if now_ms >= facts.not_after_ms => Err(Reason::Expired),
                Some(node) if !named(node) => Err(Reason::OtherNode),
                _ => Ok(()),
            };
        };
        let own = facts.nodes.first().ok_or(Reason::NoCertificate)?;
        let nodes = nodes.borrow();
        let record = nodes.get(own).ok_or(Reason::NotJoined)?;
        let issued_ms = issued_ms(&facts.serial).unwrap_or(0);
        match node {
            _ if record.revoked_ms.is_some_and(|revoked| issued_ms <= revoked) => Err(Reason::Revoked),
            // A stream outlives the certificate it began with when the node has renewed it meanwhile.
            _ if now_ms >= record.expires_ms => Err(Reason::Expired),
            Some(node) if node != own => Err(Reason::OtherNode),
            _ => Ok(()),
        }
    }

    fn until_expiry(&self, peer: &Peer, node: Option<&str>) -> Duration {
        let ends_ms = match (&self.nodes, node, &peer.facts) {
            (Some(nodes), Some(node), _) => nodes.borrow().get(node).map(|record| record.expires_ms),
            (None, _, Some(facts)) => Some(facts.not_after_ms),
            _ => None,
        };
        let left_ms = ends_ms.map_or(i64::MAX, |ends_ms| ends_ms - self.clock.now_ms());
        Duration::from_millis(left_ms.max(1) as u64).min(RECHECK)
    }
}
