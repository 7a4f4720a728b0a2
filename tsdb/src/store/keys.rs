//! Keys: big-endian, day first, so that a day is a range. `docs/format.md` draws them.

use super::SeriesId;
use crate::day::Day;

/// In `series`: labels by id.
const BY_ID: u8 = 0;
/// In `series`: id by hash of the labels.
const BY_HASH: u8 = 1;
/// Bytes of a day.
pub(super) const DAY_BYTES: usize = 4;
/// Bytes of a chunk's key.
pub(super) const CHUNK_BYTES: usize = 24;

/// A day so that earlier ones, also those before the epoch, sort first.
pub(super) fn day(day: Day) -> [u8; DAY_BYTES] {
    ((day.0 as u32) ^ (1 << 31)).to_be_bytes()
}

pub(super) fn parse_day(key: &[u8]) -> Option<Day> {
    let bytes = key.first_chunk::<DAY_BYTES>()?;
    Some(Day((u32::from_be_bytes(*bytes) ^ (1 << 31)) as i32))
}

pub(super) fn wal(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

pub(super) fn parse_wal(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn series(on: Day, id: SeriesId) -> Vec<u8> {
    [day(on).as_slice(), &[BY_ID], &id.to_be_bytes()].concat()
}

pub(super) fn series_hash(on: Day, hash: u64) -> Vec<u8> {
    [day(on).as_slice(), &[BY_HASH], &hash.to_be_bytes()].concat()
}

/// `name` and `value` empty: all series of the day.
pub(super) fn posting(on: Day, name: &str, value: &str) -> Vec<u8> {
    let mut key = posting_name(on, name);
    key.extend_from_slice(value.as_bytes());
    key
}

/// What all postings of a name start with. The length first, so that no name is a prefix of another.
pub(super) fn posting_name(on: Day, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(DAY_BYTES + 2 + name.len() + 32);
    key.extend_from_slice(&day(on));
    key.extend_from_slice(&(name.len() as u16).to_be_bytes());
    key.extend_from_slice(name.as_bytes());
    key
}

/// Name and value of a posting's key.
pub(super) fn parse_posting(key: &[u8]) -> Option<(&str, &str)> {
    let (len, rest) = key.get(DAY_BYTES..)?.split_first_chunk::<2>()?;
    let (name, value) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}

pub(super) fn chunk(on: Day, id: SeriesId, t0_ms: i64, generation: u64) -> [u8; CHUNK_BYTES] {
    let mut key = [0; CHUNK_BYTES];
    key[..4].copy_from_slice(&day(on));
    key[4..8].copy_from_slice(&id.to_be_bytes());
    key[8..16].copy_from_slice(&((t0_ms as u64) ^ (1 << 63)).to_be_bytes());
    key[16..].copy_from_slice(&generation.to_be_bytes());
    key
}

/// What all chunks of a series on a day start with; the key of a rollup's row.
pub(super) fn chunk_series(on: Day, id: SeriesId) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&day(on));
    key[4..].copy_from_slice(&id.to_be_bytes());
    key
}

/// Series of a rollup's key.
pub(super) fn parse_chunk_series(key: &[u8]) -> Option<SeriesId> {
    key.get(DAY_BYTES..)?.try_into().ok().map(u32::from_be_bytes)
}

/// Series, first timestamp and generation of a chunk's key.
pub(super) fn parse_chunk(key: &[u8]) -> Option<(SeriesId, i64, u64)> {
    let key: &[u8; CHUNK_BYTES] = key.try_into().ok()?;
    let id = u32::from_be_bytes(*key[4..].first_chunk()?);
    let t0 = u64::from_be_bytes(*key[8..].first_chunk()?) ^ (1 << 63);
    let generation = u64::from_be_bytes(*key[16..].first_chunk()?);
    Some((id, t0 as i64, generation))
}

/// The first key after all that start with `prefix`.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_day_series_time_also_before_the_epoch() {
        let keys = [
            chunk(Day(-2), 7, -200_000_000, 1),
            chunk(Day(-1), 1, -1, 1),
            chunk(Day(0), 1, 0, 1),
            chunk(Day(0), 1, 0, 2),
            chunk(Day(0), 1, 5, 1),
            chunk(Day(0), 2, 0, 1),
            chunk(Day(300), 0, 5, 1),
        ];
        assert!(keys.is_sorted());
        assert_eq!(parse_chunk(&keys[0]), Some((7, -200_000_000, 1)));
        assert_eq!(parse_day(&keys[1]), Some(Day(-1)));
    }

    #[test]
    fn names_and_values_come_back_from_a_posting_key() {
        let key = posting(Day(3), "po", "d=1");
        assert_eq!(parse_posting(&key), Some(("po", "d=1")));
        assert!(key.starts_with(&posting_name(Day(3), "po")));
        assert!(!key.starts_with(&posting_name(Day(3), "p")));
        assert_eq!(after(&[1, 255, 255]), vec![2]);
    }
}
