//! Remote read: requests decoded, series encoded.
//!
//! ```text
//! ReadRequest  { repeated Query queries = 1; repeated ResponseType accepted_response_types = 2 }
//! Query        { int64 start_timestamp_ms = 1; int64 end_timestamp_ms = 2; repeated LabelMatcher matchers = 3 }
//! LabelMatcher { type = 1 (0 =, 1 !=, 2 =~, 3 !~); string name = 2; string value = 3 }
//! ReadResponse { repeated QueryResult results = 1 }      QueryResult { repeated TimeSeries timeseries = 1 }
//! ChunkedReadResponse { repeated ChunkedSeries chunked_series = 1; int64 query_index = 2 }
//! ChunkedSeries { repeated Label labels = 1; repeated Chunk chunks = 2 }
//! Chunk        { int64 min_time_ms = 1; int64 max_time_ms = 2; type = 3 (1 XOR); bytes data = 4 }
//! ```

use binnacle_proto::Labels;

use super::wire::{Reader, WireError, put};
use super::xor;
use crate::Error;
use crate::select::{Guard, Hints, MatchTest, Matcher, Points, Select, Source};

/// Queries of one request, at most.
const MAX_QUERIES: usize = 100;

/// A request.
#[derive(Debug, Default)]
pub(crate) struct ReadRequest {
    queries: Vec<Select>,
    /// Whether the client takes a stream of chunks.
    pub(crate) wants_chunks: bool,
}

impl ReadRequest {
    /// Decodes the body, after decompression.
    pub(crate) fn decode(message: &[u8]) -> Result<Self, Error> {
        let wrong =
            |error: WireError| Error::BadInput(format!("the body is not a prometheus.ReadRequest: {error}"));
        let mut request = Self::default();
        let mut first_type = None;
        let mut reader = Reader::new(message);
        while let Some((field, content)) = reader.next().map_err(wrong)? {
            match (field, content) {
                (1, content) => {
                    let message = content.bytes("ReadRequest", 1).map_err(wrong)?;
                    request.queries.push(query(message).map_err(wrong)??);
                }
                // One number, or packed.
                (2, super::wire::Content::Varint(kind)) => {
                    first_type.get_or_insert(kind);
                }
                (2, super::wire::Content::Bytes([kind, ..])) => {
                    first_type.get_or_insert(u64::from(*kind));
                }
                _ => {}
            }
        }
        if request.queries.len() > MAX_QUERIES {
            return Err(Error::BadInput(format!(
                "{} queries; {MAX_QUERIES} are allowed",
                request.queries.len()
            )));
        }
        request.wants_chunks = first_type == Some(1);
        Ok(request)
    }

    /// All samples in one `ReadResponse`.
    pub(crate) fn samples(&self, source: &dyn Source, guard: &Guard) -> Result<Vec<u8>, Error> {
        let mut response = Vec::new();
        for select in &self.queries {
            let mut result = Vec::new();
            each_series(source, select, guard, |labels, points| {
                let mut series = labels_field(labels);
                for (t_ms, value) in points.timestamps.iter().zip(&points.values) {
                    let mut sample = Vec::with_capacity(20);
                    put::double(&mut sample, 1, *value);
                    put::number(&mut sample, 2, *t_ms as u64);
                    put::bytes(&mut series, 2, &sample);
                }
                guard.charge_bytes(series.len() as u64)?;
                put::bytes(&mut result, 1, &series);
                Ok(true)
            })?;
            put::bytes(&mut response, 1, &result);
        }
        Ok(response)
    }

