//! Records in the write-ahead family: one value a commit, one frame a request.
//!
//! A value is a row of frames, each `u32` length and a snappy-compressed payload; a payload is a row of
//! items: stream, flags, records.

use binnacle_proto::Labels;

use super::commit::Item;
use crate::block::{put_labels, put_varint, take_bytes, take_labels, take_varint, unzigzag, zigzag};

/// Flag of an item whose records have a position and are not looked for among those stored.
const POSITIONED: u8 = 1;
/// A frame may not claim to be larger than this when decompressed.
const MAX_FRAME: usize = 1 << 30;

/// One record as the log has it.
pub(crate) struct WalRecord<'a> {
    pub time_ns: i64,
    pub line: &'a [u8],
    pub metadata: Labels,
}

/// Encodes the items of a request as a frame.
pub(super) fn encode(items: &[Item]) -> Vec<u8> {
    let size: usize = items.iter().flat_map(|item| &item.records).map(|record| record.line.len() + 8).sum();
    let mut payload = Vec::with_capacity(size + 64);
    for item in items.iter().filter(|item| !item.records.is_empty()) {
        let records = item.records.iter().map(|record| (record.time_ns, &record.line[..], &record.metadata));
        put_item(&mut payload, item.stream.id, item.position.is_some(), item.records.len(), records);
    }
    frame(&payload)
}

/// An item: stream, whether its records have a position, and their times, lines and metadata.
#[cfg(test)]
pub(crate) type PlainItem = (u32, bool, Vec<(i64, Vec<u8>, Labels)>);

/// A value of frames of items, as [`decode`] gives them.
#[cfg(test)]
pub(crate) fn encode_value(frames: &[Vec<PlainItem>]) -> Vec<u8> {
    let of_frame = |items: &Vec<PlainItem>| {
        let mut payload = Vec::new();
        for (stream, positioned, records) in items {
            let all = records.iter().map(|(time_ns, line, metadata)| (*time_ns, &line[..], metadata));
            put_item(&mut payload, *stream, *positioned, records.len(), all);
        }
        frame(&payload)
    };
    frames.iter().flat_map(of_frame).collect()
}

fn put_item<'a>(
    payload: &mut Vec<u8>,
    stream: u32,
    positioned: bool,
    count: usize,
    records: impl Iterator<Item = (i64, &'a [u8], &'a Labels)>,
) {
    put_varint(payload, u64::from(stream));
    payload.push(if positioned { POSITIONED } else { 0 });
    put_varint(payload, count as u64);
    let mut last = 0i64;
    for (time_ns, line, metadata) in records {
        put_varint(payload, zigzag(time_ns.wrapping_sub(last)));
        last = time_ns;
        put_varint(payload, line.len() as u64);
        payload.extend_from_slice(line);
        put_labels(payload, metadata);
    }
}

/// A payload with its length, compressed; nothing when there is none.
fn frame(payload: &[u8]) -> Vec<u8> {
    if payload.is_empty() {
        return Vec::new();
    }
    let mut out = vec![0; 4 + snap::raw::max_compress_len(payload.len())];
    let len = snap::raw::Encoder::new().compress(payload, &mut out[4..]).unwrap_or_default();
    out.truncate(4 + len);
    out[..4].copy_from_slice(&(len as u32).to_le_bytes());
    out
}

/// Calls `each` with stream, whether its records have a position, and the records, for every item of a
/// value. `None` when the value is damaged.
pub(crate) fn decode(mut value: &[u8], mut each: impl FnMut(u32, bool, Vec<WalRecord<'_>>)) -> Option<()> {
    while !value.is_empty() {
        let len = u32::from_le_bytes(take_bytes(&mut value, 4)?.try_into().ok()?);
        let frame = take_bytes(&mut value, u64::from(len))?;
        if snap::raw::decompress_len(frame).ok()? > MAX_FRAME {
            return None;
        }
        let payload = snap::raw::Decoder::new().decompress_vec(frame).ok()?;
        let mut rest = payload.as_slice();
        while !rest.is_empty() {
            let stream = u32::try_from(take_varint(&mut rest)?).ok()?;
            let flags = take_bytes(&mut rest, 1)?[0];
            let count = take_varint(&mut rest)?;
            let mut records = Vec::new();
            let mut time_ns = 0i64;
            for _ in 0..count {
                time_ns = time_ns.wrapping_add(unzigzag(take_varint(&mut rest)?));
                let len = take_varint(&mut rest)?;
                let line = take_bytes(&mut rest, len)?;
                let metadata = take_labels(&mut rest)?;
                records.push(WalRecord { time_ns, line, metadata });
            }
            each(stream, flags & POSITIONED != 0, records);
        }
    }
    Some(())
}
