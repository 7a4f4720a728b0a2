//! The nodes as their agents report them, and the way to tell them what to do.
//!
//! This is an edge: what goes to and comes from an agent has the generated types of `proto`.

mod control;
mod registry;
mod targets;

use std::collections::BTreeMap;

use binnacle_proto::node::{PodStatus, Resources};

pub(crate) use control::{Control, MAX_NODE_NAME};
pub use registry::{Events, Registry};
pub(crate) use targets::targets;

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// What it offers to pods.
    pub capacity: Resources,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its control stream is open.
    pub connected: bool,
    /// When it last said anything, in milliseconds since the epoch.
    pub last_seen_ms: i64,
    /// Whether its agent can run pods itself.
    pub runs_pods: bool,
    /// The agent's session: another number means that the agent has started anew.
    pub session: u64,
    /// Version of the agent.
    pub agent_version: String,
    /// `v1`, `v2` or `hybrid`.
    pub cgroup_mode: String,
    /// When the agent started, in milliseconds since the epoch.
    pub started_ms: i64,
    /// All pods of the node as last reported; `None` until the first report of this session. Absent
    /// is not empty: nobody may conclude from `None` that pods are gone.
    pub pods: Option<Vec<PodStatus>>,
}

/// An event of a node, see `NodeEvent` in `proto`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The node it comes from.
    pub node: String,
    /// What happened.
    pub event: binnacle_proto::node::NodeEvent,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No agent of that name is connected: decide again when it is.
    #[error("node {node} is not connected")]
    NotConnected {
        /// The node.
        node: String,
    },
    /// No answer before the deadline. It may still have been carried out: commands are idempotent.
    #[error("node {node} did not answer command {id} within {timeout_ms} ms")]
    NoAnswer {
        /// The node.
        node: String,
        /// The command.
        id: String,
        /// How long was waited, in milliseconds.
        timeout_ms: u64,
    },
    /// The agent refused or failed.
    #[error("node {node}: {reason}")]
    Failed {
        /// The node.
        node: String,
        /// What the agent said.
        reason: String,
    },
    /// Too many commands wait for this node: decide again later.
    #[error("node {node} has too many unanswered commands")]
    Busy {
        /// The node.
        node: String,
    },
}
