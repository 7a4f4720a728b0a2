//! Group commit: one thread makes durable all that waits, a second applies it.
//!
//! A sync starts as soon as the one before has ended and takes along every batch that arrived
//! meanwhile; there is no timer. What is durable goes to the applier, which puts it in the head in the
//! same order and answers the senders, while the next sync runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use binnacle_proto::Labels;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::WalSample;
use crate::Error;
use crate::db::Appended;
use crate::store::SeriesId;

/// Groups that are durable and wait to be applied; the committer waits beyond.
const APPLY_QUEUE: usize = 4;
/// A record takes no further batch after so many bytes, unpacked.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// A batch on its way.
pub(crate) struct Pending {
    pub(crate) definitions: Vec<(SeriesId, Labels)>,
    /// Grouped by shard, in the order given within one.
    pub(crate) samples: Vec<WalSample>,
    /// Where each shard's samples end.
    pub(crate) ends: Vec<u32>,
    pub(crate) reply: oneshot::Sender<Result<Appended, Error>>,
    /// Its share of the queue, given back when it is answered or dropped.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Pending {
    /// The samples of one shard.
    pub(crate) fn of_shard(&self, shard: usize) -> &[WalSample] {
        let start = shard.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.samples[start as usize..self.ends[shard] as usize]
    }

    fn bytes(&self) -> usize {
        let labels: usize = self.definitions.iter().map(|(_, labels)| labels.byte_len() + 8).sum();
        self.samples.len() * size_of::<WalSample>() + labels
    }
}

/// Batches that one record made durable.
pub(crate) struct Group {
    pub(crate) seq: u64,
    pub(crate) batches: Vec<Pending>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// The two threads. Dropping it lets them finish what waits, and joins them.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Committer {
    /// Starts the threads. `commit` makes a group durable and returns its sequence number; `apply`
    /// puts a durable group into the head and answers its senders.
    pub(crate) fn start(
        commit: impl FnMut(&[Pending]) -> Result<u64, Error> + Send + 'static,
        apply: impl FnMut(Group) + Send + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = sync_channel(APPLY_QUEUE);
        let committing = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("tsdb-commit".into())
                .spawn(move || commit_all(&shared, commit, &sender))?
        };
        let applying = std::thread::Builder::new()
            .name("tsdb-apply".into())
            .spawn(move || apply_all(&receiver, apply))?;
        Ok(Self { shared, threads: Mutex::new(vec![committing, applying]) })
    }

    /// Queues a batch; its `reply` is answered when it is durable and applied. After
    /// [`Committer::stop`] it is dropped, which its receiver sees.
    pub(crate) fn submit(&self, batch: Pending) {
        let mut queue = self.shared.queue.lock();
        if !queue.closed {
            queue.waiting.push_back(batch);
            self.shared.arrived.notify_one();
        }
    }

    /// Finishes what waits and ends the threads.
    pub(crate) fn stop(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.arrived.notify_one();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the write-ahead log has panicked");
            }
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn commit_all(
    shared: &Shared,
    mut commit: impl FnMut(&[Pending]) -> Result<u64, Error>,
    applier: &SyncSender<Group>,
) {
    while let Some(batches) = next_group(shared) {
        match commit(&batches) {
            Ok(seq) => {
                if applier.send(Group { seq, batches }).is_err() {
                    return;
                }
            }
            Err(error) => {
                let reason = match error {
                    Error::Unavailable { reason } => reason,
                    other => other.to_string(),
                };
                for batch in batches {
                    // A sender that has gone away needs no answer.
                    let _ = batch.reply.send(Err(Error::Unavailable { reason: reason.clone() }));
                }
            }
        }
    }
}

fn next_group(shared: &Shared) -> Option<Vec<Pending>> {
    let mut queue = shared.queue.lock();
    while queue.waiting.is_empty() {
        if queue.closed {
            return None;
        }
        shared.arrived.wait(&mut queue);
    }
    let (mut group, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = queue.waiting.pop_front() {
        bytes += batch.bytes();
        group.push(batch);
        if bytes >= MAX_GROUP_BYTES {
            break;
        }
    }
    Some(group)
}

fn apply_all(groups: &Receiver<Group>, mut apply: impl FnMut(Group)) {
    while let Ok(group) = groups.recv() {
        apply(group);
    }
}
