//! Prometheus' remote protocols: write 1.0 and 2.0 in, read out. What they look like on the wire stays
//! here; HTTP codes and headers stay in `http`.
//!
//! ```text
//! body ─► snappy (bounded) ─► v1 | v2 ─► Db::resolve_cached ─► Db::append
//! ```

mod counters;
mod metadata;
mod read;
mod receiver;
mod v1;
mod v2;
pub(crate) mod wire;
mod xor;

pub use metadata::{Family, Metadata, MetricKind};
pub(crate) use read::ReadRequest;
pub use receiver::ReceiverConfig;
pub(crate) use receiver::{Receiver, Version, WriteError};
