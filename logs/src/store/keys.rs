//! Keys and fixed-size values of the index.

use crate::block::{put_varint, take_varint};

/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

/// Names a sealed block; orders by day, stream, time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockKey {
    /// Days since the epoch of the first record.
    pub day: i32,
    /// Stream.
    pub stream: u32,
    /// First time.
    pub min_ns: i64,
    /// Distinguishes blocks that begin at the same time: the last WAL sequence they hold.
    pub seq: u64,
}

impl BlockKey {
    /// Length of an encoded key.
    pub const LEN: usize = 24;

    /// The key of a block that begins at `min_ns`.
    pub fn new(stream: u32, min_ns: i64, seq: u64) -> Self {
        Self { day: min_ns.div_euclid(DAY_NS) as i32, stream, min_ns, seq }
    }

    /// Big-endian, signs flipped, so that bytes sort as values do.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..4].copy_from_slice(&((self.day as u32) ^ 0x8000_0000).to_be_bytes());
        out[4..8].copy_from_slice(&self.stream.to_be_bytes());
        out[8..16].copy_from_slice(&((self.min_ns as u64) ^ (1 << 63)).to_be_bytes());
        out[16..].copy_from_slice(&self.seq.to_be_bytes());
        out
    }

    /// The inverse of [`Self::encode`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let (day, rest) = bytes.split_first_chunk::<4>()?;
        let (stream, rest) = rest.split_first_chunk::<4>()?;
        let (min_ns, rest) = rest.split_first_chunk::<8>()?;
        let seq = rest.first_chunk::<8>()?;
        Some(Self {
            day: (u32::from_be_bytes(*day) ^ 0x8000_0000) as i32,
            stream: u32::from_be_bytes(*stream),
            min_ns: (u64::from_be_bytes(*min_ns) ^ (1 << 63)) as i64,
            seq: u64::from_be_bytes(*seq),
        })
    }
}

/// What the index knows of a sealed block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    /// Its key.
    pub key: BlockKey,
    /// Last time.
    pub max_ns: i64,
    /// Number of records.
    pub records: u32,
    /// Size of its lines, line feeds included.
    pub line_bytes: u32,
    /// Size as stored, filter included.
    pub stored_bytes: u32,
}

impl BlockMeta {
    /// The value stored under the key.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        put_varint(&mut out, (self.max_ns - self.key.min_ns) as u64);
        put_varint(&mut out, u64::from(self.records));
        put_varint(&mut out, u64::from(self.line_bytes));
        put_varint(&mut out, u64::from(self.stored_bytes));
        out
    }

    /// The inverse of [`Self::encode`].
    pub fn decode(key: &[u8], mut value: &[u8]) -> Option<Self> {
        let key = BlockKey::decode(key)?;
        let span = take_varint(&mut value)?;
        Some(Self {
            key,
            max_ns: key.min_ns.checked_add_unsigned(span)?,
            records: u32::try_from(take_varint(&mut value)?).ok()?,
            line_bytes: u32::try_from(take_varint(&mut value)?).ok()?,
            stored_bytes: u32::try_from(take_varint(&mut value)?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_values_and_come_back() {
        let keys = [
            BlockKey::new(1, -DAY_NS - 1, 3),
            BlockKey::new(1, -5, 3),
            BlockKey::new(0, 0, 1),
            BlockKey::new(1, 7, 1),
            BlockKey::new(1, 7, 2),
            BlockKey::new(0, DAY_NS, 0),
        ];
        assert!(keys.windows(2).all(|pair| pair[0].encode() < pair[1].encode()));
        assert!(keys.iter().all(|key| BlockKey::decode(&key.encode()) == Some(*key)));
    }
}
