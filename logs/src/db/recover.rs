//! Taking up the store where it was left: index from the store, open records from the write-ahead
//! family. Memory stays within the budget of open blocks: what exceeds it is sealed on the way.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::commit::Repeats;
use super::seal;
use super::wal;
use super::{Shared, commit};
use crate::Error;
use crate::block::take_labels;
use crate::store::{BlockMeta, Family};
use crate::streams::Stream;

/// Key in the family `meta`: the id of the next new stream.
pub(super) const NEXT_ID: &[u8] = b"next_stream";
/// When a replayed record's block was opened: unknown, so maintenance takes its own first look.
const OPENED_UNKNOWN: i64 = i64::MAX;

/// Reads everything back; answers the next WAL sequence.
pub(super) fn replay(shared: &Arc<Shared>) -> Result<u64, Error> {
    let mut last_seq = load_index(shared)?;
    let mut repeats = Repeats::default();
    let mut lost = 0u64;
    shared.store.scan(Family::Wal, &[], |key, value| {
        let damaged = |what: &str| Error::Open {
            path: shared.config.dir.clone(),
            reason: format!("write-ahead record {key:02x?}: {what}"),
        };
        let seq = u64::from_be_bytes(key.try_into().map_err(|_| damaged("its key is not a sequence"))?);
        last_seq = last_seq.max(seq);
        shared.wal_size.lock().add(seq, value.len() as u64);
        let mut touched: Vec<Arc<Stream>> = Vec::new();
        wal::decode(value, |id, positioned, records| {
            let Some(stream) = shared.streams.read().by_id(id).cloned() else {
                // Forgotten: all its records were past their retention.
                lost += records.len() as u64;
                return;
            };
            if seq <= stream.head.lock().sealed_seq {
                return;
            }
            let records = records.iter().map(|r| (r.time_ns, r.line, &r.metadata));
            commit::insert(shared, &mut repeats, &stream, positioned, records, seq, OPENED_UNKNOWN);
            touched.push(stream);
        })
        .ok_or_else(|| damaged("cannot be decoded"))?;
        seal::when_large(shared, touched.iter());
        seal::wait_for_room(shared);
        Ok(true)
    })?;
    if lost > 0 {
        tracing::info!(records = lost, "write-ahead records of forgotten streams were skipped");
    }
    shared.inserted_seq.store(last_seq, Relaxed);
    Ok(last_seq + 1)
}

/// Streams, blocks and sealed sequences; answers the largest sequence seen.
fn load_index(shared: &Shared) -> Result<u64, Error> {
    let mut streams = shared.streams.write();
    let damaged = |what: &str, key: &[u8]| Error::Open {
        path: shared.config.dir.clone(),
        reason: format!("{what} {key:02x?} cannot be read"),
    };
    shared.store.scan(Family::Streams, &[], |key, mut value| {
        let id = key.try_into().map(u32::from_be_bytes).map_err(|_| damaged("stream", key))?;
        let labels = take_labels(&mut value).ok_or_else(|| damaged("stream", key))?;
        streams.insert(Stream::new(id, labels, true));
        Ok(true)
    })?;
    if let Some(next) = shared.store.get(Family::Meta, NEXT_ID)? {
        let id = next.as_slice().try_into().map(u32::from_be_bytes);
        streams.reserve_ids(id.map_err(|_| damaged("meta", NEXT_ID))?);
    }
    shared.store.scan(Family::Index, &[], |key, value| {
        let meta = BlockMeta::decode(key, value).ok_or_else(|| damaged("block", key))?;
        if let Some(stream) = streams.by_id(meta.key.stream) {
            stream.head.lock().add_block(meta);
        }
        Ok(true)
    })?;
    let mut last_seq = 0;
    shared.store.scan(Family::Sealed, &[], |key, value| {
        let id = key.try_into().map(u32::from_be_bytes).map_err(|_| damaged("sealed", key))?;
        let seq = value.try_into().map(u64::from_be_bytes).map_err(|_| damaged("sealed", key))?;
        last_seq = last_seq.max(seq);
        if let Some(stream) = streams.by_id(id) {
            stream.head.lock().sealed_seq = seq;
        }
        Ok(true)
    })?;
    Ok(last_seq)
}
