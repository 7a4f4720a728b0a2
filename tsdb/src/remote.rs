//! Prometheus' remote protocols: write 1.0 and 2.0 in, read out. What they look like on the wire stays
//! here; HTTP codes and headers stay in `http`.
//!
//! ```text
//! body ─► room ─► snappy (bounded) ─► v1 | v2 ─┐
//!                          otlp ─► collector ─┴─► intake ─► Db::resolve ─► Db::append
//! ```

mod collector;
mod counters;
mod intake;
mod metadata;
mod read;
mod receiver;
mod room;
mod v1;
mod v2;
pub(crate) mod wire;
mod xor;

pub(crate) use collector::Collector;
pub(crate) use counters::SampleCounters;
pub use metadata::{Family, Metadata, MetricKind};
pub(crate) use read::ReadRequest;
pub use receiver::ReceiverConfig;
pub(crate) use receiver::{Receiver, Version, WriteError};
pub(crate) use room::Room;
