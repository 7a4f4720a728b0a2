//! Binnacle's log store: blocks in RocksDB, LogQL and the Loki HTTP API.
//!
//! Not here: how lines are collected (`agent`).

mod db;
mod error;

pub use db::{Appended, Block, Config, Db, Position, Record};
pub use error::Error;
