//! What has to be done from time to time: seal old blocks, trim the write-ahead family, drop what is
//! past its retention, forget streams without records.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::recover::NEXT_ID;
use super::{Db, Shared, seal, trim};
use crate::Error;
use crate::store::{Batch, BlockMeta, Family};
use crate::streams::Stream;

/// How often positions of sources that are long gone are looked for.
const POSITIONS_EVERY_MS: i64 = 3_600_000;
/// A position is kept this long after its last change, and at least as long as records.
const POSITIONS_KEPT_MS: i64 = 30 * 86_400_000;
/// Most removals in one write.
const BATCH_KEYS: usize = 1000;

/// What maintenance remembers.
#[derive(Default)]
pub(crate) struct State {
    positions_ms: i64,
}

impl Db {
    /// Does what has become due: seals blocks, applies retention. The server calls it every few
    /// seconds; it blocks, so call it from a blocking task.
    ///
    /// # Errors
    /// When storage fails; call again later.
    pub fn maintain(&self, now_ms: i64) -> Result<(), Error> {
        let shared = &self.shared;
        let mut state = shared.maintenance.lock();
        let streams: Vec<Arc<Stream>> = shared.streams.read().iter().cloned().collect();
        for stream in &streams {
            let max_age_ms = i64::from(shared.config.max_open_seconds) * 1000;
            let old = stream.head.lock().older_than(max_age_ms, now_ms);
            if old {
                seal::start(shared, stream);
            }
        }
        trim::seal_holders(shared, &streams);
        trim::trim(shared, &streams)?;
        retain(shared, &streams, now_ms)?;
        forget(shared)?;
        if now_ms - state.positions_ms >= POSITIONS_EVERY_MS {
            drop_positions(shared, now_ms)?;
            state.positions_ms = now_ms;
        }
        Ok(())
    }

    /// Seals all open blocks and waits until that is done; for tests, deletes and benchmarks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when blocks cannot be written.
    pub fn seal_all(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let streams: Vec<Arc<Stream>> = shared.streams.read().iter().cloned().collect();
        for stream in &streams {
            seal::start(shared, stream);
        }
        let waiting = || streams.iter().any(|stream| stream.head.lock().next_sealing().is_some());
        shared.sealers.wait_while(|| waiting() && !shared.seal_fails.load(Relaxed));
        if waiting() {
            return Err(Error::Unavailable { reason: "blocks cannot be written".into() });
        }
        Ok(())
    }
}

/// Removes blocks all of whose records are past the retention.
fn retain(shared: &Shared, streams: &[Arc<Stream>], now_ms: i64) -> Result<(), Error> {
    let mut gone: Vec<BlockMeta> = Vec::new();
    for stream in streams {
        let oldest_ns = shared.oldest_ns(stream, now_ms);
        gone.extend(stream.head.lock().remove_blocks(|block| block.max_ns < oldest_ns));
    }
    for chunk in gone.chunks(BATCH_KEYS) {
        let mut batch = Batch::default();
        for meta in chunk {
            remove_block(shared, &mut batch, meta);
        }
        if let Err(err) = shared.store.write(batch, false) {
            // They stay due: back into the index with all that is not yet removed.
            for meta in &gone {
                if let Some(stream) = shared.streams.read().by_id(meta.key.stream) {
                    stream.head.lock().add_block(*meta);
                }
            }
            return Err(err);
        }
    }
    shared.counters.expired_blocks.fetch_add(gone.len() as u64, Relaxed);
    Ok(())
}

/// Adds the removal of a block to a batch.
pub(super) fn remove_block(shared: &Shared, batch: &mut Batch, meta: &BlockMeta) {
    let key = meta.key.encode();
    for family in [Family::Data, Family::Filters, Family::Index] {
        shared.store.remove(batch, family, &key);
    }
}

/// Forgets streams without records.
fn forget(shared: &Shared) -> Result<(), Error> {
    let idle = |stream: &Stream| stream.pending.load(Acquire) == 0 && stream.head.lock().is_empty();
    if !shared.streams.read().iter().any(|stream| idle(stream)) {
        return Ok(());
    }
    // With the index locked no append can take up one of them.
    let mut streams = shared.streams.write();
    let gone: Vec<Arc<Stream>> = streams.iter().filter(|stream| idle(stream)).cloned().collect();
    let mut batch = Batch::default();
    for stream in &gone {
        let id = stream.id.to_be_bytes();
        shared.store.remove(&mut batch, Family::Streams, &id);
        shared.store.remove(&mut batch, Family::Sealed, &id);
    }
    shared.store.put(&mut batch, Family::Meta, NEXT_ID, &streams.next_id().to_be_bytes());
    shared.store.write(batch, false)?;
    for stream in gone {
        streams.forget(&stream);
    }
    Ok(())
}

/// Drops positions of sources that nobody has read for long.
fn drop_positions(shared: &Shared, now_ms: i64) -> Result<(), Error> {
    let kept_ms = POSITIONS_KEPT_MS.max(shared.retention.longest_ms());
    let mut batch = Batch::default();
    shared.store.scan(Family::Positions, &[], |key, value| {
        let changed = value.get(8..16).and_then(|ms| ms.try_into().ok()).map(i64::from_le_bytes);
        if changed.is_some_and(|ms| ms < now_ms - kept_ms) {
            shared.store.remove(&mut batch, Family::Positions, key);
        }
        Ok(true)
    })?;
    shared.store.write(batch, false)
}
