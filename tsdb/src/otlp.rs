//! OpenTelemetry metrics into series, named and labelled as Prometheus 3 does by default. What they look
//! like on the wire stays here; HTTP codes and headers stay in `http`.
//!
//! ```text
//! body ─► size ─► message (protobuf, JSON) ─► translate ─► names, attributes, target, histogram ─► Sink
//! ```
//!
//! Taken: gauges, cumulative sums, cumulative histograms with explicit buckets, summaries. Refused and
//! counted: exponential histograms, delta temporality. Attributes of a resource become `target_info`,
//! the identifying ones `job` and `instance`.

mod attributes;
mod histogram;
mod message;
mod names;
mod size;
mod target;
mod translate;

use binnacle_proto::Labels;
use serde::Deserialize;

use crate::Error;
use crate::exemplars::Exemplar;
use crate::remote::MetricKind;
pub(crate) use message::{decode_json, decode_protobuf};
pub(crate) use size::{json_bytes, protobuf_bytes};
pub(crate) use translate::{Translated, translate};

/// Takes what a request comes to, one by one: labels of a point are copied for each of its series, so
/// that all of them together may be far larger than the request.
pub(crate) trait Sink {
    /// Takes a sample.
    ///
    /// # Errors
    /// When nothing can be taken now, and the request is to be sent again.
    fn sample(&mut self, series: &Labels, t_ms: i64, value: f64) -> Result<(), Error>;

    /// Takes an exemplar of a series.
    fn exemplar(&mut self, series: &Labels, exemplar: Exemplar);

    /// Takes what is said of a metric family.
    fn family(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str);
}

/// What stops a point.
#[derive(Debug)]
enum Refused {
    /// It cannot be taken; the reason counts.
    Point(&'static str),
    /// Nothing can be taken now.
    All(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::All(error)
    }
}

/// How OpenTelemetry metrics are taken; part of the section `[http]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// Attributes of resources that become labels of every series of theirs.
    pub promote_resource_attributes: Vec<String>,
}

#[cfg(test)]
mod tests;
