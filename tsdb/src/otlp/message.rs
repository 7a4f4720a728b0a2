//! The messages of OTLP's metrics service that are read here; numbers from its published protocol.
//!
//! Alternatives of a `oneof` are optional fields: the same on the wire, and in JSON.

use binnacle_proto::otlp::{KeyValue, Resource, mapping};
use prost::Message;
use serde::Deserialize;

/// All metrics of a request.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_metrics: Vec<ResourceMetrics>,
}

/// Metrics of one resource.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_metrics: Vec<ScopeMetrics>,
}

/// Metrics of one instrumentation scope.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScopeMetrics {
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
}

/// One metric; one of the kinds is there.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metric {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(string, tag = "3")]
    pub(super) unit: String,
    #[prost(message, optional, tag = "5")]
    pub(super) gauge: Option<Gauge>,
    #[prost(message, optional, tag = "7")]
    pub(super) sum: Option<Sum>,
    #[prost(message, optional, tag = "9")]
    pub(super) histogram: Option<Histogram>,
    #[prost(message, optional, tag = "10")]
    pub(super) exponential_histogram: Option<ExponentialHistogram>,
    #[prost(message, optional, tag = "11")]
    pub(super) summary: Option<Summary>,
}

/// Values that go up and down.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Gauge {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<NumberPoint>,
}

/// Values that are added up.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<NumberPoint>,
    /// 1: since the last report, 2: since the start.
    #[prost(int32, tag = "2")]
    pub(super) aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    pub(super) is_monotonic: bool,
}

/// Counts by buckets with explicit bounds.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    pub(super) aggregation_temporality: i32,
}

/// Counts by buckets that grow exponentially: only counted, to say how many were refused.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ExponentialHistogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<Ignored>,
}

/// A message whose contents are not looked at.
#[derive(Clone, PartialEq, Message, Deserialize)]
pub(super) struct Ignored {}

/// Quantiles.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) data_points: Vec<SummaryPoint>,
}

/// A number at a time.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NumberPoint {
    #[prost(fixed64, tag = "3")]
    #[serde(deserialize_with = "mapping::unsigned")]
    pub(super) time_unix_nano: u64,
    #[prost(double, optional, tag = "4")]
    #[serde(deserialize_with = "mapping::double")]
    pub(super) as_double: Option<f64>,
    #[prost(message, repeated, tag = "5")]
    pub(super) exemplars: Vec<Exemplar>,
    #[prost(sfixed64, optional, tag = "6")]
    #[serde(deserialize_with = "mapping::signed")]
    pub(super) as_int: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "8")]
    pub(super) flags: u32,
}

/// Buckets at a time.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HistogramPoint {
    #[prost(fixed64, tag = "3")]
    #[serde(deserialize_with = "mapping::unsigned")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    #[serde(deserialize_with = "mapping::unsigned")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    #[serde(deserialize_with = "mapping::double")]
    pub(super) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    #[serde(deserialize_with = "mapping::unsigned_list")]
    pub(super) bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    #[serde(deserialize_with = "mapping::double_list")]
    pub(super) explicit_bounds: Vec<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(super) exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "10")]
    pub(super) flags: u32,
}

/// Quantiles at a time.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SummaryPoint {
    #[prost(fixed64, tag = "3")]
    #[serde(deserialize_with = "mapping::unsigned")]
    pub(super) time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    #[serde(deserialize_with = "mapping::unsigned")]
    pub(super) count: u64,
    #[prost(double, tag = "5")]
    #[serde(deserialize_with = "mapping::plain_double")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "6")]
    pub(super) quantile_values: Vec<Quantile>,
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "8")]
    pub(super) flags: u32,
}

/// One quantile.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Quantile {
    #[prost(double, tag = "1")]
    #[serde(deserialize_with = "mapping::plain_double")]
    pub(super) quantile: f64,
    #[prost(double, tag = "2")]
    #[serde(deserialize_with = "mapping::plain_double")]
    pub(super) value: f64,
}

/// One measurement among many.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exemplar {
    #[prost(fixed64, tag = "2")]
    #[serde(deserialize_with = "mapping::unsigned")]
    pub(super) time_unix_nano: u64,
    #[prost(double, optional, tag = "3")]
    #[serde(deserialize_with = "mapping::double")]
    pub(super) as_double: Option<f64>,
    #[prost(bytes = "vec", tag = "4")]
    #[serde(deserialize_with = "mapping::hex")]
    pub(super) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    #[serde(deserialize_with = "mapping::hex")]
    pub(super) trace_id: Vec<u8>,
    #[prost(sfixed64, optional, tag = "6")]
    #[serde(deserialize_with = "mapping::signed")]
    pub(super) as_int: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    pub(super) filtered_attributes: Vec<KeyValue>,
}

/// Reads a protobuf body.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode_protobuf(body: &[u8]) -> Result<ExportRequest, String> {
    ExportRequest::decode(body).map_err(|error| error.to_string())
}

/// Reads a JSON body.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn decode_json(body: &[u8]) -> Result<ExportRequest, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}
