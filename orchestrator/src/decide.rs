//! Decisions: pure functions from what is known to what should be done.
//!
//! Nothing here reads a clock, a file, a random number or a database: `now_ms` is an argument, what
//! the metrics say arrives as [`crate::signals`] values, what the cluster holds as a [`ClusterView`].
//! The same functions therefore run live, in a dry run, in a replay over stored history and in
//! property tests.
//!
//! ```text
//! ClusterView ─┐
//! Signals ─────┼─► hpa │ oom │ schedule │ rollout ─► what to do, and why
//! State ───────┘
//! ```

pub mod hpa;
pub mod oom;
pub mod rollout;
pub mod schedule;
mod statistics;
mod view;

pub use rollout::is_available;
pub use view::{
    ClusterView, Container, DeploymentView, NodeView, Owner, Phase, PodTemplate, PodView, Qos, Requirement,
    RequirementTest, Resources, Rollout, Selector, Taint, Toleration,
};