    /// One frame of the stream a series, handed to `send`; `false` from it ends the work.
    pub(crate) fn chunks(
        &self,
        source: &dyn Source,
        guard: &Guard,
        mut send: impl FnMut(Vec<u8>) -> bool,
    ) -> Result<(), Error> {
        for (index, select) in self.queries.iter().enumerate() {
            each_series(source, select, guard, |labels, points| {
                let mut series = labels_field(labels);
                let columns =
                    points.timestamps.chunks(xor::MAX_SAMPLES).zip(points.values.chunks(xor::MAX_SAMPLES));
                for (timestamps, values) in columns {
                    let mut chunk = Vec::new();
                    put::number(&mut chunk, 1, timestamps.first().copied().unwrap_or_default() as u64);
                    put::number(&mut chunk, 2, timestamps.last().copied().unwrap_or_default() as u64);
                    put::number(&mut chunk, 3, 1);
                    put::bytes(&mut chunk, 4, &xor::encode(timestamps, values));
                    put::bytes(&mut series, 2, &chunk);
                }
                let mut message = Vec::with_capacity(series.len() + 16);
                put::bytes(&mut message, 1, &series);
                put::number(&mut message, 2, index as u64);
                let mut frame = Vec::with_capacity(message.len() + 16);
                put::varint(&mut frame, message.len() as u64);
                frame.extend_from_slice(&xor::crc32c(&message).to_be_bytes());
                frame.extend_from_slice(&message);
                Ok(send(frame))
            })?;
        }
        Ok(())
    }
}

fn query(message: &[u8]) -> Result<Result<Select, Error>, WireError> {
    let mut select = Select { matchers: Vec::new(), start_ms: 0, end_ms: 0, hints: Hints::default() };
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => select.start_ms = content.varint("Query", 1)? as i64,
            2 => select.end_ms = content.varint("Query", 2)? as i64,
            3 => match matcher(content.bytes("Query", 3)?)? {
                Ok(matcher) => select.matchers.push(matcher),
                Err(error) => return Ok(Err(error)),
            },
            _ => {}
        }
    }
    Ok(Ok(select))
}

fn matcher(message: &[u8]) -> Result<Result<Matcher, Error>, WireError> {
    let (mut kind, mut name, mut value) = (0, "", "");
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match field {
            1 => kind = content.varint("LabelMatcher", 1)?,
            2 => name = content.text("a label name", 2)?,
            3 => value = content.text("a label value", 3)?,
            _ => {}
        }
    }
    let regex =
        || Matcher::anchored(value).map_err(|error| Error::BadInput(format!("regex {value:?}: {error}")));
    let test = match kind {
        0 => Ok(MatchTest::Equal(value.to_owned())),
        1 => Ok(MatchTest::NotEqual(value.to_owned())),
        2 => regex().map(MatchTest::Regex),
        3 => regex().map(MatchTest::NotRegex),
        other => Err(Error::BadInput(format!("matcher type {other}; allowed are 0 to 3"))),
    };
    Ok(test.map(|test| Matcher { name: name.to_owned(), test }))
}

/// Series in the order of their labels, which clients that merge rely on.
fn each_series(
    source: &dyn Source,
    select: &Select,
    guard: &Guard,
    mut then: impl FnMut(&Labels, &Points) -> Result<bool, Error>,
) -> Result<(), Error> {
    let selected = source.select(select, guard)?;
    let mut order: Vec<usize> = (0..selected.series.len()).collect();
    order.sort_by(|a, b| selected.series[*a].cmp(&selected.series[*b]));
    let mut points = Points::default();
    for at in order {
        guard.check()?;
        points.clear();
        selected.reader.read(at, guard, &mut points)?;
        if !points.is_empty() && !then(&selected.series[at], &points)? {
            break;
        }
    }
    Ok(())
}

fn labels_field(labels: &Labels) -> Vec<u8> {
    let mut series = Vec::with_capacity(256);
    for (name, value) in labels.iter() {
        let mut label = Vec::with_capacity(name.len() + value.len() + 8);
        put::bytes(&mut label, 1, name.as_bytes());
        put::bytes(&mut label, 2, value.as_bytes());
        put::bytes(&mut series, 1, &label);
    }
    series
}
