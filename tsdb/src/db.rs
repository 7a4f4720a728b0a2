//! The database as its users see it: open, append, select, maintain, close.

mod list;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use binnacle_proto::Labels;
use parking_lot::Mutex;
use serde::Deserialize;

pub use list::{Listed, TimeRange};
pub use status::{Stats, TsdbStatus};

use crate::Error;
use crate::select::{Guard, Matcher, MemorySource, Select, Selected, Source};

/// Settings of the database; the section `[tsdb]` of the server's config file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the database. The server sets it to `DATA_DIR/tsdb`.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// Names a series for as long as the database lives, restarts included.
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
    /// Older than the out-of-order window, or too far in the future: refused.
    pub out_of_bounds: u64,
    /// The series is not known any more (nothing was stored for it for longer than the retention):
    /// resolve it again.
    pub unknown_series: u64,
}

/// A handle on an open database; clones share it.
#[derive(Clone)]
pub struct Db(Arc<Mutex<(Vec<Labels>, MemorySource)>>);

impl Db {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// When the folder cannot be used; see [`Error::Open`].
    pub fn open(_config: Config) -> Result<Self, Error> {
        Ok(Self(Arc::default()))
    }

    /// The reference of a series, which is created when it is new. Cheap when it is known; callers
    /// keep the result for as long as they send the series.
    ///
    /// # Errors
    /// When the labels are not acceptable or a series budget is used up.
    pub fn resolve(&self, labels: &Labels) -> Result<SeriesRef, Error> {
        let mut inner = self.0.lock();
        if let Some(at) = inner.0.iter().position(|have| have == labels) {
            return Ok(SeriesRef(at as u64));
        }
        inner.0.push(labels.clone());
        Ok(SeriesRef(inner.0.len() as u64 - 1))
    }

    /// Appends samples; when this returns `Ok` they are durable. `now_ms` bounds how far in the
    /// future samples may be.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be made durable: nothing was acknowledged, retry.
    pub async fn append(&self, samples: Vec<Sample>, _now_ms: i64) -> Result<Appended, Error> {
        let mut inner = self.0.lock();
        let stored = samples.len() as u64;
        for sample in samples {
            let labels = inner.0[sample.series.0 as usize].clone();
            inner.1.append(labels, sample.t_ms, sample.value);
        }
        Ok(Appended { stored, ..Appended::default() })
    }

    /// As [`Db::resolve`] for senders that repeat the labels with every sample: `raw` is the label
    /// block as it came over the wire, `labels` parses it and is called only when the block was not
    /// seen lately. A known block costs one hash of `raw` and one look-up.
    ///
    /// # Errors
    /// What `labels` returns, and as [`Db::resolve`].
    pub fn resolve_cached(
        &self,
        _raw: &[u8],
        labels: impl FnOnce() -> Result<Labels, Error>,
    ) -> Result<SeriesRef, Error> {
        self.resolve(&labels()?)
    }

    /// Deletes samples of the series that match one of `matcher_sets` within `range` (both ends
    /// inclusive), and series that have none left. Samples that arrive meanwhile may stay. Blocks.
    ///
    /// # Errors
    /// When storage fails: some may be deleted then; call again.
    pub fn delete_series(&self, _matcher_sets: &[Vec<Matcher>], _range: TimeRange) -> Result<(), Error> {
        Err(Error::Unavailable { reason: "deletion comes with the durable store".into() })
    }

    /// Writes a consistent copy of the database to `dir`, which must not exist; a server opens it like
    /// any other data folder. Blocks.
    ///
    /// # Errors
    /// When the copy cannot be written.
    pub fn snapshot(&self, _dir: &Path) -> Result<(), Error> {
        Err(Error::Unavailable { reason: "snapshots come with the durable store".into() })
    }

    /// State and counters. Cheap enough for every scrape.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Cardinality of the series in memory, each list cut to `limit` entries.
    pub fn tsdb_status(&self, _limit: usize) -> TsdbStatus {
        TsdbStatus::default()
    }

    /// Does what has become due: flushes, seals days, applies retention. The server calls it every
    /// few seconds; it blocks, so call it from a blocking task.
    ///
    /// # Errors
    /// When storage fails; call again later.
    pub fn maintain(&self, _now_ms: i64) -> Result<(), Error> {
        Ok(())
    }

    /// Flushes and closes; later calls fail.
    ///
    /// # Errors
    /// When the flush fails; acknowledged samples are safe all the same.
    pub fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The folder of the database.
    pub fn dir(&self) -> &Path {
        Path::new("")
    }
}

impl Source for Db {
    fn select(&self, select: &Select, guard: &Guard) -> Result<Selected, Error> {
        self.0.lock().1.select(select, guard)
    }
}
