//! Remote write 2.0: `io.prometheus.write.v2.Request`.
//!
//! ```text
//! Request    { repeated string symbols = 4; repeated TimeSeries timeseries = 5 }
//! TimeSeries { repeated uint32 labels_refs = 1; repeated Sample samples = 2; repeated Histogram histograms = 3;
//!              repeated Exemplar exemplars = 4; Metadata metadata = 5; int64 created_timestamp = 6 }
//! Sample     { double value = 1; int64 timestamp = 2; int64 start_timestamp = 3 }   timestamps in ms
//! Exemplar   { repeated uint32 labels_refs = 1; double value = 2; int64 timestamp = 3 }
//! Metadata   { type = 1; uint32 help_ref = 3; uint32 unit_ref = 4 }
//! ```

use binnacle_proto::Labels;

use super::MetricKind;
use super::intake::{Batch, DecodeError, Intake};
use super::v1::sample;
use super::wire::{Content, Reader, WireError, put};
use crate::exemplars::Exemplar;

/// Bytes that labels of a series may have at most, whatever the settings say: as in `Db::resolve`.
const MAX_LABELS_BYTES: usize = u16::MAX as usize;

/// References of a series: no label is shorter than a byte.
const MAX_REFS: usize = 2 * MAX_LABELS_BYTES;

pub(super) fn decode(message: &[u8], intake: &Intake, batch: &mut Batch) -> Result<(), DecodeError> {
    // The symbols may stand behind the series that use them. An empty one is two bytes.
    let mut count = 0;
    let mut reader = Reader::new(message);
    while let Some((field, _)) = reader.next()? {
        count += usize::from(field == 4);
    }
    batch.room.grow(count * size_of::<&str>()).map_err(DecodeError::Room)?;
    let mut symbols = Vec::with_capacity(count);
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        if field == 4 {
            symbols.push(content.text("a symbol", 4)?);
        }
    }
    let symbols = Symbols(symbols);
    let mut block = Vec::with_capacity(512);
    let mut refs = Vec::with_capacity(32);
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        if field == 5 {
            let message = content.bytes("Request", 5)?;
            series(message, &symbols, intake, batch, &mut refs, &mut block)?;
        }
    }
    Ok(())
}

struct Symbols<'a>(Vec<&'a str>);

impl<'a> Symbols<'a> {
    fn get(&self, index: u64) -> Result<&'a str, WireError> {
        let found = usize::try_from(index).ok().and_then(|index| self.0.get(index));
        found.copied().ok_or(WireError::Symbol { index, len: self.0.len() })
    }
}

fn series(
    message: &[u8],
    symbols: &Symbols<'_>,
    intake: &Intake,
    batch: &mut Batch,
    refs: &mut Vec<u64>,
    block: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    refs.clear();
    block.clear();
    let first = batch.samples.len();
    let mut metadata = None;
    let mut exemplars = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => push_refs(content, "TimeSeries", refs)?,
            2 => batch.push(sample(content.bytes("TimeSeries", 2)?)?)?,
            3 => batch.histograms += 1,
            4 => exemplars.push(content.bytes("TimeSeries", 4)?),
            5 => metadata = Some(content.bytes("TimeSeries", 5)?),
            _ => {}
        }
    }
    if let Err(reason) = check_len(refs, symbols)? {
        batch.settle(first, Err(reason));
        return Ok(());
    }
    // Told apart from a block of 1.0, which starts with a tag. The references change from request to request; the text they stand for is what is recognised.
    block.push(0);
    for reference in refs.iter() {
        let text = symbols.get(*reference)?;
        put::varint(block, text.len() as u64);
        block.extend_from_slice(text.as_bytes());
    }
    if let Some(metadata) = metadata {
        let name = refs.chunks_exact(2).find(|pair| symbols.get(pair[0]) == Ok("__name__"));
        if let Some(name) = name {
            keep_metadata(metadata, symbols.get(name[1])?, symbols, intake)?;
        }
    }
    if !exemplars.is_empty()
        && let Ok(series) = labels(refs, symbols)?
    {
        for one in exemplars {
            if let Some(exemplar) = exemplar(one, symbols)? {
                batch.exemplar(intake, &series, exemplar);
            }
        }
    }
    if batch.samples.len() == first {
        return Ok(());
    }
    let series = intake.series(block, || labels(refs, symbols))?;
    batch.settle(first, series);
    Ok(())
}

