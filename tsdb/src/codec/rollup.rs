//! Rows of rollups: the buckets of a series and day as columns. `docs/format.md` draws the layout.

use super::varint::{Reader, put_unsigned};
use super::{Corrupt, checked, checksum, decode_values, encode_values, ints};
use crate::select::Segments;

/// First byte of a row: the layout of what follows.
const LAYOUT: u8 = 1;
/// Set in the second byte: the falls were too many to be kept.
const FALLS_UNKNOWN: u8 = 1;
/// Most buckets of a row; a decoder refuses more, so that corrupt bytes cannot ask for memory.
const MAX_BUCKETS: usize = 1 << 12;
/// Falls are kept when there is no more than one for so many samples.
const SAMPLES_PER_FALL: i64 = 8;

/// A column of values of its own.
const COLUMN_OWN: u8 = 0;
/// The same bits as the column of first values.
const COLUMN_FIRST: u8 = 1;
/// The same bits as the column of last values.
const COLUMN_LAST: u8 = 2;

/// Encodes the buckets of a day that starts at `start_ms`.
pub(crate) fn encode_rollup(segments: &Segments, start_ms: i64, width_ms: i64) -> Vec<u8> {
    let mut out = vec![LAYOUT, 0];
    put_unsigned(&mut out, segments.len() as u64);
    if !segments.is_empty() {
        encode_columns(segments, start_ms, width_ms, &mut out);
    }
    let sum = checksum(&out);
    out.extend_from_slice(&sum);
    out
}

fn encode_columns(segments: &Segments, start_ms: i64, width_ms: i64, out: &mut Vec<u8>) {
    let before_end = |times: &[i64]| -> Vec<i64> {
        times.iter().zip(&segments.end_ms).map(|(t_ms, end_ms)| end_ms - t_ms).collect()
    };
    let buckets: Vec<i64> = segments.end_ms.iter().map(|end_ms| (end_ms - start_ms) / width_ms).collect();
    ints::encode(&buckets, out);
    ints::encode(&before_end(&segments.first_ms), out);
    ints::encode(&before_end(&segments.last_ms), out);
    ints::encode(&segments.count, out);
    ints::encode(&segments.changes, out);
    let own = |column: &[f64], out: &mut Vec<u8>| {
        out.push(COLUMN_OWN);
        let mut bytes = Vec::new();
        encode_values(column, &mut bytes);
        put_unsigned(out, bytes.len() as u64);
        out.extend_from_slice(&bytes);
    };
    own(&segments.first, out);
    for column in [&segments.last, &segments.min, &segments.max, &segments.sum] {
        if same(column, &segments.first) {
            out.push(COLUMN_FIRST);
        } else if same(column, &segments.last) && !std::ptr::eq(column, &segments.last) {
            out.push(COLUMN_LAST);
        } else {
            own(column, out);
        }
    }
    let samples: i64 = segments.count.iter().sum();
    let falls = segments.falls.len();
    if segments.falls_unknown || falls as i64 * SAMPLES_PER_FALL > samples || falls > super::MAX_CHUNK_SAMPLES
    {
        out[1] |= FALLS_UNKNOWN;
        return;
    }
    put_unsigned(out, segments.falls.len() as u64);
    if !segments.falls.is_empty() {
        let at: Vec<i64> = segments.falls.iter().map(|(at, _)| *at as i64).collect();
        let values: Vec<f64> = segments.falls.iter().map(|(_, value)| *value).collect();
        ints::encode(&at, out);
        own(&values, out);
    }
}

fn same(a: &[f64], b: &[f64]) -> bool {
    a.iter().map(|value| value.to_bits()).eq(b.iter().map(|value| value.to_bits()))
}

/// The buckets of a row; `start_ms` and `width_ms` as when it was encoded.
pub(crate) fn decode_rollup(bytes: &[u8], start_ms: i64, width_ms: i64) -> Result<Segments, Corrupt> {
    decode_rollup_body(checked(bytes)?, start_ms, width_ms)
}

