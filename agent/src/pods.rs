//! Pods as processes of the node: started, watched, limited, stopped, found again after a restart.
//!
//! ```text
//! control ── Handle ──► runtime (one thread) ── spawns ──► shim ── starts ──► container
//!    ▲                     │        └─ state directory ─────┘ spec, started, ended
//!    └── statuses, events ─┘
//! ```
//! Only cgroups and processes that this agent made are ever touched.

mod capacity;
mod cgroup;
mod handle;
mod qos;
mod runtime;
mod shim;
mod spec;
mod state;

pub(crate) use capacity::capacity;
pub(crate) use handle::{AnnotatedPod, Handle, Inbox, LogMount, Refusal, channel};
pub use shim::shim;

use crate::Error;
use crate::agent::Context;
use cgroup::Tree;
use runtime::{Runtime, Setup, ShimCommand};

/// Runs pods until shutdown; then stops them, if the configuration says so.
///
/// # Errors
/// When the state directory cannot be made or read.
pub(crate) async fn run(context: Context, inbox: Inbox) -> Result<(), Error> {
    let setup = Setup {
        tree: Tree::new(&context.cgroups),
        config: context.config,
        registry: context.registry,
        metrics: context.metrics,
        shutdown: context.shutdown,
        shim: ShimCommand::own(),
    };
    match tokio::task::spawn_blocking(move || Runtime::open(setup, inbox)?.work()).await {
        Ok(result) => result,
        Err(e) => Err(Error::Task { task: "pods", reason: e.to_string() }),
    }
}
