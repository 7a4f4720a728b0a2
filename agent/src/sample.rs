//! Samples on their way from a collector to the uplink: series handles and rounds.

mod page;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use binnacle_proto::Labels;

pub(crate) use page::{Page, Scrape};

/// A series known to this process: its labels are built once, and every later sample carries only
/// this handle.
#[derive(Clone)]
pub(crate) struct Series(Arc<Known>);

struct Known {
    /// Never given to another series while the process lives.
    id: u32,
    labels: Labels,
}

static NEXT_SERIES: AtomicU32 = AtomicU32::new(0);

impl Series {
    pub(crate) fn new(labels: Labels) -> Self {
        Self(Arc::new(Known { id: NEXT_SERIES.fetch_add(1, Ordering::Relaxed), labels }))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id
    }

    pub(crate) fn labels(&self) -> &Labels {
        &self.0.labels
    }
}

/// What collectors saw at one time.
#[derive(Clone, Default)]
pub(crate) struct Round {
    /// Milliseconds since the epoch.
    pub(crate) t_ms: i64,
    /// At most one sample of a series.
    pub(crate) samples: Vec<(Series, f64)>,
    /// Of some of these series.
    pub(crate) exemplars: Vec<Exemplar>,
}

/// A single measurement, as a scraped target told it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    /// The series it stands for.
    pub(crate) series: Labels,
    /// Its own labels: mostly `trace_id` and `span_id`.
    pub(crate) labels: Labels,
    pub(crate) value: f64,
    /// Milliseconds since the epoch.
    pub(crate) t_ms: i64,
}

/// Memory an exemplar holds, in bytes, about: its labels are short.
const EXEMPLAR_BYTES: usize = size_of::<Exemplar>() + 200;

impl Round {
    /// A round without exemplars.
    pub(crate) fn new(t_ms: i64, samples: Vec<(Series, f64)>) -> Self {
        Self { t_ms, samples, exemplars: Vec::new() }
    }

    /// Memory the round holds, in bytes; labels are shared and not counted.
    pub(crate) fn byte_len(&self) -> usize {
        size_of::<Self>()
            + self.samples.len() * size_of::<(Series, f64)>()
            + self.exemplars.len() * EXEMPLAR_BYTES
    }
}
