//! The node agent of Binnacle: reads what the kernel says about cgroups and the node, runs pods as
//! processes, follows their logs, and streams all of it to the server.
//!
//! It is small and holds no database: what the server has not acknowledged waits in files (log files,
//! and a bounded spool for samples). It decides nothing; it carries out commands and reports.
//!
//! ```text
//! cgroup ─┐
//! node  ──┤
//! scrape ─┼─ sample ─ uplink ══ Push ══► server
//! logs  ──┘            └ spool              │
//! pods  ◄──────────── control ══ Control ◄──┘
//! ```
//!
//! ```
//! let config = binnacle_agent::Config::from_toml("node = 'alpha'\n[capacity]\nmemory = '2Gi'").unwrap();
//! assert_eq!(config.capacity.memory_bytes, Some(2 << 30));
//! ```

mod agent;
mod cgroup;
mod clock;
mod collect;
mod config;
mod control;
mod credentials;
mod cri;
mod durable;
mod error;
mod http;
mod identity;
mod kernel;
mod logs;
mod node;
mod pods;
mod sample;
mod scrape;
mod selfmetrics;
mod spool;
#[cfg(test)]
mod test_authority;
mod uplink;
mod watch;

pub use agent::run;
pub use config::{Capacity, Config, Flags, OnExit};
pub use error::Error;
pub use pods::shim;
