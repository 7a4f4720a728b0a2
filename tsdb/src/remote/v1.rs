//! Remote write 1.0: `prometheus.WriteRequest`.
//!
//! ```text
//! WriteRequest   { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3 }
//! TimeSeries     { repeated Label labels = 1; repeated Sample samples = 2;
//!                  repeated Exemplar exemplars = 3; repeated Histogram histograms = 4 }
//! Label          { string name = 1; string value = 2 }
//! Sample         { double value = 1; int64 timestamp = 2 }        timestamp in ms
//! Exemplar       { repeated Label labels = 1; double value = 2; int64 timestamp = 3 }
//! MetricMetadata { type = 1; string metric_family_name = 2; string help = 4; string unit = 5 }
//! ```

use std::borrow::Cow;

use binnacle_proto::Labels;

use super::MetricKind;
use super::intake::{Batch, DecodeError, Intake};
use super::wire::{Content, Reader, WireError};
use crate::exemplars::Exemplar;
use crate::{Sample, SeriesRef};

pub(super) fn decode(message: &[u8], intake: &Intake, batch: &mut Batch) -> Result<(), DecodeError> {
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => series(content.bytes("WriteRequest", 1)?, intake, batch)?,
            3 => metadata(content.bytes("WriteRequest", 3)?, intake)?,
            _ => {}
        }
    }
    Ok(())
}

fn series(message: &[u8], intake: &Intake, batch: &mut Batch) -> Result<(), DecodeError> {
    let first = batch.samples.len();
    // Every sender writes the labels first and together: the block is a slice of the message.
    let (mut labels_end, mut rest_begun, mut scattered) = (0, false, false);
    let mut exemplars = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 if rest_begun => scattered = true,
            1 => labels_end = reader.position(),
            2 => batch.push(sample(content.bytes("TimeSeries", 2)?)?)?,
            3 => exemplars.push(content.bytes("TimeSeries", 3)?),
            4 => batch.histograms += 1,
            _ => {}
        }
        rest_begun |= field != 1;
    }
    if batch.samples.len() == first && exemplars.is_empty() {
        return Ok(());
    }
    let block =
        if scattered { Cow::Owned(gathered(message)?) } else { Cow::Borrowed(&message[..labels_end]) };
    // Labels are costly to read, and those of a known series are not needed otherwise.
    if !exemplars.is_empty()
        && let Ok(series) = labels(&block)?
    {
        for one in exemplars {
            if let Some(exemplar) = exemplar(one)? {
                batch.exemplar(intake, &series, exemplar);
            }
        }
    }
    if batch.samples.len() == first {
        return Ok(());
    }
    let series = intake.series(&block, || labels(&block))?;
    batch.settle(first, series);
    Ok(())
}

/// An exemplar; `None` when its labels are no set.
fn exemplar(message: &[u8]) -> Result<Option<Exemplar>, WireError> {
    let (mut value, mut t_ms) = (0.0, 0);
    let mut pairs = Vec::new();
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => pairs.push(label(content.bytes("Exemplar", 1)?)?),
            2 => value = content.double("Exemplar", 2)?,
            3 => t_ms = content.varint("Exemplar", 3)? as i64,
            _ => {}
        }
    }
    Ok(Labels::from_pairs(pairs).ok().map(|labels| Exemplar { labels, value, t_ms }))
}

/// The label fields of a series that has them between others.
fn gathered(message: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut block = Vec::new();
    let mut reader = Reader::new(message);
    let mut from = 0;
    while let Some((field, _)) = reader.next()? {
        if field == 1 {
            block.extend_from_slice(&message[from..reader.position()]);
        }
        from = reader.position();
    }
    Ok(block)
}

/// Label fields of a series that may be looked into, in bytes: more than those of any series that can be
/// stored, of which an empty one is two bytes and thirty decoded.
const MAX_BLOCK_BYTES: usize = 4 * u16::MAX as usize;

fn labels(block: &[u8]) -> Result<Result<Labels, String>, WireError> {
    if block.len() > MAX_BLOCK_BYTES {
        let len = block.len();
        return Ok(Err(format!(
            "labels of a series take {len} bytes; no series may have more than {MAX_BLOCK_BYTES}"
        )));
    }
    let mut pairs = Vec::with_capacity(16);
    let mut reader = Reader::new(block);
    while let Some((_, content)) = reader.next()? {
        pairs.push(label(content.bytes("TimeSeries", 1)?)?);
    }
    Ok(Labels::from_pairs(pairs).map_err(|error| error.to_string()))
}

fn label(message: &[u8]) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => name = content.text("a label name", 1)?,
            2 => value = content.text("a label value", 2)?,
            _ => {}
        }
    }
    Ok((name, value))
}

#[inline]
pub(super) fn sample(message: &[u8]) -> Result<Sample, WireError> {
    let (mut value, mut t_ms) = (0.0, 0);
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match (field, content) {
            (1, Content::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Content::Varint(number)) => t_ms = number as i64,
            (1 | 2, _) => return Err(WireError::Type { message: "Sample", field }),
            _ => {}
        }
    }
    Ok(Sample { series: SeriesRef(0), t_ms, value })
}

fn metadata(message: &[u8], intake: &Intake) -> Result<(), WireError> {
    let (mut kind, mut name, mut help, mut unit) = (0, "", "", "");
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => kind = content.varint("MetricMetadata", 1)?,
            2 => name = content.text("a metric family's name", 2)?,
            4 => help = content.text("a help text", 4)?,
            5 => unit = content.text("a unit", 5)?,
            _ => {}
        }
    }
    if !name.is_empty() {
        intake.metadata(name, MetricKind::from_wire(kind), help, unit);
    }
    Ok(())
}
