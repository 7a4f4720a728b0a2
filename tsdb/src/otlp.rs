//! OpenTelemetry metrics into series, named and labelled as Prometheus 3 does by default. What they look
//! like on the wire stays here; HTTP codes and headers stay in `http`.
//!
//! ```text
//! body ─► message (protobuf, JSON) ─► translate ─► names, attributes, histogram ─► Translated ─► Receiver
//! ```
//!
//! Taken: gauges, cumulative sums, cumulative histograms with explicit buckets, summaries. Refused and
//! counted: exponential histograms, delta temporality. Attributes of a resource become `target_info`,
//! the identifying ones `job` and `instance`.

mod attributes;
mod histogram;
mod message;
mod names;
mod translate;

use serde::Deserialize;

pub(crate) use message::{decode_json, decode_protobuf};
pub(crate) use translate::{Translated, translate};

/// How OpenTelemetry metrics are taken; part of the section `[http]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// Attributes of resources that become labels of every series of theirs.
    pub promote_resource_attributes: Vec<String>,
}

#[cfg(test)]
mod tests;
