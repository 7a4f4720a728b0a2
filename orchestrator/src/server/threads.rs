//! Who goes first when the processors are short: samples and log lines before the queries of people, and
//! rules and decisions not behind them.
//!
//! The threads on which queries run, and the process' pool over which they spread their work, have a nice
//! value. Rules and decisions spread theirs over a pool of its own.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::runtime::{Builder, Handle, Runtime};

use super::Error;

/// Nice value of the threads of queries: beside a thread of value 0 they get about a tenth.
const QUERY_NICE: i32 = 10;

/// The threads beside those of the server's runtime.
pub(super) struct Threads {
    queries: Handle,
    /// Only its blocking threads are used.
    runtime: Option<Runtime>,
    steering: Arc<ThreadPool>,
}

impl Threads {
    /// Starts them.
    pub fn start() -> Result<Self, Error> {
        let queries = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("query")
            .on_thread_start(give_way)
            .build()
            .map_err(|error| Error::Threads(error.to_string()))?;
        let pool = |name: &'static str| ThreadPoolBuilder::new().thread_name(move |n| format!("{name}-{n}"));
        // There is one in a process: a second server in it finds it made.
        let _ = pool("query-part").start_handler(|_| give_way()).build_global();
        let steering = pool("steering").build().map_err(|error| Error::Threads(error.to_string()))?;
        Ok(Self { queries: queries.handle().clone(), runtime: Some(queries), steering: Arc::new(steering) })
    }

    /// Where queries run.
    pub fn queries(&self) -> Handle {
        self.queries.clone()
    }

    /// Over which rules and decisions spread their work.
    pub fn steering(&self) -> Arc<ThreadPool> {
        self.steering.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, which a thread of another runtime may not.
            runtime.shutdown_background();
        }
    }
}

fn give_way() {
    // On Linux the value belongs to the thread that calls.
    if let Err(error) = rustix::process::setpriority_process(None, QUERY_NICE) {
        tracing::warn!(%error, "queries run with the precedence of everything else");
    }
}