/// As [`decode_rollup`] for what stands before the checksum.
pub(crate) fn decode_rollup_body(bytes: &[u8], start_ms: i64, width_ms: i64) -> Result<Segments, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != LAYOUT {
        return Err(Corrupt("row of a rollup has an unknown layout"));
    }
    let flags = reader.byte()?;
    let count = reader.unsigned()? as usize;
    if count > MAX_BUCKETS || flags & !FALLS_UNKNOWN != 0 {
        return Err(Corrupt("number of buckets or flags are out of range"));
    }
    let mut segments = Segments { falls_unknown: flags & FALLS_UNKNOWN != 0, ..Segments::default() };
    if count == 0 {
        return Ok(segments);
    }
    ints::decode(&mut reader, count, &mut segments.end_ms)?;
    for bucket in &mut segments.end_ms {
        let end_ms = bucket.checked_mul(width_ms).and_then(|distance| start_ms.checked_add(distance));
        *bucket = end_ms.ok_or(Corrupt("a bucket is out of range"))?;
    }
    if !segments.end_ms.is_sorted_by(|a, b| a < b) {
        return Err(Corrupt("buckets do not ascend"));
    }
    for column in [&mut segments.first_ms, &mut segments.last_ms] {
        ints::decode(&mut reader, count, column)?;
        for (t_ms, end_ms) in column.iter_mut().zip(&segments.end_ms) {
            *t_ms = end_ms.wrapping_sub(*t_ms);
        }
    }
    ints::decode(&mut reader, count, &mut segments.count)?;
    ints::decode(&mut reader, count, &mut segments.changes)?;
    segments.first = own_column(&mut reader, count)?;
    segments.last = column(&mut reader, count, &segments)?;
    segments.min = column(&mut reader, count, &segments)?;
    segments.max = column(&mut reader, count, &segments)?;
    segments.sum = column(&mut reader, count, &segments)?;
    if !segments.falls_unknown {
        decode_falls(&mut reader, &mut segments)?;
    }
    Ok(segments)
}

fn decode_falls(reader: &mut Reader, segments: &mut Segments) -> Result<(), Corrupt> {
    let number = reader.unsigned()? as usize;
    if number == 0 {
        return Ok(());
    }
    if number > super::MAX_CHUNK_SAMPLES {
        return Err(Corrupt("too many falls"));
    }
    let mut at = Vec::new();
    ints::decode(reader, number, &mut at)?;
    let values = own_column(reader, number)?;
    let within = at.iter().all(|at| usize::try_from(*at).is_ok_and(|at| at < segments.len()));
    if !within || !at.is_sorted() {
        return Err(Corrupt("a fall lies outside of its row"));
    }
    segments.falls = at.into_iter().map(|at| at as usize).zip(values).collect();
    Ok(())
}

fn own_column(reader: &mut Reader, count: usize) -> Result<Vec<f64>, Corrupt> {
    match reader.byte()? {
        COLUMN_OWN => values(reader, count),
        _ => Err(Corrupt("unknown kind of column")),
    }
}

fn column(reader: &mut Reader, count: usize, segments: &Segments) -> Result<Vec<f64>, Corrupt> {
    match reader.byte()? {
        COLUMN_OWN => values(reader, count),
        COLUMN_FIRST => Ok(segments.first.clone()),
        COLUMN_LAST if segments.last.len() == count => Ok(segments.last.clone()),
        _ => Err(Corrupt("unknown kind of column")),
    }
}

fn values(reader: &mut Reader, count: usize) -> Result<Vec<f64>, Corrupt> {
    let len = usize::try_from(reader.unsigned()?).map_err(|_| Corrupt("a column is too long"))?;
    let mut reader = Reader::new(reader.bytes(len)?);
    let mut values = Vec::with_capacity(count);
    decode_values(&mut reader, count, &mut values)?;
    if values.len() != count {
        return Err(Corrupt("number of values is wrong"));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::select::Points;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rows_come_back_as_they_were(
            samples in prop::collection::btree_map(-300_000i64..7_200_000, prop_oneof![
                (0u32..50).prop_map(f64::from), (0u32..9000).prop_map(|v| f64::from(v) / 100.0),
                Just(f64::NAN), Just(f64::INFINITY), Just(-0.0)
            ], 0..200),
            width in prop::sample::select(vec![300_000i64, 3_600_000]),
        ) {
            let (timestamps, values) = samples.into_iter().unzip();
            let mut segments = Segments::default();
            segments.push_samples(&Points { timestamps, values }, width);
            let bytes = encode_rollup(&segments, 0, width);
            let mut have = decode_rollup(&bytes, 0, width).unwrap();
            if have.falls_unknown {
                prop_assert!(segments.falls.len() as i64 * SAMPLES_PER_FALL > segments.count.iter().sum());
                (have.falls_unknown, have.falls) = (false, segments.falls.clone());
            }
            prop_assert_eq!(format!("{have:?}"), format!("{segments:?}"));
            for cut in 0..bytes.len() {
                prop_assert!(decode_rollup(&bytes[..cut], 0, width).is_err());
            }
        }

        #[test]
        fn bytes_that_are_no_row_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sum = checksum(&bytes);
            bytes.extend_from_slice(&sum);
            let _ = decode_rollup(&bytes, 0, 300_000);
            bytes.insert(0, LAYOUT);
            let end = bytes.len() - sum.len();
            let sum = checksum(&bytes[..end]);
            bytes[end..].copy_from_slice(&sum);
            let _ = decode_rollup(&bytes, 0, 300_000);
        }
    }
}
