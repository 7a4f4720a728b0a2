//! The control loop: looks, decides, makes durable, acts, writes down.

mod memory;
mod placing;
mod scaling;
mod status;
#[cfg(test)]
mod tests;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::manifest::{Folder, Problem};
use super::store::Store;
use super::world::{Ids, World};
use super::{Deps, Error, series};
use crate::act;
use crate::journal::Journal;
use crate::nodes::Events;
use crate::signals::Prom;

use memory::Done;

/// Most events of nodes journaled in one tick.
const EVENTS_A_TICK: usize = 1_000;

/// When something was done last, and how often it should be.
#[derive(Debug)]
struct Pace {
    every_ms: i64,
    last_ms: Option<i64>,
}

impl Pace {
    fn new(every_ms: u64) -> Self {
        Self { every_ms: every_ms as i64, last_ms: None }
    }

    /// Whether it is time again; if so, it counts as done. A clock that was set back does not stop it.
    fn is_due(&mut self, now_ms: i64) -> bool {
        let due = self.last_ms.is_none_or(|last| now_ms - last >= self.every_ms || now_ms < last);
        if due {
            self.last_ms = Some(now_ms);
        }
        due
    }
}

/// All controllers.
pub(super) struct Controller {
    deps: Deps,
    ask: Arc<Prom<binnacle_tsdb::Db>>,
    journal: Journal,
    folder: Option<Folder>,
    refused: Vec<Problem>,
    store: Store,
    /// Whether the last attempt to make the state durable failed.
    store_fails: bool,
    world: World,
    events: Option<Events>,
    /// Commands under way.
    commands: JoinSet<Done>,
    /// When a container was last acted on, by uid and name.
    acted: BTreeMap<(String, String), i64>,
    /// Why a pod waits, as last journaled, by uid.
    waiting: BTreeMap<String, String>,
    /// When each autoscaler was evaluated last, by `namespace/name`.
    synced: BTreeMap<String, i64>,
    look: Pace,
    watch: Pace,
    score: Pace,
    write: Pace,
}

impl Controller {
    pub(super) fn new(deps: Deps) -> Result<Self, Error> {
        let now_ms = deps.clock.now_ms();
        let (store, state) = Store::open(&deps.config.server.data_dir.join("cluster"))?;
        let folder = deps.config.cluster.manifests.clone();
        if let Some(path) = &folder {
            // A wrong path must be seen at once, not as an empty cluster.
            std::fs::read_dir(path).map_err(|reason| Error::Manifests { path: path.clone(), reason })?;
        }
        let config = deps.config.clone();
        let events = deps.registry.events();
        let (db, logs) = (deps.db.clone(), deps.logs.clone());
        Ok(Self {
            ask: Arc::new(Prom::new(deps.engine.clone(), deps.db.clone())),
            journal: Journal::new(db, logs),
            folder: folder.map(Folder::new),
            refused: Vec::new(),
            store,
            store_fails: false,
            world: World::new(state, config.cluster.clone(), Ids::random(), now_ms),
            events,
            commands: JoinSet::new(),
            acted: BTreeMap::new(),
            waiting: BTreeMap::new(),
            synced: BTreeMap::new(),
            look: Pace::new(config.cluster.manifests_interval_ms),
            watch: Pace::new(config.hpa.watch_period_ms.min(config.hpa.sync_period_ms)),
            score: Pace::new(config.oom.interval_ms),
            write: Pace::new(config.cluster.series_interval_ms),
            deps,
        })
    }