/// Adds references, packed or one by one, as many as a series can need.
fn push_refs(content: Content<'_>, message: &'static str, refs: &mut Vec<u64>) -> Result<(), WireError> {
    let mut push = |one| {
        if refs.len() <= MAX_REFS {
            refs.push(one);
        }
    };
    match content {
        Content::Varint(one) => push(one),
        Content::Bytes(packed) => {
            let mut packed = Reader::new(packed);
            while !packed.is_done() {
                push(packed.varint()?);
            }
        }
        Content::Fixed64(_) | Content::Fixed32(_) => return Err(WireError::Type { message, field: 1 }),
    }
    Ok(())
}

/// Whether labels are short enough to be put together. A symbol can be referred to any number of times:
/// what they come to must be known before the first is copied.
fn check_len(refs: &[u64], symbols: &Symbols<'_>) -> Result<Result<(), String>, WireError> {
    let mut bytes = 0usize;
    for reference in refs {
        bytes = bytes.saturating_add(symbols.get(*reference)?.len());
    }
    if refs.len() > MAX_REFS || bytes > MAX_LABELS_BYTES {
        return Ok(Err(format!(
            "labels of a series take {bytes} bytes in {} references; no series may have more than \
             {MAX_LABELS_BYTES} in {MAX_REFS}",
            refs.len()
        )));
    }
    Ok(Ok(()))
}

fn labels(refs: &[u64], symbols: &Symbols<'_>) -> Result<Result<Labels, String>, WireError> {
    if let Err(reason) = check_len(refs, symbols)? {
        return Ok(Err(reason));
    }
    if !refs.len().is_multiple_of(2) {
        return Ok(Err(format!("a series has {} label references, an odd number", refs.len())));
    }
    let mut pairs = Vec::with_capacity(refs.len() / 2);
    for pair in refs.chunks_exact(2) {
        pairs.push((symbols.get(pair[0])?, symbols.get(pair[1])?));
    }
    Ok(Labels::from_pairs(pairs).map_err(|error| error.to_string()))
}

/// An exemplar; `None` when its labels are no set.
fn exemplar(message: &[u8], symbols: &Symbols<'_>) -> Result<Option<Exemplar>, WireError> {
    let (mut value, mut t_ms) = (0.0, 0);
    let mut refs = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => push_refs(content, "Exemplar", &mut refs)?,
            2 => value = content.double("Exemplar", 2)?,
            3 => t_ms = content.varint("Exemplar", 3)? as i64,
            _ => {}
        }
    }
    Ok(labels(&refs, symbols)?.ok().map(|labels| Exemplar { labels, value, t_ms }))
}

fn keep_metadata(
    message: &[u8],
    name: &str,
    symbols: &Symbols<'_>,
    intake: &Intake,
) -> Result<(), WireError> {
    let (mut kind, mut help, mut unit) = (0, 0, 0);
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => kind = content.varint("Metadata", 1)?,
            3 => help = content.varint("Metadata", 3)?,
            4 => unit = content.varint("Metadata", 4)?,
            _ => {}
        }
    }
    let kind = MetricKind::from_wire(kind);
    let (help, unit) = (symbols.get(help)?, symbols.get(unit)?);
    // A histogram's or summary's family is its name without the suffix of the part.
    let family = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram | MetricKind::Summary => {
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
        }
        _ => name,
    };
    if kind != MetricKind::Unknown || !help.is_empty() || !unit.is_empty() {
        intake.metadata(family, kind, help, unit);
    }
    Ok(())
}
