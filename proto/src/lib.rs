//! What every plane of Binnacle shares: the gRPC contract between agent and server, and the few types
//! that mean the same everywhere.
//!
//! - [`node`]: messages, client and server of `proto/node.proto`. They are converted at the edge and
//!   do not travel further into a crate.
//! - [`Labels`]: a label set, the identity of a series and of a log stream.
//! - [`enroll`], [`identity`]: how a node gets its certificate, and what certificates and join tokens say.
//! - [`otlp`]: what OpenTelemetry's metrics and logs have in common.
//! - [`STALE_NAN`]: the value that ends a series.
//!
//! This crate is *not* a place for helpers: what two planes could share but one needs stays with the
//! one.
//!
//! ```
//! use binnacle_proto::Labels;
//! let labels = Labels::from_pairs([("pod", "web-0"), ("__name__", "up"), ("empty", "")]).unwrap();
//! assert_eq!(labels.to_string(), r#"up{pod="web-0"}"#);
//! assert_eq!(labels.get("pod"), Some("web-0"));
//! ```

mod calendar;
pub mod identity;
mod labels;
pub mod otlp;
mod stale;

pub use calendar::days_since_epoch;
pub use labels::{Labels, LabelsBuilder, LabelsError, is_classic_name};
pub use stale::{STALE_NAN, is_stale};

/// Generated code of `proto/node.proto`: package `binnacle.node.v1`.
pub mod node {
    #![allow(missing_docs, clippy::all, clippy::unwrap_used)]
    tonic::include_proto!("binnacle.node.v1");
}

/// Generated code of `proto/enroll.proto`: package `binnacle.enroll.v1`.
pub mod enroll {
    #![allow(missing_docs, clippy::all, clippy::unwrap_used)]
    tonic::include_proto!("binnacle.enroll.v1");
}
