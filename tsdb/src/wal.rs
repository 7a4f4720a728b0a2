//! Records of the write-ahead log: what one sync acknowledges.

mod commit;

use binnacle_proto::Labels;
use twox_hash::XxHash3_64;
use zstd::bulk::Decompressor;

pub(crate) use commit::{Committer, Group, Pending};

use crate::codec::{Corrupt, Reader, put_signed, put_unsigned};
use crate::store::SeriesId;

/// First byte of a record.
const LAYOUT: u8 = 1;
/// Bytes before the compressed body: layout and checksum.
const HEAD_BYTES: usize = 9;
/// The fastest level that still halves a record.
const ZSTD_LEVEL: i32 = 1;
/// Most bytes of a record unpacked; the committer starts a new record long before.
const MAX_BODY_BYTES: usize = 256 << 20;

/// A sample of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct WalSample {
    pub(crate) id: SeriesId,
    pub(crate) t_ms: i64,
    pub(crate) value: f64,
}

/// A decoded record.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// Labels of series that may not be in the store yet.
    pub(crate) definitions: Vec<(SeriesId, Labels)>,
    /// Samples in the order in which they are applied.
    pub(crate) samples: Vec<WalSample>,
}

/// Encodes definitions and samples of several batches as one record.
pub(crate) fn encode_record<'a>(
    definitions: impl Iterator<Item = &'a (SeriesId, Labels)>,
    samples: impl Iterator<Item = &'a WalSample> + Clone,
) -> std::io::Result<Vec<u8>> {
    let packed = zstd::bulk::compress(&encode_body(definitions, samples), ZSTD_LEVEL)?;
    let mut record = Vec::with_capacity(HEAD_BYTES + packed.len());
    record.push(LAYOUT);
    record.extend_from_slice(&XxHash3_64::oneshot(&packed).to_le_bytes());
    record.extend_from_slice(&packed);
    Ok(record)
}

/// What a record holds, before compression.
pub(crate) fn encode_body<'a>(
    definitions: impl Iterator<Item = &'a (SeriesId, Labels)>,
    samples: impl Iterator<Item = &'a WalSample> + Clone,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 << 10);
    let mut defined = Vec::new();
    let mut number = 0u64;
    for (id, labels) in definitions {
        put_unsigned(&mut defined, u64::from(*id));
        put_labels(&mut defined, labels);
        number += 1;
    }
    put_unsigned(&mut body, number);
    body.extend_from_slice(&defined);
    put_unsigned(&mut body, samples.clone().count() as u64);
    let (mut id, mut t_ms) = (0i64, 0i64);
    for sample in samples.clone() {
        put_signed(&mut body, i64::from(sample.id) - id);
        id = i64::from(sample.id);
    }
    for sample in samples.clone() {
        put_signed(&mut body, sample.t_ms.wrapping_sub(t_ms));
        t_ms = sample.t_ms;
    }
    for sample in samples {
        body.extend_from_slice(&sample.value.to_bits().to_le_bytes());
    }
    body
}

/// Decodes a record.
pub(crate) fn decode_record(record: &[u8]) -> Result<Record, Corrupt> {
    let mut decoded = Record::default();
    Decoder::default().decode(record, &mut decoded)?;
    Ok(decoded)
}

/// Decodes records one after the other, with the memory of those before: fresh pages cost more than the
/// decoding.
#[derive(Default)]
pub(crate) struct Decoder {
    body: Vec<u8>,
}

impl Decoder {
    /// Decodes one in place of what `into` had.
    pub(crate) fn decode(&mut self, record: &[u8], into: &mut Record) -> Result<(), Corrupt> {
        let mut reader = Reader::new(record);
        if reader.byte()? != LAYOUT {
            return Err(Corrupt("record has an unknown layout"));
        }
        let sum = reader.fixed()?;
        let packed = reader.bytes(reader.len())?;
        if XxHash3_64::oneshot(packed) != sum {
            return Err(Corrupt("checksum of a record does not match"));
        }
        let unusable = Corrupt("record cannot be decompressed");
        self.body.clear();
        // Of this only the pages that are written to are ever there.
        self.body.reserve(MAX_BODY_BYTES);
        let mut zstd = Decompressor::new().map_err(|_| unusable)?;
        zstd.decompress_to_buffer(packed, &mut self.body).map_err(|_| unusable)?;
        decode_body(&self.body, into)
    }
}

/// The inverse of [`encode_body`], in place of what `record` had.
pub(crate) fn decode_body(body: &[u8], record: &mut Record) -> Result<(), Corrupt> {
    let mut reader = Reader::new(body);
    record.definitions.clear();
    record.samples.clear();
    for _ in 0..reader.unsigned()? {
        let id = series_id(reader.unsigned()? as i64)?;
        record.definitions.push((id, take_labels(&mut reader)?));
    }
    let count = reader.unsigned()? as usize;
    // Ten bytes is the least that a sample takes.
    if count > reader.len() / 10 {
        return Err(Corrupt("record has fewer samples than it says"));
    }
    record.samples.resize(count, WalSample { id: 0, t_ms: 0, value: 0.0 });
    let (mut id, mut t_ms) = (0i64, 0i64);
    for sample in &mut record.samples {
        id = id.wrapping_add(reader.signed()?);
        sample.id = series_id(id)?;
    }
    for sample in &mut record.samples {
        t_ms = t_ms.wrapping_add(reader.signed()?);
        sample.t_ms = t_ms;
    }
    for sample in &mut record.samples {
        sample.value = f64::from_bits(reader.fixed()?);
    }
    Ok(())
}

fn series_id(id: i64) -> Result<SeriesId, Corrupt> {
    SeriesId::try_from(id).map_err(|_| Corrupt("id of a series is out of range"))
}

/// Appends a label set: number of labels, then length and bytes of each name and value.
pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_unsigned(out, labels.len() as u64);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        put_unsigned(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Takes a label set that [`put_labels`] wrote.
pub(crate) fn take_labels(reader: &mut Reader) -> Result<Labels, Corrupt> {
    let count = reader.unsigned()? as usize;
    if count > reader.len() {
        return Err(Corrupt("label set has fewer labels than it says"));
    }
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        pairs.push((take_text(reader)?, take_text(reader)?));
    }
    Labels::from_pairs(pairs).map_err(|_| Corrupt("label set is not valid"))
}

fn take_text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    let len = reader.unsigned()? as usize;
    std::str::from_utf8(reader.bytes(len)?).map_err(|_| Corrupt("a label is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels() -> impl Strategy<Value = Labels> {
        prop::collection::btree_map("[a-z]{1,5}", "[a-zé]{1,20}", 0..6)
            .prop_map(|pairs| Labels::from_pairs(pairs).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_record_gives_back_what_went_in(
            definitions in prop::collection::vec((any::<u32>(), labels()), 0..5),
            samples in prop::collection::vec((any::<u32>(), any::<i64>(), -1e9f64..1e9), 0..50),
        ) {
            let samples: Vec<_> =
                samples.into_iter().map(|(id, t_ms, value)| WalSample { id, t_ms, value }).collect();
            let bytes = encode_record(definitions.iter(), samples.iter()).unwrap();
            prop_assert_eq!(decode_record(&bytes).unwrap(), Record { definitions, samples });
        }

        #[test]
        fn bytes_of_any_kind_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_body(&bytes, &mut Record::default());
            prop_assert!(decode_record(&bytes).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let sample = WalSample { id: 1, t_ms: 2, value: 3.0 };
        let mut bytes = encode_record([].iter(), [sample].iter()).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(decode_record(&bytes), Err(Corrupt("checksum of a record does not match")));
    }
}
