//! Which nodes have joined, until when, and which were thrown out: a file a node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use binnacle_proto::identity::node_uri;
use serde::{Deserialize, Serialize};

use super::{Authority, Error, files};

/// What is kept of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// When it joined last.
    pub joined_ms: i64,
    /// End of its newest certificate.
    pub expires_ms: i64,
    /// Certificates issued until then are worthless.
    pub revoked_ms: Option<i64>,
}

/// All nodes that have joined, by name.
pub(crate) type NodeRecords = Arc<BTreeMap<String, NodeRecord>>;

impl NodeRecord {
    /// Whether somebody may hold a certificate for the name.
    pub(super) fn holds(&self, now_ms: i64) -> bool {
        now_ms < self.expires_ms
    }
}

impl Authority {
    /// Every node's record. One that cannot be read is named in the log and left out: its node has not
    /// joined then, and the others are known.
    pub(crate) fn list_nodes(&self) -> Result<NodeRecords, Error> {
        let read = |(name, path): (String, PathBuf)| match files::read_record(&path) {
            Ok(record) => Some((name, record)),
            Err(error) => {
                tracing::error!(node = name, %error, "the node must join again");
                None
            }
        };
        Ok(Arc::new(files::records(&self.nodes())?.into_iter().filter_map(read).collect()))
    }

    /// When a record was written last.
    pub(crate) fn nodes_changed(&self) -> Option<SystemTime> {
        std::fs::metadata(self.nodes()).and_then(|meta| meta.modified()).ok()
    }

    pub(super) fn node(&self, node: &str) -> Result<Option<NodeRecord>, Error> {
        let path = self.node_path(node);
        if !path.exists() {
            return Ok(None);
        }
        files::read_record(&path).map(Some)
    }

    /// Writes a record; the caller holds the lock.
    pub(super) fn put_node(&self, node: &str, record: &NodeRecord) -> Result<(), Error> {
        files::write_record(&self.node_path(node), record)
    }

    /// Makes all certificates of a node worthless that were issued until now. It comes back with a
    /// token for its name.
    pub(crate) fn revoke_node(&self, node: &str, now_ms: i64) -> Result<(), Error> {
        let _lock = self.lock()?;
        let known = if node_uri(node).is_some() { self.node(node)? } else { None };
        let Some(mut record) = known else {
            return Err(Error::Refused(format!("no node {node:?} has joined with a token of this server")));
        };
        record.revoked_ms = Some(now_ms);
        self.put_node(node, &record)
    }

    fn nodes(&self) -> PathBuf {
        self.folder.join("nodes")
    }

    /// `node` has passed [`node_uri`].
    fn node_path(&self, node: &str) -> PathBuf {
        self.nodes().join(format!("{node}.json"))
    }
}
