//! End-to-end, crash, simulation and layering tests, the benchmarks against peers, and the demo.
//!
//! - `demo/`: the binary `binnacle-demo` behind `make demo`.
//! - `../tests/`: one file a behaviour of the whole.
//! - [`promqltest`]: runs the Prometheus project's PromQL test scripts.

pub mod promqltest;