    /// Goes round until `shutdown`: at the sync interval, and at once when a node reports a change.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut ticks =
            tokio::time::interval(Duration::from_millis(self.deps.config.cluster.sync_interval_ms));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut changes = self.deps.registry.watch();
        loop {
            let mut answer = None;
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                // The registry lives as long as this task: the error cannot come.
                Ok(()) = changes.changed() => {}
                Some(asked) = self.deps.desk.reload.recv() => answer = Some(asked),
            }
            let now_ms = self.deps.clock.now_ms();
            if answer.is_some() {
                self.read_manifests(true).await;
            }
            self.tick(now_ms).await;
            if let Some(answer) = answer {
                let refused: Vec<String> = self.refused.iter().map(ToString::to_string).collect();
                let result = if refused.is_empty() { Ok(()) } else { Err(refused.join("\n")) };
                // Whoever asked may have gone.
                let _ = answer.send(result);
            }
        }
        let now_ms = self.deps.clock.now_ms();
        self.commands.abort_all();
        self.journal.flush(now_ms).await;
        Ok(())
    }

    /// One round.
    async fn tick(&mut self, now_ms: i64) {
        if self.look.is_due(now_ms) {
            self.read_manifests(false).await;
        }
        self.take_events(now_ms);
        self.take_results(now_ms);
        let ended = self.world.observe(self.deps.registry.snapshot(), now_ms);
        for pod in &ended {
            tracing::info!(pod = pod.key, reason = pod.reason, "pod is over");
        }
        if self.folder.is_some() {
            self.control(now_ms).await;
        }
        self.journal.flush(now_ms).await;
        self.publish();
    }

    async fn control(&mut self, now_ms: i64) {
        self.keep_workloads(now_ms);
        self.scale(now_ms).await;
        self.place(now_ms).await;
        if self.make_durable() {
            let nodes = self.world.nodes.keys().cloned().collect::<Vec<_>>();
            act::assign(&self.deps.registry, &self.world.state, nodes.into_iter());
        }
        if self.score.is_due(now_ms) {
            self.watch_memory(now_ms).await;
        }
        if self.write.is_due(now_ms) {
            let objects = self.objects();
            let view = self.world.view(&objects, now_ms);
            self.journal.begin_round();
            series::write(&mut self.journal, &self.world, &view, objects.hpas.values(), now_ms);
            let refused = self.refused.len() as f64;
            self.journal.sample("binnacle_cluster_manifests_refused", &[], now_ms, refused);
            let lost = self.journal.lost() as f64;
            self.journal.sample("binnacle_journal_lost_total", &[], now_ms, lost);
            let waiting = self.journal.waiting() as f64;
            self.journal.sample("binnacle_journal_waiting", &[], now_ms, waiting);
            let fails = f64::from(u8::from(self.store_fails));
            self.journal.sample("binnacle_cluster_state_unwritable", &[], now_ms, fails);
            self.journal.end_round(now_ms);
        }
    }

    /// Saves the state. While that fails nodes are told nothing new.
    fn make_durable(&mut self) -> bool {
        if !self.store.differs(&self.world.state) {
            return true;
        }
        // A few kilobytes and an fsync: blocking here keeps the order durable → told.
        let saved = tokio::task::block_in_place(|| self.store.save(&self.world.state));
        match saved {
            Ok(()) => {
                if self.store_fails {
                    tracing::info!("the state of the cluster is durable again");
                }
                self.store_fails = false;
            }
            Err(error) => {
                if !self.store_fails {
                    tracing::error!(%error, "nodes are told nothing new until the state is durable");
                }
                self.store_fails = true;
            }
        }
        !self.store_fails
    }

    async fn read_manifests(&mut self, all: bool) {
        let Some(mut folder) = self.folder.take() else { return };
        let read = tokio::task::spawn_blocking(move || {
            let changed = folder.refresh(all);
            (folder, changed)
        });
        match read.await {
            Ok((folder, changed)) => {
                if changed {
                    let refused = folder.problems();
                    for problem in refused.iter().filter(|p| !self.refused.contains(p)) {
                        tracing::warn!(%problem, "manifest refused; what ran before goes on");
                    }
                    self.refused = refused;
                    tracing::info!(objects = folder.objects().len(), "manifests read");
                }
                self.folder = Some(folder);
            }
            // Only a panic in the parser gets here: the folder is read anew from nothing.
            Err(error) => {
                tracing::error!(%error, "reading the manifests failed");
                self.folder = self.deps.config.cluster.manifests.clone().map(Folder::new);
            }
        }
    }

    fn objects(&self) -> super::objects::Objects {
        self.folder.as_ref().map(|folder| folder.objects().clone()).unwrap_or_default()
    }

    fn take_events(&mut self, now_ms: i64) {
        for _ in 0..EVENTS_A_TICK {
            let Some(event) = self.events.as_mut().and_then(|events| events.try_recv().ok()) else { break };
            tracing::info!(
                node = event.node,
                reason = event.event.reason,
                pod = event.event.pod,
                "node event"
            );
            self.journal.node_event(&event, now_ms);
        }
    }
}
