//! Records of one stream as columns in memory: what an open block is made of and what a sealed block
//! is decoded to.

use binnacle_proto::Labels;
use hashbrown::HashMap;
use twox_hash::XxHash3_64;

/// What one record costs beside its line, in bytes, for budgets.
const RECORD_OVERHEAD: usize = 16;

/// Columns of records. Lines stand one after the other, each followed by a line feed, so that a
/// search may run over the whole buffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    /// Nanoseconds since the epoch.
    pub times: Vec<i64>,
    /// Where each line ends in `lines` (the line feed stands there).
    pub ends: Vec<u32>,
    /// All lines.
    pub lines: Vec<u8>,
    /// Metadata sets that occur.
    pub sets: Vec<Labels>,
    /// For each record 0 (no metadata) or one more than the index of its set. Empty when no record
    /// has metadata.
    pub set_ids: Vec<u32>,
    /// Finds a set while records are added.
    lookup: HashMap<Labels, u32>,
    /// Size of all sets in bytes.
    pub set_bytes: usize,
}

impl Segment {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Size for budgets, in bytes.
    pub fn cost(&self) -> usize {
        self.lines.len() + self.times.len() * RECORD_OVERHEAD + self.set_bytes * 2
    }

    /// Where line `index` stands in `lines`.
    #[inline]
    pub fn span(&self, index: usize) -> (usize, usize) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize + 1 };
        (start, self.ends[index] as usize)
    }

    /// Line `index`.
    #[inline]
    pub fn line(&self, index: usize) -> &[u8] {
        let (start, end) = self.span(index);
        &self.lines[start..end]
    }

    /// Metadata of record `index`.
    #[inline]
    pub fn metadata(&self, index: usize) -> Option<&Labels> {
        let id = *self.set_ids.get(index)?;
        self.sets.get((id as usize).checked_sub(1)?)
    }

    /// Appends one record.
    pub fn push(&mut self, time_ns: i64, line: &[u8], metadata: Option<&Labels>) {
        self.times.push(time_ns);
        self.lines.extend_from_slice(line);
        self.ends.push(self.lines.len() as u32);
        self.lines.push(b'\n');
        match metadata {
            Some(set) if !set.is_empty() => {
                self.set_ids.resize(self.times.len() - 1, 0);
                let id = self.intern(set);
                self.set_ids.push(id);
            }
            _ if !self.set_ids.is_empty() => self.set_ids.push(0),
            _ => {}
        }
    }

    fn intern(&mut self, set: &Labels) -> u32 {
        if let Some(id) = self.lookup.get(set) {
            return *id;
        }
        self.sets.push(set.clone());
        self.set_bytes += set.byte_len() + 16;
        let id = self.sets.len() as u32;
        self.lookup.insert(set.clone(), id);
        id
    }

    /// Appends all records of `other`.
    pub fn extend(&mut self, other: &Self) {
        if !self.set_ids.is_empty() || !other.set_ids.is_empty() {
            (0..other.len()).for_each(|index| self.push_from(other, index));
            return;
        }
        let shift = self.lines.len() as u32;
        self.times.extend_from_slice(&other.times);
        self.lines.extend_from_slice(&other.lines);
        self.ends.extend(other.ends.iter().map(|end| end + shift));
    }

    /// Appends record `index` of `other`.
    pub fn push_from(&mut self, other: &Self, index: usize) {
        self.push(other.times[index], other.line(index), other.metadata(index));
    }

    /// Gives back memory that more records would have needed.
    pub fn shrink(&mut self) {
        self.times.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.lines.shrink_to_fit();
        self.set_ids.shrink_to_fit();
        self.lookup = HashMap::new();
    }

    /// First and last time, whatever the order; `None` when there are no records.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        Some((*self.times.iter().min()?, *self.times.iter().max()?))
    }

    /// Whether times ascend (equal ones are fine).
    pub fn is_sorted(&self) -> bool {
        self.times.is_sorted()
    }

    /// The same records by time; those of one instant keep their order.
    pub fn sorted(&self) -> Self {
        let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
        order.sort_by_key(|&i| self.times[i as usize]);
        let mut out = Self::default();
        for index in order {
            out.push_from(self, index as usize);
        }
        out
    }

    /// What identifies record `index` among those of its stream.
    pub fn identity(&self, index: usize) -> u64 {
        identity(self.times[index], self.line(index), self.metadata(index))
    }
}

/// What identifies a record among those of its stream: a hash of time, line and metadata.
pub(crate) fn identity(time_ns: i64, line: &[u8], metadata: Option<&Labels>) -> u64 {
    let line = XxHash3_64::oneshot_with_seed(time_ns as u64, line);
    match metadata {
        Some(set) if !set.is_empty() => line ^ set.stable_hash().rotate_left(17),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_may_begin_late_and_is_shared() {
        let set = Labels::from_pairs([("trace", "1")]).unwrap();
        let mut segment = Segment::default();
        segment.push(1, b"a", None);
        segment.push(3, b"", Some(&set));
        segment.push(2, b"cc", Some(&set));
        segment.push(4, b"d", None);
        assert_eq!(segment.sets.len(), 1);
        assert_eq!(segment.metadata(0), None);
        assert_eq!(segment.metadata(2), Some(&set));
        assert_eq!(segment.metadata(3), None);
        let sorted = segment.sorted();
        assert_eq!(sorted.times, [1, 2, 3, 4]);
        assert_eq!((sorted.line(1), sorted.line(2)), (b"cc".as_slice(), b"".as_slice()));
        assert_eq!(sorted.metadata(1), Some(&set));
    }
}
