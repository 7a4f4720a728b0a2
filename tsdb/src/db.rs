//! The database as its users see it: open, resolve, append, maintain, close.

mod append;
mod counters;
mod delete;
mod flush;
mod list;
mod maintain;
mod merge;
mod replay;
mod resolve;
mod retention;
mod seal;
mod status;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use binnacle_proto::Labels;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::Semaphore;

pub(crate) use counters::Counters;
pub use list::{Listed, TimeRange};
pub use replay::{ReplayProgress, ReplayState};
pub use status::{Stats, TsdbStatus};

use crate::day::Day;
use crate::head::{Head, SHARDS};
use crate::select::Matcher;
use crate::store::Store;
use crate::wal::Committer;
use crate::{Config, Error};
use flush::WalAccount;
use merge::Merges;
use resolve::LabelCache;
use retention::Retention;
use seal::Seals;

/// Names a series for as long as its samples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

/// One sample to append.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The series, from [`Db::resolve`].
    pub series: SeriesRef,
    /// Milliseconds since the epoch.
    pub t_ms: i64,
    /// The value; [`binnacle_proto::STALE_NAN`] ends the series.
    pub value: f64,
}

/// What became of an append. All that is not counted here was refused as a whole by an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Samples now durable.
    pub stored: u64,
    /// Samples that were there already with the same value.
    pub repeated: u64,
    /// Same series and time, another value: refused.
    pub conflicting: u64,
    /// Older than the out-of-order window or the retention, or too far in the future: refused.
    pub out_of_bounds: u64,
    /// The series is not known any more (nothing was stored for it for longer than the retention):
    /// resolve it again.
    pub unknown_series: u64,
}

/// A handle on an open database; clones share it. The last one dropped closes it without a flush:
/// what was acknowledged is in the log.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    committer: Committer,
    queue: Arc<Semaphore>,
    labels: LabelCache,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

/// What the threads share.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) head: Head,
    pub(crate) counters: Counters,
    /// Days that have chunks.
    days: RwLock<BTreeSet<Day>>,
    /// Days that may have rows in rollups.
    rolled_up: RwLock<BTreeSet<Day>>,
    /// Held by everything that rewrites the store: flush, merge, seal, deletion, retention.
    maintenance: Mutex<Maintenance>,
    wal: WalAccount,
    replayed: Arc<ReplayProgress>,
    next_seq: AtomicU64,
    pub(crate) retention: Retention,
    /// Appends are refused because the disk is full or failed.
    unavailable: AtomicBool,
    closed: AtomicBool,
    /// Whether the head holds more than its budget.
    flush_wanted: Mutex<bool>,
    flush_signal: Condvar,
}

/// What those that rewrite the store know.
struct Maintenance {
    /// How far the log is in chunks, by shard.
    cuts: [u64; SHARDS],
    merges: Merges,
    seals: Seals,
}

impl Db {
    /// Opens or creates the database and replays what was acknowledged but not in chunks.
    ///
    /// # Errors
    /// [`Error::Open`] when the folder cannot be used, [`Error::BadInput`] when the config is wrong.
    pub fn open(config: Config) -> Result<Self, Error> {
        Self::open_watched(config, Arc::default())
    }

