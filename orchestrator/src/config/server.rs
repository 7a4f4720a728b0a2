//! Sections `[server]` and `[ingest]`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use super::{Violation, within};

/// Section `[server]`: addresses and folders. Flags of the same name override it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Address of the HTTP APIs and the built-in page.
    pub http: SocketAddr,
    /// Address for agents.
    pub grpc: SocketAddr,
    /// Allows `grpc` to be an address that other machines reach, without TLS.
    pub insecure: bool,
    /// Allows `POST /-/quit`.
    pub enable_quit: bool,
    /// Most HTTP requests answered at one time; further ones wait.
    pub max_http_requests: usize,
    /// How often the server's own metrics are written to its database, in milliseconds.
    pub self_scrape_interval_ms: u64,
    /// How long a stop may take before the process ends regardless, in milliseconds.
    pub stop_timeout_ms: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("binnacle-data"),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 9091)),
            insecure: false,
            enable_quit: false,
            max_http_requests: 512,
            self_scrape_interval_ms: 15_000,
            stop_timeout_ms: 9_000,
        }
    }
}

impl Server {
    pub(super) fn check(&self) -> Result<(), Violation> {
        within("server", "max_http_requests", self.max_http_requests, 1, 100_000)?;
        within("server", "self_scrape_interval_ms", self.self_scrape_interval_ms, 1_000, 3_600_000)?;
        within("server", "stop_timeout_ms", self.stop_timeout_ms, 100, 60_000)
    }
}

/// Section `[ingest]`: bounds on what an agent sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Largest gRPC message, in bytes.
    pub max_message_bytes: usize,
    /// Largest body of a batch when decompressed, in bytes.
    pub max_body_bytes: u32,
    /// Most strings in the symbol table of a stream.
    pub max_symbols: usize,
    /// Most bytes in the symbol table of a stream.
    pub max_symbol_bytes: usize,
    /// Longest string in a symbol table, in bytes.
    pub max_symbol_len: usize,
    /// Most series of a stream.
    pub max_series: usize,
    /// Most labels of a series or log stream.
    pub max_labels: usize,
    /// Batches of a stream that may wait for the stores at one time.
    pub max_in_flight: usize,
    /// Bytes of decompressed bodies, of all streams, that may wait for the stores at one time.
    pub max_buffered_bytes: u64,
    /// Bytes of bodies that an agent may have unacknowledged.
    pub credit_bytes: u64,
    /// How long an agent is asked to wait when a store is full, in milliseconds.
    pub full_wait_ms: u32,
    /// Most nodes known at one time.
    pub max_nodes: usize,
    /// Most streams open at one time, of both kinds.
    pub max_streams: usize,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            max_message_bytes: 4 << 20,
            max_body_bytes: 8 << 20,
            max_symbols: 1_000_000,
            max_symbol_bytes: 64 << 20,
            max_symbol_len: 16 << 10,
            max_series: 500_000,
            max_labels: 64,
            max_in_flight: 64,
            max_buffered_bytes: 256 << 20,
            credit_bytes: 8 << 20,
            full_wait_ms: 5_000,
            max_nodes: 5_000,
            max_streams: 10_000,
        }
    }
}

impl Ingest {
    pub(super) fn check(&self) -> Result<(), Violation> {
        within("ingest", "max_message_bytes", self.max_message_bytes, 64 << 10, 64 << 20)?;
        within("ingest", "max_body_bytes", self.max_body_bytes, 64 << 10, 256 << 20)?;
        within("ingest", "max_symbols", self.max_symbols, 1_000, 16_000_000)?;
        within("ingest", "max_symbol_bytes", self.max_symbol_bytes, 64 << 10, 1 << 30)?;
        within("ingest", "max_symbol_len", self.max_symbol_len, 64, 1 << 20)?;
        within("ingest", "max_series", self.max_series, 100, 10_000_000)?;
        within("ingest", "max_labels", self.max_labels, 4, 1_000)?;
        within("ingest", "max_in_flight", self.max_in_flight, 1, 10_000)?;
        let least = u64::from(self.max_body_bytes);
        within("ingest", "max_buffered_bytes", self.max_buffered_bytes, least, 1 << 40)?;
        within("ingest", "credit_bytes", self.credit_bytes, 64 << 10, 1 << 30)?;
        within("ingest", "full_wait_ms", self.full_wait_ms, 100, 600_000)?;
        within("ingest", "max_nodes", self.max_nodes, 1, 100_000)?;
        within("ingest", "max_streams", self.max_streams, 2, 200_000)
    }
}
