//! Sealed blocks as bytes. `docs/format-logs.md` draws them.

use binnacle_proto::Labels;
use twox_hash::XxHash3_64;

use super::columns::{put_sets, take_sets};
use super::{Segment, put_varint, take_bytes, take_varint, unzigzag, zigzag};

/// First bytes of a block: its kind and the version of its layout.
const MAGIC: [u8; 4] = *b"BLG2";
/// Those of blocks whose metadata is not in columns.
const MAGIC_1: [u8; 4] = *b"BLG1";
/// Bytes of the fixed header.
const HEADER: usize = 48;
/// Bytes of the checksum at the end.
const CHECKSUM: usize = 8;
/// Most bytes that a column may claim to have when decompressed.
const MAX_COLUMN: usize = 64 << 20;

/// What a header says.
pub(crate) struct Header {
    /// Number of records.
    pub records: usize,
    /// Size of the lines, one line feed each included.
    pub line_bytes: usize,
    /// Compressed sizes of the columns times, lengths, metadata, lines.
    columns: [usize; 4],
    /// Whether metadata sets are in columns.
    by_label: bool,
}

/// Encodes a sorted, non-empty segment.
///
/// # Errors
/// When zstd fails.
pub(crate) fn seal(segment: &Segment, level: i32) -> std::io::Result<Vec<u8>> {
    assemble(MAGIC, segment, &metadata(segment), level)
}

/// As blocks were once written.
#[cfg(test)]
pub(crate) fn seal_1(segment: &Segment, level: i32) -> std::io::Result<Vec<u8>> {
    let mut metadata = Vec::new();
    put_varint(&mut metadata, segment.sets.len() as u64);
    if !segment.sets.is_empty() {
        segment.sets.iter().for_each(|set| put_labels(&mut metadata, set));
        for index in 0..segment.len() {
            put_varint(&mut metadata, u64::from(segment.set_ids.get(index).copied().unwrap_or_default()));
        }
    }
    assemble(MAGIC_1, segment, &metadata, level)
}

fn assemble(magic: [u8; 4], segment: &Segment, metadata: &[u8], level: i32) -> std::io::Result<Vec<u8>> {
    let (first, last) = (segment.times.first().copied(), segment.times.last().copied());
    let columns = [
        zstd::bulk::compress(&times(&segment.times), level)?,
        zstd::bulk::compress(&lengths(segment), level)?,
        zstd::bulk::compress(metadata, level)?,
        zstd::bulk::compress(&segment.lines, level)?,
    ];
    let mut out = Vec::with_capacity(HEADER + CHECKSUM + columns.iter().map(Vec::len).sum::<usize>());
    out.extend_from_slice(&magic);
    out.extend_from_slice(&(segment.len() as u32).to_le_bytes());
    out.extend_from_slice(&first.unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&last.unwrap_or_default().to_le_bytes());
    out.extend_from_slice(&(segment.lines.len() as u32).to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    for column in &columns {
        out.extend_from_slice(&(column.len() as u32).to_le_bytes());
    }
    for column in &columns {
        out.extend_from_slice(column);
    }
    let sum = XxHash3_64::oneshot(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// Reads the header of a block.
fn seal_header(bytes: &[u8]) -> Result<Header, &'static str> {
    let by_label = bytes.starts_with(&MAGIC);
    if bytes.len() < HEADER + CHECKSUM || !(by_label || bytes.starts_with(&MAGIC_1)) {
        return Err("not a log block");
    }
    let u32_at =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    let header = Header {
        records: u32_at(4),
        line_bytes: u32_at(24),
        columns: [u32_at(32), u32_at(36), u32_at(40), u32_at(44)],
        by_label,
    };
    if header.columns.iter().sum::<usize>() + HEADER + CHECKSUM != bytes.len() {
        return Err("its columns do not add up to its size");
    }
    if header.line_bytes > MAX_COLUMN || header.records > header.line_bytes {
        return Err("its sizes are impossible");
    }
    Ok(header)
}

/// A sealed block whose checksum was found right; columns are decoded on demand.
pub(crate) struct Sealed<'a> {
    /// Its header.
    pub header: Header,
    bytes: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Checks header and checksum.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn open(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let sealed = Self::unverified(bytes)?;
        let (body, sum) = bytes.split_at(bytes.len() - CHECKSUM);
        if XxHash3_64::oneshot(body).to_le_bytes() != sum {
            return Err("its checksum is wrong");
        }
        Ok(sealed)
    }

    /// Checks the header alone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn unverified(bytes: &'a [u8]) -> Result<Self, &'static str> {
        Ok(Self { header: seal_header(bytes)?, bytes })
    }

    fn column(&self, index: usize, capacity: usize) -> Result<Vec<u8>, &'static str> {
        let start = HEADER + self.header.columns[..index].iter().sum::<usize>();
        let bytes = &self.bytes[start..start + self.header.columns[index]];
        zstd::bulk::decompress(bytes, capacity).map_err(|_| "a column cannot be decompressed")
    }

    /// Decodes into a segment. Without `lines`, their text is left out (and `ends` are right all the
    /// same, so that lengths are known).
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(&self, lines: bool) -> Result<Segment, &'static str> {
        let records = self.header.records;
        let mut out = Segment::default();
        out.times = self.times()?;
        let lengths = self.column(1, records * 10)?;
        let mut rest = lengths.as_slice();
        let mut at = 0u64;
        out.ends.reserve_exact(records);
        for _ in 0..records {
            at += take_varint(&mut rest).ok_or("a length is missing")?;
            if at >= self.header.line_bytes as u64 {
                return Err("lengths exceed the lines");
            }
            out.ends.push(at as u32);
            at += 1;
        }
        if at != self.header.line_bytes as u64 {
            return Err("lengths do not add up to the lines");
        }
        self.metadata(&mut out)?;
        if lines {
            out.lines = self.column(3, self.header.line_bytes)?;
            if out.lines.len() != self.header.line_bytes {
                return Err("lines are missing");
            }
        }
        Ok(out)
    }

    /// The times alone.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn times(&self) -> Result<Vec<i64>, &'static str> {
        let records = self.header.records;
        let column = self.column(0, records * 10)?;
        let mut rest = column.as_slice();
        let mut times = Vec::with_capacity(records);
        let (mut time, mut delta) = (0i64, 0i64);
        for _ in 0..records {
            let change = unzigzag(take_varint(&mut rest).ok_or("a time is missing")?);
            delta = delta.wrapping_add(change);
            time = time.wrapping_add(delta);
            times.push(time);
        }
        Ok(times)
    }

    fn metadata(&self, out: &mut Segment) -> Result<(), &'static str> {
        const SHORT: &str = "metadata is cut short";
        let column = self.column(2, MAX_COLUMN)?;
        let mut rest = column.as_slice();
        let sets = take_varint(&mut rest).ok_or(SHORT)?;
        if sets == 0 {
            return Ok(());
        }
        // Every set belongs to a record, so no more memory is asked for than times took.
        let count = usize::try_from(sets).ok().filter(|sets| *sets <= self.header.records);
        let count = count.ok_or("there are more metadata sets than records")?;
        let by_label = self.header.by_label;
        let found = if by_label {
            take_sets(&mut rest, count)
        } else {
            (0..count).map(|_| take_labels(&mut rest)).collect()
        };
        out.sets = found.ok_or("metadata is not label sets")?;
        out.set_bytes = out.sets.iter().map(|set| set.byte_len() + 16).sum();
        let mut before = 0i64;
        for _ in 0..self.header.records {
            let number = take_varint(&mut rest).ok_or(SHORT)?;
            let id = if by_label { before.wrapping_add(unzigzag(number)) } else { number as i64 };
            before = id;
            let id = u32::try_from(id).ok().filter(|id| u64::from(*id) <= sets);
            out.set_ids.push(id.ok_or("metadata names a set that is not there")?);
        }
        Ok(())
    }
}

