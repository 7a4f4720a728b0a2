//! What a request takes in memory when it is decoded, told before it is: an empty message is two bytes in
//! a body and a hundred in memory.

use binnacle_proto::otlp::{AnyValue, KeyValue};

use super::message::{
    Exemplar, HistogramPoint, Metric, NumberPoint, Quantile, ResourceMetrics, ScopeMetrics, SummaryPoint,
};
use crate::Sample;
use crate::remote::wire::{Content, Reader, WireError};

/// Bytes for a sample, and for the place in a list that has grown by doubling.
const SAMPLE: usize = 2 * size_of::<Sample>();

/// Deepest nesting that is looked at: prost decodes no deeper.
const MAX_DEPTH: usize = 100;

/// Bytes of an object in JSON, about: values of attributes are smaller, metrics larger.
const JSON_OBJECT: usize = 128;

/// Bytes of an element of a list in JSON, while it is decoded.
const JSON_ELEMENT: usize = 32;

/// A message by what it holds.
#[derive(Clone, Copy)]
enum Kind {
    Request,
    ResourceMetrics,
    Resource,
    ScopeMetrics,
    Metric,
    Numbers,
    Histograms,
    Summaries,
    Number,
    Histogram,
    Summary,
    Exemplar,
    Quantile,
    Pair,
    Value,
    Array,
    Map,
}

/// Memory for a request as protobuf, the body included.
///
/// # Errors
/// Where it is no protobuf.
pub(crate) fn protobuf_bytes(body: &[u8]) -> Result<usize, WireError> {
    Ok(body.len() + decoded(Kind::Request, body, 0)?)
}

/// Memory for a request as JSON, the body included.
pub(crate) fn json_bytes(body: &[u8]) -> usize {
    let of = |byte: &u8| match byte {
        b'{' => JSON_OBJECT,
        b',' => JSON_ELEMENT,
        _ => 0,
    };
    2 * body.len() + body.iter().map(of).sum::<usize>()
}

fn decoded(kind: Kind, message: &[u8], depth: usize) -> Result<usize, WireError> {
    let mut bytes = 0;
    let mut reader = Reader::new(message);
    while let Some((field, content)) = reader.next()? {
        match (kind, field, content) {
            // Counts and bounds: a series for each.
            (Kind::Histogram, 6 | 7, Content::Bytes(packed)) => bytes += packed.len() / 8 * SAMPLE,
            (Kind::Histogram, 6 | 7, _) => bytes += SAMPLE,
            (_, _, Content::Bytes(inner)) => match child(kind, field) {
                Some((child, size)) if depth < MAX_DEPTH => {
                    bytes += 2 * size + decoded(child, inner, depth + 1)?;
                }
                Some(_) => {}
                // A text.
                None => bytes += inner.len(),
            },
            _ => {}
        }
    }
    Ok(bytes)
}

/// What a field holds, and what it takes in a list; nothing when it is part of its message.
fn child(kind: Kind, field: u32) -> Option<(Kind, usize)> {
    Some(match (kind, field) {
        (Kind::Request, 1) => (Kind::ResourceMetrics, size_of::<ResourceMetrics>()),
        (Kind::ResourceMetrics, 1) => (Kind::Resource, 0),
        (Kind::ResourceMetrics, 2) => (Kind::ScopeMetrics, size_of::<ScopeMetrics>()),
        (Kind::ScopeMetrics, 2) => (Kind::Metric, size_of::<Metric>()),
        (Kind::Metric, 5 | 7) => (Kind::Numbers, 0),
        (Kind::Metric, 9) => (Kind::Histograms, 0),
        (Kind::Metric, 11) => (Kind::Summaries, 0),
        (Kind::Numbers, 1) => (Kind::Number, size_of::<NumberPoint>() + SAMPLE),
        (Kind::Histograms, 1) => (Kind::Histogram, size_of::<HistogramPoint>() + 3 * SAMPLE),
        (Kind::Summaries, 1) => (Kind::Summary, size_of::<SummaryPoint>() + 2 * SAMPLE),
        (Kind::Number, 5) | (Kind::Histogram, 8) => (Kind::Exemplar, size_of::<Exemplar>()),
        (Kind::Summary, 6) => (Kind::Quantile, size_of::<Quantile>() + SAMPLE),
        (Kind::Resource, 1)
        | (Kind::Number | Kind::Summary | Kind::Exemplar, 7)
        | (Kind::Histogram, 9)
        | (Kind::Map, 1) => (Kind::Pair, size_of::<KeyValue>()),
        (Kind::Pair, 2) => (Kind::Value, 0),
        (Kind::Value, 5) => (Kind::Array, 0),
        (Kind::Value, 6) => (Kind::Map, 0),
        (Kind::Array, 1) => (Kind::Value, size_of::<AnyValue>()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::wire::put;

    fn within(inner: &[u8], fields: &[u32]) -> Vec<u8> {
        fields.iter().rev().fold(inner.to_vec(), |inner, field| {
            let mut out = Vec::new();
            put::bytes(&mut out, *field, &inner);
            out
        })
    }

    #[test]
    fn empty_messages_count_for_what_they_become() {
        let points = [10, 0].repeat(1000);
        let gauge = within(&points, &[1, 2, 2, 5]);
        assert!(protobuf_bytes(&gauge).unwrap() > 1000 * size_of::<NumberPoint>());
        let values = within(&points, &[1, 1, 1, 2, 5]);
        assert!(protobuf_bytes(&values).unwrap() > 1000 * size_of::<AnyValue>());
        assert!(protobuf_bytes(&[10, 9]).is_err());
        let json = format!(r#"{{"dataPoints": [{}]}}"#, ["{}"; 1000].join(","));
        assert!(json_bytes(json.as_bytes()) > 1000 * size_of::<NumberPoint>());
    }

    #[test]
    fn usual_requests_take_a_few_times_their_size() {
        let mut attribute = Vec::new();
        put::bytes(&mut attribute, 1, b"http.response.status_code");
        put::bytes(&mut attribute, 2, &within(b"200-and-some-text", &[1]));
        let mut point = Vec::new();
        put::double(&mut point, 3, 1e18);
        put::double(&mut point, 4, 0.5);
        for _ in 0..5 {
            put::bytes(&mut point, 7, &attribute);
        }
        let mut points = Vec::new();
        for _ in 0..1000 {
            put::bytes(&mut points, 1, &point);
        }
        let body = within(&points, &[1, 2, 2, 5]);
        let times = protobuf_bytes(&body).unwrap() / body.len();
        assert!((2..8).contains(&times), "{times}");
    }
}
