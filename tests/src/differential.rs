//! Compares PromQL answers with those of a real Prometheus: the same samples in both, generated queries.

mod compare;
mod generate;
mod peer;
mod samples;

pub use compare::{Outcome, compare};
pub use generate::{Generator, Query};
pub use peer::{Peer, find};
pub use samples::{Dataset, END_MS, START_MS};
