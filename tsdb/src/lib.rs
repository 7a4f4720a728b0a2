//! Binnacle's time-series database: storage engine, PromQL, rules and the Prometheus HTTP API.
//!
//! Not here: how samples are collected (`agent`), who decides what because of them (`orchestrator`).
//!
//! ```text
//! append ─► db ─► wal, head ─► store (RocksDB)
//!                   │             │
//!                   └── select ◄──┘ ─► promql ─► http, rules
//! ```

mod db;
mod error;
mod promql;
mod select;

pub use db::{Appended, Config, Db, Sample, SeriesRef};
pub use error::Error;
pub use promql::{Answer, Engine, EngineConfig, InstantSample, QueryOptions, RangeSeries, Value};
pub use select::{
    Guard, GuardLimits, Hints, LimitError, MatchTest, Matcher, MemorySource, Points, ReadSeries, Select,
    Selected, Source,
};
