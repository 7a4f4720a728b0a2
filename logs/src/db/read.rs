//! Finding and reading records: streams by matchers, then the parts that may lie within a time span.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Db;
use crate::Error;
use crate::block::{Sealed, Segment};
use crate::matcher::Matcher;
use crate::store::{BlockMeta, Family};
use crate::streams::Stream;

/// What a query has to look at.
pub(crate) struct Selection {
    /// The streams, by id.
    pub streams: Vec<Arc<Stream>>,
    /// Their parts, in no particular order.
    pub parts: Vec<Part>,
}

/// Records of one stream.
pub(crate) struct Part {
    /// Index in [`Selection::streams`].
    pub stream: usize,
    /// First time.
    pub min_ns: i64,
    /// Last time.
    pub max_ns: i64,
    /// Where they are.
    pub data: PartData,
}

/// Where records are.
pub(crate) enum PartData {
    /// In memory, not necessarily sorted.
    Memory(Arc<Segment>),
    /// In a sealed block.
    Sealed(BlockMeta),
}

impl Db {
    /// Finds what a query over `start_ns..=end_ns` has to look at. Each record is in one part.
    pub(crate) fn select(&self, matchers: &[Matcher], start_ns: i64, end_ns: i64) -> Selection {
        let streams = self.shared.streams.read().select(matchers);
        let mut parts = Vec::new();
        for (index, stream) in streams.iter().enumerate() {
            // One lock for both, so that a block that is being sealed is seen exactly once.
            let head = stream.head.lock();
            let within = |block: &&BlockMeta| block.key.min_ns <= end_ns && block.max_ns >= start_ns;
            parts.extend(head.blocks().iter().filter(within).map(|block| Part {
                stream: index,
                min_ns: block.key.min_ns,
                max_ns: block.max_ns,
                data: PartData::Sealed(*block),
            }));
            for page in head.memory(start_ns, end_ns) {
                let Some((min_ns, max_ns)) = page.bounds() else { continue };
                parts.push(Part { stream: index, min_ns, max_ns, data: PartData::Memory(page) });
            }
        }
        Selection { streams, parts }
    }

    /// Streams that match and have records within the bounds.
    pub(crate) fn streams(&self, matchers: &[Matcher], start_ns: i64, end_ns: i64) -> Vec<Arc<Stream>> {
        let mut streams = self.shared.streams.read().select(matchers);
        streams.retain(|stream| stream.head.lock().touches(start_ns, end_ns));
        streams
    }

    /// The filter of a sealed block; `None` when there is none to be had.
    pub(crate) fn filter(&self, meta: &BlockMeta) -> Result<Option<Vec<u8>>, Error> {
        self.shared.store.get(Family::Filters, &meta.key.encode())
    }

    /// Reads a sealed block; without `lines` their text is left out. `None` when it has expired in the
    /// meantime or is damaged; the latter is counted and logged.
    pub(crate) fn read(&self, meta: &BlockMeta, lines: bool) -> Result<Option<Segment>, Error> {
        let Some(bytes) = self.shared.store.get(Family::Data, &meta.key.encode())? else { return Ok(None) };
        match Sealed::open(&bytes).and_then(|sealed| sealed.decode(lines)) {
            Ok(segment) => Ok(Some(segment)),
            Err(reason) => {
                self.shared.counters.damaged_blocks.fetch_add(1, Relaxed);
                tracing::error!(key = ?meta.key, reason, "a log block is damaged and was skipped");
                Ok(None)
            }
        }
    }
}
