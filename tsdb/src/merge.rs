//! Which chunks of a series and day are to become one, and their samples as one column. Pure.

use std::ops::Range;

use crate::codec::{Corrupt, decode_chunk, peek_chunk};
use crate::select::Points;
use crate::store::StoredChunk;

/// Samples of a chunk at most: enough that its head does not count, few enough that reading a minute
/// of it is cheap.
pub(crate) const CHUNK_SAMPLES: usize = 2048;
/// A chunk of fewer samples is small: merging aims at chunks of at least so many.
pub(crate) const SMALL_SAMPLES: usize = 1024;
/// So many small neighbours are merged even if they do not fill a chunk yet. Each sample is rewritten
/// a few times at most until its chunk is full.
pub(crate) const FAN_IN: usize = 4;
/// Overlapping chunks with more samples than this together are left as they are: their merge would not
/// be bounded in memory.
const MAX_RUN_SAMPLES: usize = 1 << 18;

/// What a merge must know of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) samples: usize,
}

impl Extent {
    pub(crate) fn of(chunk: &StoredChunk) -> Result<Self, Corrupt> {
        let (samples, span) = peek_chunk(&chunk.bytes)?;
        Ok(Self { start_ms: chunk.t0_ms, end_ms: chunk.t0_ms.saturating_add(span), samples })
    }
}

/// Neighbouring chunks, and whether they become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) chunks: Range<usize>,
    pub(crate) merge: bool,
    samples: usize,
    /// Samples of its small chunks.
    small: usize,
}

impl Run {
    fn is_small(&self) -> bool {
        self.small == self.samples
    }

    fn join(&mut self, next: &Self) {
        self.chunks.end = next.chunks.end;
        self.samples += next.samples;
        self.small += next.small;
    }
}

/// Divides the chunks of a series and day, ascending by start, into runs that do not overlap in time.
/// `last_time`: no more samples are expected, so small chunks are merged however few they are.
pub(crate) fn runs(chunks: &[Extent], last_time: bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for cluster in clusters(chunks) {
        let joins = |last: &Run| last.is_small() && last.samples < SMALL_SAMPLES && cluster.is_small();
        match runs.last_mut() {
            Some(last) if joins(last) => last.join(&cluster),
            _ => runs.push(cluster),
        }
    }
    if last_time {
        let mut at = 1;
        while at < runs.len() {
            if runs[at].samples < SMALL_SAMPLES || runs[at - 1].samples < SMALL_SAMPLES {
                let next = runs.remove(at);
                runs[at - 1].join(&next);
            } else {
                at += 1;
            }
        }
    }
    for run in &mut runs {
        let due = last_time || run.chunks.len() >= FAN_IN || run.small >= SMALL_SAMPLES;
        run.merge = due && run.chunks.len() > 1 && run.samples <= MAX_RUN_SAMPLES;
    }
    runs
}

/// Chunks that overlap, directly or through others, belong together: which sample of a time counts is
/// decided among them.
fn clusters(chunks: &[Extent]) -> Vec<Run> {
    let mut clusters: Vec<Run> = Vec::new();
    let mut end_ms = i64::MIN;
    for (at, chunk) in chunks.iter().enumerate() {
        let small = if chunk.samples < SMALL_SAMPLES { chunk.samples } else { 0 };
        let own = Run { chunks: at..at + 1, merge: false, samples: chunk.samples, small };
        match clusters.last_mut() {
            Some(last) if chunk.start_ms <= end_ms => last.join(&own),
            _ => clusters.push(own),
        }
        end_ms = end_ms.max(chunk.end_ms);
    }
    clusters
}

/// The samples of chunks, strictly ascending; of several at one time that of the lowest generation.
pub(crate) fn samples(chunks: &[StoredChunk]) -> Result<Points, (i64, Corrupt)> {
    let mut points = Points::default();
    let mut generations = Vec::new();
    for chunk in chunks {
        decode_chunk(&chunk.bytes, chunk.t0_ms, i64::MIN, i64::MAX, &mut points)
            .map_err(|error| (chunk.t0_ms, error))?;
        generations.resize(points.len(), chunk.generation);
    }
    if points.timestamps.is_sorted_by(|a, b| a < b) {
        return Ok(points);
    }
    let mut all: Vec<(i64, u64, f64)> = Vec::with_capacity(points.len());
    for (at, generation) in generations.into_iter().enumerate() {
        all.push((points.timestamps[at], generation, points.values[at]));
    }
    all.sort_by_key(|(t_ms, generation, _)| (*t_ms, *generation));
    all.dedup_by_key(|(t_ms, ..)| *t_ms);
    points.clear();
    all.into_iter().for_each(|(t_ms, _, value)| points.push(t_ms, value));
    Ok(points)
}

