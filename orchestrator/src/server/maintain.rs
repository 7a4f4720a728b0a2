//! The data folder: claimed by one process, its stores opened and kept in order.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::Clock;
use crate::config::Config;

/// How often the stores are asked to do what has become due.
const INTERVAL: Duration = Duration::from_secs(5);

/// Makes the data folder and takes it for this process, until the result is dropped.
pub(super) fn claim(dir: &Path) -> Result<File, Error> {
    let wrong = |reason: String| Error::DataDir { path: dir.into(), reason };
    std::fs::create_dir_all(dir).map_err(|error| wrong(error.to_string()))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = file.map_err(|error| wrong(error.to_string()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| wrong("another server uses it (the file `lock` in it is held)".into()))?;
    Ok(file)
}

/// Opens both stores, at the same time.
pub(super) async fn open(
    config: &Config,
    progress: Arc<binnacle_tsdb::ReplayProgress>,
) -> Result<(binnacle_tsdb::Db, binnacle_logs::Db), Error> {
    let mut tsdb = config.tsdb.clone();
    tsdb.dir = config.server.data_dir.join("tsdb");
    let mut logs = config.logs.clone();
    logs.dir = config.server.data_dir.join("logs");
    let died = |error: tokio::task::JoinError| Error::Task { name: "open", reason: error.to_string() };
    let tsdb = tokio::task::spawn_blocking(move || binnacle_tsdb::Db::open_watched(tsdb, progress));
    let logs = tokio::task::spawn_blocking(move || binnacle_logs::Db::open(logs));
    let (tsdb, logs) = tokio::join!(tsdb, logs);
    Ok((tsdb.map_err(died)??, logs.map_err(died)??))
}

pub(super) async fn tsdb(
    db: binnacle_tsdb::Db,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), String> {
    every(shutdown, move || {
        if let Err(error) = db.maintain(clock.now_ms()) {
            tracing::warn!(%error, "maintenance of the time-series database failed; it is tried again");
        }
    })
    .await
}

pub(super) async fn logs(
    db: binnacle_logs::Db,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), String> {
    every(shutdown, move || {
        if let Err(error) = db.maintain(clock.now_ms()) {
            tracing::warn!(%error, "maintenance of the log store failed; it is tried again");
        }
    })
    .await
}

/// Runs `work` on a blocking thread every [`INTERVAL`], never twice at a time.
async fn every(shutdown: CancellationToken, work: impl Fn() + Clone + Send + 'static) -> Result<(), String> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        tokio::task::spawn_blocking(work.clone()).await.map_err(|error| error.to_string())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_folder_belongs_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = claim(dir.path()).unwrap();
        let second = claim(dir.path()).unwrap_err();
        assert!(second.to_string().contains("another server uses it"), "{second}");
        drop(first);
        claim(dir.path()).unwrap();
    }
}
