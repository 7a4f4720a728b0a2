//! Back to work after a failed write.
//!
//! After a failed write RocksDB may refuse every further one until the database is opened again,
//! reads go on meanwhile. So: wait until the disk takes a file again, then reopen.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Store, StoreError, options};

/// Written and synced before a reopening is tried.
const PROBE_BYTES: usize = 256 << 10;

impl Store {
    /// Whether a write failed since the database was opened.
    pub(crate) fn needs_reopening(&self) -> bool {
        self.write_failed.load(Ordering::Acquire)
    }

    /// Opens the database again when the disk takes writes. `Ok(false)`: queries still read, try later.
    pub(crate) fn reopen(&self) -> Result<bool, StoreError> {
        self.probe().map_err(|error| StoreError::Failed {
            context: "the disk does not take writes yet",
            reason: error.to_string(),
            corrupt: false,
        })?;
        let mut slot = self.db.write();
        if let Some(db) = slot.take() {
            match Arc::try_unwrap(db) {
                Ok(db) => drop(db),
                Err(db) => {
                    *slot = Some(db);
                    return Ok(false);
                }
            }
        }
        let db = options::open(&self.dir, &self.config).map_err(StoreError::of("cannot reopen"))?;
        *slot = Some(Arc::new(db));
        self.write_failed.store(false, Ordering::Release);
        Ok(true)
    }

    fn probe(&self) -> std::io::Result<()> {
        let path = self.config.dir.join("probe.tmp");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&[0; PROBE_BYTES])?;
            file.sync_all()
        });
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    }
}