    /// As [`Db::open`]; meanwhile `progress` tells others how far the replay is.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_watched(config: Config, progress: Arc<ReplayProgress>) -> Result<Self, Error> {
        config.check().map_err(|(key, problem)| Error::BadInput(format!("tsdb.{key}: {problem}")))?;
        let retention = Retention::new(config.retention, &config.series_retention)?;
        let store = Store::open(&config)?;
        let core = Arc::new(Core {
            days: RwLock::new(store.days()?.into_iter().collect()),
            rolled_up: RwLock::new(store.rollup_days()?.into_iter().collect()),
            head: Head::new(),
            counters: Counters::default(),
            maintenance: Mutex::new(Maintenance {
                cuts: [0; SHARDS],
                merges: Merges::default(),
                seals: Seals::default(),
            }),
            wal: WalAccount::default(),
            replayed: progress,
            next_seq: AtomicU64::new(1),
            unavailable: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            flush_wanted: Mutex::new(false),
            flush_signal: Condvar::new(),
            retention,
            store,
            config,
        });
        core.replay()?;
        core.look_for_work()?;
        let failed = |error: std::io::Error| Error::Open {
            path: core.config.dir.clone(),
            reason: format!("cannot start a thread: {error}"),
        };
        let committer = {
            let (commit, apply) = (core.clone(), core.clone());
            Committer::start(move |batches| commit.commit(batches), move |group| apply.apply(group))
        };
        let flusher = {
            let core = core.clone();
            std::thread::Builder::new().name("tsdb-flush".into()).spawn(move || core.flush_when_wanted())
        };
        Ok(Self(Arc::new(Inner {
            committer: committer.map_err(failed)?,
            queue: Arc::new(Semaphore::new(core.config.append_queue_samples as usize)),
            labels: LabelCache::new(core.config.label_cache_entries),
            flusher: Mutex::new(Some(flusher.map_err(failed)?)),
            core,
        })))
    }

    /// The reference of a series, which is created when it is new. Cheap when it is known: one look-up
    /// by [`Labels::stable_hash`], verified by comparing. Callers keep the result for as long as they
    /// send the series.
    ///
    /// # Errors
    /// [`Error::BadInput`] when the labels are too many or too long, [`Error::SeriesLimit`] when the
    /// budget is used up.
    pub fn resolve(&self, labels: &Labels) -> Result<SeriesRef, Error> {
        self.0.core.resolve(labels)
    }

    /// As [`Db::resolve`] for senders that repeat the labels with every sample: `raw` is the label
    /// block as it came over the wire, `labels` parses it and is called only when the block was not
    /// seen lately. A known block costs one hash of `raw` and one look-up.
    ///
    /// # Errors
    /// What `labels` returns, and as [`Db::resolve`].
    pub fn resolve_cached(
        &self,
        raw: &[u8],
        labels: impl FnOnce() -> Result<Labels, Error>,
    ) -> Result<SeriesRef, Error> {
        let key = self.0.labels.key(raw);
        if let Some(id) = self.0.labels.get(key)
            && self.0.core.head.touch(id)
        {
            return Ok(SeriesRef(u64::from(id)));
        }
        let series = self.0.core.resolve(&labels()?)?;
        self.0.labels.put(key, series);
        Ok(series)
    }

    /// Appends samples; when this returns `Ok` they are durable. `now_ms` bounds how far in the
    /// future and, by the retention, in the past samples may be.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be made durable: nothing was acknowledged, retry.
    pub async fn append(&self, samples: Vec<Sample>, now_ms: i64) -> Result<Appended, Error> {
        append::append(&self.0, samples, now_ms).await
    }

    /// Deletes samples of the series that match one of `matcher_sets` within `range` (both ends
    /// inclusive), and series that have none left. Samples that arrive meanwhile may stay. Blocks.
    ///
    /// # Errors
    /// When storage fails: some may be deleted then; call again.
    pub fn delete_series(&self, matcher_sets: &[Vec<Matcher>], range: TimeRange) -> Result<(), Error> {
        self.0.core.delete_series(matcher_sets, range)
    }

    /// Writes a consistent copy of the database to `dir`, which must not exist; a server opens it like
    /// any other data folder. Blocks.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub fn snapshot(&self, dir: &Path) -> Result<(), Error> {
        std::fs::create_dir_all(dir).map_err(|error| Error::Storage {
            context: format!("cannot create the snapshot folder {}", dir.display()),
            reason: error.to_string(),
        })?;
        Ok(self.0.core.store.checkpoint(&dir.join("db"))?)
    }

    /// How the replay at the opening went.
    pub fn replay_progress(&self) -> &ReplayProgress {
        &self.0.core.replayed
    }

    /// State and counters. Cheap enough for every scrape.
    pub fn stats(&self) -> Stats {
        self.0.core.stats()
    }

    /// Cardinality of the series in memory, each list cut to `limit` entries.
    pub fn tsdb_status(&self, limit: usize) -> TsdbStatus {
        self.0.core.tsdb_status(limit)
    }

    /// Does what has become due: flushes, applies retention, lets idle series go, recovers from a full
    /// disk. The server calls it every few seconds; it blocks, so call it from a blocking task.
    ///
    /// # Errors
    /// When storage fails; call again later.
    pub fn maintain(&self, now_ms: i64) -> Result<(), Error> {
        self.0.core.maintain(now_ms)
    }

    /// Finishes what waits, flushes and closes; later calls fail.
    ///
    /// # Errors
    /// When the flush fails; acknowledged samples are safe all the same.
    pub fn close(&self) -> Result<(), Error> {
        self.0.core.closed.store(true, Ordering::Release);
        self.0.queue.close();
        self.0.committer.stop();
        self.0.stop_flusher();
        let flushed = self.0.core.flush_all();
        self.0.core.store.close();
        flushed
    }

    /// The folder of the database.
    pub fn dir(&self) -> &Path {
        &self.0.core.config.dir
    }

    /// Most bytes that the labels of a series may take.
    pub(crate) fn max_labels_bytes(&self) -> usize {
        self.0.core.max_labels_bytes()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }
}

impl Inner {
    fn stop_flusher(&self) {
        self.core.closed.store(true, Ordering::Release);
        *self.core.flush_wanted.lock() = true;
        self.core.flush_signal.notify_all();
        if let Some(thread) = self.flusher.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the flush thread has panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.committer.stop();
        self.stop_flusher();
    }
}

impl Core {
    /// Days with chunks that a span of time touches, ascending.
    pub(crate) fn days_within(&self, start_ms: i64, end_ms: i64) -> Vec<Day> {
        if start_ms > end_ms {
            return Vec::new();
        }
        self.days.read().range(Day::span(start_ms, end_ms)).copied().collect()
    }

    /// Whether a day that a span of time touches may have rows in rollups.
    pub(crate) fn rolled_up_within(&self, start_ms: i64, end_ms: i64) -> bool {
        start_ms <= end_ms && self.rolled_up.read().range(Day::span(start_ms, end_ms)).next().is_some()
    }
}
