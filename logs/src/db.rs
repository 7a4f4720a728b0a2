//! The log store as its users see it: open, append, query, maintain, close.

mod append;
mod commit;
mod delete;
mod maintain;
mod rate;
mod read;
mod recover;
mod retention;
mod seal;
mod stats;
mod trim;
mod wal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, broadcast, mpsc};

pub(crate) use append::join_blocks;
pub(crate) use commit::Committed;
pub(crate) use rate::Bucket;
pub(crate) use read::{Part, PartData, Selection};
pub(crate) use retention::Retention;
pub(crate) use stats::Counters;
pub use stats::Stats;
pub(crate) use wal::decode as decode_wal;
#[cfg(test)]
pub(crate) use wal::encode_value as encode_wal_value;

use crate::store::Store;
use crate::streams::Streams;
use crate::{Config, Error};

/// How many commits a slow tail may lag behind before it misses some.
const TAIL_LAG: usize = 256;

/// A handle on an open store; clones share it.
#[derive(Clone)]
pub struct Db {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// What the handle, the committer and the sealers share.
pub(crate) struct Shared {
    pub config: Config,
    pub store: Store,
    pub streams: RwLock<Streams>,
    pub counters: Counters,
    pub retention: retention::Retention,
    /// Bounds the bytes that wait to become durable, in KiB.
    pub room: Arc<Semaphore>,
    /// What was just made durable, for tails.
    pub committed: broadcast::Sender<Arc<Committed>>,
    /// Set while blocks cannot be written.
    pub seal_fails: AtomicBool,
    /// One maintenance, delete or retention at a time.
    pub maintenance: Mutex<maintain::State>,
    /// Held while a commit is put into heads: a block that is sealed holds a commit whole or not at
    /// all, so that "sealed up to this sequence" is exact.
    pub inserting: Mutex<()>,
    /// Commits up to this WAL sequence are in memory or in blocks.
    pub inserted_seq: AtomicU64,
    /// The write-ahead family was trimmed up to here.
    pub trimmed_seq: AtomicU64,
    /// How large it is.
    pub wal_size: Mutex<trim::WalSize>,
    sealers: seal::Queues,
}

/// The threads of a store; they end when it is closed or the last handle is dropped.
struct Threads {
    commits: Mutex<Option<mpsc::Sender<commit::Request>>>,
    joins: Mutex<Vec<std::thread::JoinHandle<()>>>,
    sealers: seal::Queues,
}

impl Db {
    /// Opens or creates the store and takes up where it was left: records that are not in sealed
    /// blocks are read back from the write-ahead family. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used, or a selector of `stream_retention` is none.
    pub fn open(config: Config) -> Result<Self, Error> {
        let retention = retention::Retention::new(&config);
        let refused = |problem| Error::BadInput(format!("logs.stream_retention: {problem}"));
        let retention = retention.map_err(refused)?;
        let store = Store::open(&config.dir)?;
        let (sealers, queues) = seal::Queues::new();
        let room = Arc::new(Semaphore::new((config.pending_bytes >> 10).max(1)));
        let shared = Arc::new(Shared {
            store,
            streams: RwLock::default(),
            counters: Counters::default(),
            retention,
            room,
            committed: broadcast::channel(TAIL_LAG).0,
            seal_fails: AtomicBool::new(false),
            maintenance: Mutex::default(),
            inserting: Mutex::new(()),
            inserted_seq: AtomicU64::new(0),
            trimmed_seq: AtomicU64::new(0),
            wal_size: Mutex::default(),
            sealers: sealers.clone(),
            config,
        });
        let mut joins = seal::spawn(&shared, queues)?;
        let next_seq = recover::replay(&shared)?;
        let (sender, receiver) = mpsc::channel(commit::QUEUE);
        joins.push(commit::spawn(shared.clone(), receiver, next_seq)?);
        let threads = Threads { commits: Mutex::new(Some(sender)), joins: Mutex::new(joins), sealers };
        Ok(Self { shared, threads: Arc::new(threads) })
    }

    /// Ends the threads and flushes. Records of open blocks stay in the write-ahead family and are
    /// read back by the next [`Db::open`]. Blocks; later appends fail.
    ///
    /// # Errors
    /// When the flush fails; acknowledged records are safe all the same.
    pub fn close(&self) -> Result<(), Error> {
        self.threads.end();
        self.shared.store.flush()
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Everything that becomes durable from now on, for tails.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.shared.committed.subscribe()
    }
}

impl Threads {
    fn end(&self) {
        drop(self.commits.lock().take());
        self.sealers.stop();
        for join in self.joins.lock().drain(..) {
            if join.join().is_err() {
                tracing::error!("a thread of the log store has panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}
