//! Sets of series as bytes, and their union inside of RocksDB, so that adding to one needs no read.

use roaring::RoaringBitmap;
use rocksdb::MergeOperands;

/// A set in Roaring's portable format.
pub(crate) fn to_bytes(set: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(set.serialized_size());
    // Writing to a Vec cannot fail.
    let _ = set.serialize_into(&mut bytes);
    bytes
}

/// The set, or `None` when the bytes are damaged.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<RoaringBitmap> {
    RoaringBitmap::deserialize_from(bytes).ok()
}

/// RocksDB's merge: the union of what is there and all operands. A damaged operand is left out and
/// logged: its series stay reachable through their chunks' other labels.
pub(super) fn union(key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let mut all = RoaringBitmap::new();
    for bytes in existing.into_iter().chain(operands.iter()) {
        match from_bytes(bytes) {
            Some(set) => all |= set,
            None => tracing::error!(key = ?key, "a posting is damaged and left out"),
        }
    }
    Some(to_bytes(&all))
}
