//! Binnacle's time-series database: storage engine, PromQL, rules and the Prometheus HTTP API.
//!
//! Not here: how samples are collected (`agent`), who decides what because of them (`orchestrator`).
//!
//! ```text
//! append ─► db ─► wal, head ─► store (RocksDB)
//!                   │             │
//!                   └── select ◄──┘ ─► promql ─► http, rules
//! ```

mod codec;
mod config;
mod day;
mod db;
mod error;
mod exemplars;
#[cfg(test)]
mod fixtures;
#[doc(hidden)]
pub mod fuzz;
mod head;
pub mod http;
mod index;
mod merge;
mod otlp;
mod promql;
mod remote;
pub mod rules;
mod select;
mod source;
mod store;
mod wal;

pub use config::{Config, SeriesRetention};
pub use db::{
    Appended, Db, Listed, ReplayProgress, ReplayState, Sample, SeriesRef, Stats, TimeRange, TsdbStatus,
};
pub use error::Error;
pub use exemplars::Exemplar;
pub use promql::{
    Answer, Engine, EngineConfig, InstantSample, MAX_QUERY_BYTES, MAX_QUERY_DEPTH, PlanNode, QueryOptions,
    RangeSeries, RowPoint, SeriesRow, Value, format_duration, format_query, format_value, format_value_json,
    parse_duration, parse_selector, parse_series_row, parse_value,
};
pub use remote::{Family, Metadata, MetricKind, ReceiverConfig};
pub use select::{
    Guard, GuardLimits, Hints, LimitError, MatchTest, Matcher, MemorySource, Points, ReadSeries, Segments,
    Select, Selected, Source,
};
