//! One series in memory.

use binnacle_proto::Labels;

use crate::codec::Stream;
use crate::day::Day;

/// A sample that came out of order.
pub(crate) type Late = (i64, f64);

/// What is known of a series, and its samples that no flush has taken yet.
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// Samples in order.
    pub(crate) stream: Stream,
    /// Samples that were older than the newest when they came; ascending.
    #[expect(clippy::box_collection, reason = "one word in every series instead of three; seldom used")]
    pub(crate) late: Option<Box<Vec<Late>>>,
    /// Newest sample ever; `None` when there never was one.
    pub(crate) newest: Option<(i64, u64)>,
    /// Day whose log records or index hold the labels.
    pub(crate) defined: Option<Day>,
    /// Day in whose index the series is.
    pub(crate) indexed: Option<Day>,
    /// When it was last used, in seconds since the epoch.
    pub(crate) touched_s: u32,
}

impl Series {
    pub(crate) fn new(labels: Labels, touched_s: u32) -> Self {
        Self {
            labels,
            stream: Stream::default(),
            late: None,
            newest: None,
            defined: None,
            indexed: None,
            touched_s,
        }
    }

    /// Heap memory of the samples.
    pub(crate) fn bytes(&self) -> i64 {
        let late = self.late.as_ref().map_or(0, |late| late.capacity() * size_of::<Late>());
        (self.stream.capacity() + late) as i64
    }

    /// Whether it holds samples.
    pub(crate) fn is_clean(&self) -> bool {
        self.stream.is_empty() && self.late.is_none()
    }
}

/// First and last timestamp of samples in memory.
pub(crate) fn bounds(stream: &Stream, late: Option<&[Late]>) -> Option<(i64, i64)> {
    let stream = (!stream.is_empty()).then(|| (stream.first_ms(), stream.last_ms()));
    let late = late.and_then(|late| Some((late.first()?.0, late.last()?.0)));
    match (stream, late) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}
