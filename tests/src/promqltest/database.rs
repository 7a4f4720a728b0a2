//! Scripts against the real database: what they load lies in its head and in chunks on disk.

use std::time::Duration;

use binnacle_proto::Labels;
use binnacle_tsdb::{Config, Db, Sample, Source};

use super::load::Store;

/// Time of the appends: behind all that scripts load.
const NOW_MS: i64 = 400 * 86_400_000;

/// A database in a temporary folder.
pub struct DatabaseStore {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    opened: usize,
    appends: usize,
    db: Db,
}

impl DatabaseStore {
    /// Opens an empty database.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|why| why.to_string())?;
        let folder = tempfile::tempdir().map_err(|why| why.to_string())?;
        let db = open(&folder, 0)?;
        Ok(Self { runtime, folder, opened: 0, appends: 0, db })
    }
}

fn open(folder: &tempfile::TempDir, number: usize) -> Result<Db, String> {
    let config = Config {
        dir: folder.path().join(number.to_string()),
        // Scripts begin at the epoch and load what they like, when they like.
        retention: Duration::ZERO,
        out_of_order_window: Duration::from_secs(400 * 86_400),
        future_window: Duration::ZERO,
        flush_after: Duration::ZERO,
        ..Config::default()
    };
    Db::open(config).map_err(|why| why.to_string())
}

impl Store for DatabaseStore {
    fn append(&mut self, labels: &Labels, samples: &[(i64, f64)]) -> Result<(), String> {
        if samples.is_empty() {
            return Ok(());
        }
        let series = self.db.resolve(labels).map_err(|why| why.to_string())?;
        let batch =
            samples.iter().map(|(t_ms, value)| Sample { series, t_ms: *t_ms, value: *value }).collect();
        let appended = self.runtime.block_on(self.db.append(batch, NOW_MS)).map_err(|why| why.to_string())?;
        if appended.stored + appended.repeated + appended.conflicting < samples.len() as u64 {
            return Err(format!("{labels}: {appended:?}"));
        }
        self.appends += 1;
        if self.appends.is_multiple_of(2) {
            self.db.maintain(NOW_MS).map_err(|why| why.to_string())?;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), String> {
        if self.appends == 0 {
            return Ok(());
        }
        self.db.close().map_err(|why| why.to_string())?;
        let old = self.folder.path().join(self.opened.to_string());
        self.opened += 1;
        self.appends = 0;
        self.db = open(&self.folder, self.opened)?;
        std::fs::remove_dir_all(old).map_err(|why| why.to_string())
    }

    fn source(&self) -> &dyn Source {
        &self.db
    }
}
