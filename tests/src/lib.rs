//! End-to-end, crash, simulation and layering tests, the benchmarks against peers, and the demo.
//!
//! - `demo/`: the binary `binnacle-demo` behind `make demo`.
//! - `bench/`, `bench_agent/`, `bench_logs/`: the binaries `binnacle-bench*`; [`usage`] is what they measure with.
//! - [`client`], [`process`], [`node`]: what the tests share: the HTTP interfaces, the real binaries
//!   under control, and a node whose every sample and line is known.
//! - [`cri`]: a container runtime told to run pods.
//! - [`proxy`]: a bad network between an agent and a server.
//! - [`tls`]: certificates of the tests' own making, and connections made with them.
//! - [`metrics_server`]: the Prometheus API in the test's process, programs of others beside it.
//! - [`remote_write`]: a sender of samples.
//! - [`differential`]: compares PromQL answers with those of a real Prometheus.
//! - [`fuzz`]: noise and damaged input.
//! - [`promqltest`]: runs the Prometheus project's PromQL test scripts.
//! - `../tests/`: one file a behaviour of the whole.

pub mod cgroups;
pub mod client;
pub mod cri;
pub mod differential;
pub mod fuzz;
pub mod metrics_server;
pub mod node;
pub mod process;
pub mod promqltest;
pub mod proxy;
pub mod random;
pub mod remote_write;
pub mod tls;
pub mod usage;