fn times(times: &[i64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(times.len() * 3);
    let (mut last, mut last_delta) = (0i64, 0i64);
    for &time in times {
        let delta = time.wrapping_sub(last);
        put_varint(&mut out, zigzag(delta.wrapping_sub(last_delta)));
        (last, last_delta) = (time, delta);
    }
    out
}

fn lengths(segment: &Segment) -> Vec<u8> {
    let mut out = Vec::with_capacity(segment.len() * 2);
    let mut start = 0;
    for &end in &segment.ends {
        put_varint(&mut out, u64::from(end - start));
        start = end + 1;
    }
    out
}

fn metadata(segment: &Segment) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, segment.sets.len() as u64);
    if segment.sets.is_empty() {
        return out;
    }
    put_sets(&mut out, &segment.sets);
    let mut before = 0i64;
    for index in 0..segment.len() {
        let id = i64::from(segment.set_ids.get(index).copied().unwrap_or_default());
        put_varint(&mut out, zigzag(id - before));
        before = id;
    }
    out
}

/// Appends a label set: number of labels, then each name and value with its length.
pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_varint(out, labels.len() as u64);
    for (name, value) in labels.iter() {
        for text in [name, value] {
            put_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Takes a label set off the front of `bytes`.
pub(crate) fn take_labels(bytes: &mut &[u8]) -> Option<Labels> {
    let count = take_varint(bytes)?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let mut text = || {
            let len = take_varint(bytes)?;
            std::str::from_utf8(take_bytes(bytes, len)?).ok()
        };
        pairs.push((text()?, text()?));
    }
    Labels::from_pairs(pairs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(records: &[(i64, Vec<u8>, bool)]) -> Segment {
        let set = Labels::from_pairs([("a", "1"), ("b", "é")]).unwrap();
        let mut out = Segment::default();
        for (time, line, with) in records {
            out.push(*time, line, with.then_some(&set));
        }
        out.sorted()
    }

    proptest! {
        #[test]
        fn what_is_sealed_comes_back(
            records in prop::collection::vec((any::<i64>(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..200)
        ) {
            let before = segment(&records);
            for bytes in [seal(&before, 3).unwrap(), seal_1(&before, 3).unwrap()] {
                let after = Sealed::open(&bytes).unwrap().decode(true).unwrap();
                prop_assert_eq!(&after.times, &before.times);
                prop_assert_eq!(&after.ends, &before.ends);
                prop_assert_eq!(&after.lines, &before.lines);
                for i in 0..before.len() {
                    prop_assert_eq!(after.metadata(i), before.metadata(i));
                }
            }
        }

        #[test]
        fn damage_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = seal(&segment(&[(1, b"hello".to_vec(), true), (9, b"world".to_vec(), false)]), 3).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Sealed::open(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Sealed::open(&bytes).is_err());
        }
    }
}
