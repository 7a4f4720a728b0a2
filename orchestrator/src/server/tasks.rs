//! The tasks of the server: named, joined, and none may end before the server is told to.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Error;

/// All tasks of the server.
pub(super) struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
    kept: Vec<Box<dyn Any + Send>>,
}

impl Tasks {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { set: JoinSet::new(), names: HashMap::new(), shutdown, kept: Vec::new() }
    }

    /// Starts a task, which must run until the shutdown.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Keeps something for as long as the tasks run.
    pub(super) fn keep(&mut self, thing: impl Any + Send) {
        self.kept.push(Box::new(thing));
    }

    /// Waits for the shutdown and then, at most `stop_timeout`, for all tasks. A task that ends
    /// before, or fails, stops all others and is the error.
    pub(super) async fn run(&mut self, stop_timeout: Duration) -> Result<(), Error> {
        let mut result = Ok(());
        let deadline = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(stop_timeout).await;
        };
        tokio::pin!(deadline);
        loop {
            let joined = tokio::select! {
                joined = self.set.join_next_with_id() => joined,
                () = &mut deadline => {
                    let mut names: Vec<&str> = self.names.values().copied().collect();
                    names.sort_unstable();
                    tracing::warn!(tasks = names.join(", "), "still busy at the end of the stop timeout");
                    return result;
                }
            };
            let (id, reason) = match joined {
                None => return result,
                Some(Ok((id, Ok(())))) => (id, None),
                Some(Ok((id, Err(reason)))) => (id, Some(reason)),
                Some(Err(error)) => (error.id(), Some(error.to_string())),
            };
            let name = self.names.remove(&id).unwrap_or("unknown");
            let early = !self.shutdown.is_cancelled();
            let reason = reason.or_else(|| early.then(|| "it was not told to".to_owned()));
            if let Some(reason) = reason {
                tracing::error!(task = name, reason, "a task ended: the server stops");
                if result.is_ok() {
                    result = Err(Error::Task { name, reason });
                }
                self.shutdown.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_ends_early_stops_the_others_and_is_named() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("short", async { Ok(()) });
        let until = shutdown.clone();
        tasks.spawn("long", async move {
            until.cancelled().await;
            Ok(())
        });
        let error = tasks.run(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.to_string(), "the task short ended: it was not told to");
    }

    #[tokio::test]
    async fn panic_is_an_error() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("bad", async { panic!("as it must") });
        let error = tasks.run(Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().starts_with("the task bad ended: "), "{error}");
    }

    #[tokio::test]
    async fn stop_does_not_wait_for_ever() {
        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("stuck", std::future::pending());
        shutdown.cancel();
        tasks.run(Duration::from_millis(20)).await.unwrap();
    }
}
