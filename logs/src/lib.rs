//! Binnacle's log store: blocks in RocksDB, LogQL and the Loki HTTP API.
//!
//! Not here: how lines are collected (`agent`), what is written because of them (`orchestrator`).
//!
//! ```text
//! http, ingest ─► db (append ─► commit ─► head ─► seal) ─► store (RocksDB)
//!                  │                       │                  │
//!                  └───────── read ◄───────┴──────────────────┘ ─► query ◄─ logql
//! ```

mod block;
mod config;
mod db;
mod error;
#[cfg(test)]
mod fixtures;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod logql;
mod matcher;
mod query;
mod record;
mod store;
mod streams;

pub mod http;

pub use config::{Config, Limits, StreamRetention};
pub use db::{Db, Stats};
pub use error::Error;
pub use logql::{Expr, parse};
pub use matcher::{MatchOp, Matcher};
pub use query::{Answer, Direction, Entry, LogQuery, LogStream, QueryStats, Sample, Series, Value};
pub use record::{Appended, Block, Position, Record};
