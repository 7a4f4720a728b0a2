//! The Binnacle server and command line: ingest, cluster view, decisions, actions.
//!
//! Not here: how samples are stored and queried (`binnacle-tsdb`), how log lines are
//! (`binnacle-logs`), how either is collected (`binnacle-agent`).
//!
//! ```text
//! agents ══gRPC══ ingest ─► tsdb, logs ─► signals ─► decide ─► act ─► nodes ══gRPC══ agents
//!                                            ▲                  │
//!                                            └──── journal ◄────┘
//! http: the APIs of both stores, status, metrics, the built-in page
//! ```
//!
//! ```
//! use binnacle::config::Config;
//! let config = Config::parse("[server]\nhttp = \"127.0.0.1:0\"\n", "inline".as_ref()).unwrap();
//! assert_eq!(config.server.http.port(), 0);
//! let error = Config::parse("[server]\nhtpp = 1\n", "inline".as_ref()).unwrap_err();
//! assert!(error.to_string().contains("inline:2"), "{error}");
//! ```

mod act;
mod authority;
pub mod cli;
mod clock;
pub mod cluster;
pub mod config;
pub mod decide;
mod http;
mod ingest;
mod journal;
pub mod nodes;
mod selfmetrics;
pub mod server;
pub mod signals;

pub use clock::Clock;