/// Cuts samples of one day into the fewest chunks of even size.
pub(crate) fn cut(points: &Points) -> impl Iterator<Item = Points> {
    let pieces = points.len().div_ceil(CHUNK_SAMPLES).max(1);
    let bound = move |piece: usize| points.len() * piece / pieces;
    (0..pieces).map(move |piece| {
        let range = bound(piece)..bound(piece + 1);
        Points {
            timestamps: points.timestamps[range.clone()].to_vec(),
            values: points.values[range].to_vec(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks one after the other, of so many samples each.
    fn line(samples: &[usize]) -> Vec<Extent> {
        let of = |(at, samples): (usize, &usize)| {
            let start_ms = at as i64 * 1000;
            Extent { start_ms, end_ms: start_ms + 999, samples: *samples }
        };
        samples.iter().enumerate().map(of).collect()
    }

    fn merged(chunks: &[Extent], last_time: bool) -> Vec<(usize, usize)> {
        let runs = runs(chunks, last_time);
        assert_eq!(runs.iter().map(|run| run.chunks.len()).sum::<usize>(), chunks.len());
        assert!(runs.windows(2).all(|pair| pair[0].chunks.end == pair[1].chunks.start));
        runs.into_iter().filter(|run| run.merge).map(|run| (run.chunks.start, run.chunks.end)).collect()
    }

    #[test]
    fn small_neighbours_wait_until_they_fill_a_chunk_or_are_many() {
        assert_eq!(merged(&line(&[480, 480]), false), []);
        assert_eq!(merged(&line(&[480, 480, 480, 480]), false), [(0, 3)]);
        assert_eq!(merged(&line(&[10, 10, 10]), false), []);
        assert_eq!(merged(&line(&[10, 10, 10, 10]), false), [(0, 4)]);
        assert_eq!(merged(&line(&[2048, 10, 2048]), false), []);
        assert_eq!(merged(&line(&[2048, 2048]), false), []);
    }

    #[test]
    fn at_the_end_no_small_chunk_is_left_that_has_a_neighbour() {
        assert_eq!(merged(&line(&[480, 480]), true), [(0, 2)]);
        assert_eq!(merged(&line(&[2048, 1500, 10]), true), [(1, 3)]);
        assert_eq!(merged(&line(&[10, 2048, 1500]), true), [(0, 2)]);
        assert_eq!(merged(&line(&[2048, 10, 2048]), true), [(0, 2)]);
        assert_eq!(merged(&line(&[10]), true), []);
        assert_eq!(merged(&line(&[2048, 2048, 1664]), true), []);
    }

    #[test]
    fn chunks_that_overlap_are_merged_together_or_not_at_all() {
        let mut chunks = line(&[2048, 5, 5, 5]);
        chunks[0].end_ms = 2500;
        // The last one stands alone.
        assert_eq!(merged(&chunks, false), []);
        assert_eq!(merged(&chunks, true), [(0, 4)]);
        chunks[0].end_ms = 3500;
        assert_eq!(merged(&chunks, false), [(0, 4)]);
        let huge = [MAX_RUN_SAMPLES, MAX_RUN_SAMPLES];
        let mut chunks = line(&huge);
        chunks[0].end_ms = 5000;
        assert_eq!(merged(&chunks, true), []);
    }

    #[test]
    fn pieces_are_even_and_hold_everything() {
        for len in [1, 2047, 2048, 2049, 5760, 100_000] {
            let points = Points { timestamps: (0..len as i64).collect(), values: vec![1.0; len] };
            let pieces: Vec<Points> = cut(&points).collect();
            assert!(pieces.iter().all(|piece| piece.len() <= CHUNK_SAMPLES));
            assert!(pieces.len() == 1 || pieces.iter().all(|piece| piece.len() >= SMALL_SAMPLES));
            assert_eq!(pieces.iter().flat_map(|piece| &piece.timestamps).count(), len);
            assert!(pieces.iter().flat_map(|piece| &piece.timestamps).eq(&points.timestamps));
        }
    }
}
