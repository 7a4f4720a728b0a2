//! Chunks as bytes: a column of timestamps and a column of values, each with the codec that is
//! smallest for it. `docs/format.md` draws the layout.

mod bits;
mod decimal;
mod ints;
mod rollup;
mod stream;
mod varint;
mod xor;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod tests;

use twox_hash::XxHash3_64;

pub(crate) use rollup::{decode_rollup, decode_rollup_body, encode_rollup};
pub(crate) use stream::{Newest, Stream, StreamView};
pub(crate) use varint::{Reader, put_signed, put_unsigned};

use crate::select::Points;

/// First byte of a chunk: the layout of what follows.
const LAYOUT: u8 = 1;
/// Most samples in a chunk; a decoder refuses more, so that corrupt bytes cannot ask for memory.
pub(crate) const MAX_CHUNK_SAMPLES: usize = 1 << 16;
/// Bytes of the checksum at the end.
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// Timestamps at equal distance.
const TIME_REGULAR: u8 = 0;
/// Timestamps as an integer column.
const TIME_INTS: u8 = 1;

/// All values have the same bits.
const VALUE_CONSTANT: u8 = 0;
/// Decimal numbers scaled to integers, with exceptions.
const VALUE_DECIMAL: u8 = 1;
/// Each value XORed with the one before.
const VALUE_XOR: u8 = 2;
// Codec bytes from 0x80 on are kept for native histograms.

/// Why bytes could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// Encodes a chunk. `points` is not empty, not longer than [`MAX_CHUNK_SAMPLES`] and strictly
/// ascending; its first timestamp is not part of the bytes (it is in the key).
pub(crate) fn encode_chunk(points: &Points) -> Vec<u8> {
    debug_assert!(!points.is_empty() && points.len() <= MAX_CHUNK_SAMPLES);
    let mut out = Vec::with_capacity(32 + points.len() * 2);
    out.push(LAYOUT);
    put_unsigned(&mut out, points.len() as u64);
    let (first, last) = (points.timestamps[0], points.timestamps[points.len() - 1]);
    put_unsigned(&mut out, last.wrapping_sub(first) as u64);
    encode_times(&points.timestamps, &mut out);
    encode_values(&points.values, &mut out);
    let sum = checksum(&out);
    out.extend_from_slice(&sum);
    out
}

/// Appends the samples of a chunk that lie within `start_ms..=end_ms` to `out`.
pub(crate) fn decode_chunk(
    bytes: &[u8],
    t0_ms: i64,
    start_ms: i64,
    end_ms: i64,
    out: &mut Points,
) -> Result<(), Corrupt> {
    decode_body(checked(bytes)?, t0_ms, start_ms, end_ms, out)
}

/// The bytes without the checksum at their end, which must match.
fn checked(bytes: &[u8]) -> Result<&[u8], Corrupt> {
    let Some((body, sum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(Corrupt("bytes are too short"));
    };
    if checksum(body) != *sum {
        return Err(Corrupt("checksum does not match"));
    }
    Ok(body)
}

/// As [`decode_chunk`] for what stands before the checksum.
pub(crate) fn decode_body(
    body: &[u8],
    t0_ms: i64,
    start_ms: i64,
    end_ms: i64,
    out: &mut Points,
) -> Result<(), Corrupt> {
    let mut reader = Reader::new(body);
    if reader.byte()? != LAYOUT {
        return Err(Corrupt("chunk has an unknown layout"));
    }
    let count = reader.unsigned()? as usize;
    if count == 0 || count > MAX_CHUNK_SAMPLES {
        return Err(Corrupt("number of samples is out of range"));
    }
    reader.unsigned()?;
    let before = out.len();
    decode_times(&mut reader, t0_ms, count, &mut out.timestamps)?;
    let times = &out.timestamps[before..];
    let from = times.partition_point(|t| *t < start_ms);
    let to = times.partition_point(|t| *t <= end_ms);
    if from >= to {
        out.timestamps.truncate(before);
        return Ok(());
    }
    let decoded = decode_values(&mut reader, count, &mut out.values);
    if decoded.is_err() || out.values.len() != before + count {
        out.timestamps.truncate(before);
        out.values.truncate(before);
        return Err(decoded.err().unwrap_or(Corrupt("number of values is wrong")));
    }
    out.timestamps.truncate(before + to);
    out.values.truncate(before + to);
    out.timestamps.drain(before..before + from);
    out.values.drain(before..before + from);
    Ok(())
}

/// Number of samples and distance of the last from the first in milliseconds, from the head of a
/// chunk alone: nothing is verified.
pub(crate) fn peek_chunk(bytes: &[u8]) -> Result<(usize, i64), Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != LAYOUT {
        return Err(Corrupt("chunk has an unknown layout"));
    }
    Ok((reader.unsigned()? as usize, reader.unsigned()? as i64))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    (XxHash3_64::oneshot(bytes) as u32).to_le_bytes()
}

fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let step = times.get(1).map_or(0, |second| second.wrapping_sub(times[0]));
    if times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step) {
        out.push(TIME_REGULAR);
        put_unsigned(out, step as u64);
    } else {
        out.push(TIME_INTS);
        // The first timestamp is in the key: store distances from it.
        let relative: Vec<i64> = times.iter().map(|t| t.wrapping_sub(times[0])).collect();
        ints::encode(&relative, out);
    }
}

fn decode_times(reader: &mut Reader, t0_ms: i64, count: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
    let before = out.len();
    match reader.byte()? {
        TIME_REGULAR => {
            let step = reader.unsigned()? as i64;
            let last = step.checked_mul(count as i64 - 1).and_then(|span| t0_ms.checked_add(span));
            if last.is_none() || (count > 1 && step <= 0) {
                return Err(Corrupt("step of timestamps is out of range"));
            }
            out.extend((0..count as i64).map(|i| t0_ms + i * step));
        }
        TIME_INTS => {
            ints::decode(reader, count, out)?;
            for t in &mut out[before..] {
                *t = t.wrapping_add(t0_ms);
            }
            if out[before] != t0_ms || !out[before..].is_sorted_by(|a, b| a < b) {
                out.truncate(before);
                return Err(Corrupt("timestamps do not ascend"));
            }
        }
        _ => return Err(Corrupt("unknown codec of timestamps")),
    }
    Ok(())
}

fn encode_values(values: &[f64], out: &mut Vec<u8>) {
    let first = values[0].to_bits();
    if values.iter().all(|v| v.to_bits() == first) {
        out.push(VALUE_CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
        return;
    }
    let start = out.len();
    out.push(VALUE_DECIMAL);
    let decimal = decimal::encode(values, out);
    // Noise with many digits may be smaller XORed; with less than 5 bytes a value it never is.
    if decimal && out.len() - start <= values.len() * 5 {
        return;
    }
    let mut other = vec![VALUE_XOR];
    xor::encode(values, &mut other);
    if !decimal || other.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&other);
    }
}

fn decode_values(reader: &mut Reader, count: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    match reader.byte()? {
        VALUE_CONSTANT => {
            let value = f64::from_bits(reader.fixed()?);
            out.resize(out.len() + count, value);
            Ok(())
        }
        VALUE_DECIMAL => decimal::decode(reader, count, out),
        VALUE_XOR => xor::decode(reader, count, out),
        _ => Err(Corrupt("unknown codec of values")),
    }
}
