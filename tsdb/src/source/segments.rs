//! Series read as buckets: rows of a rollup where a day has them, samples summed up where it has not.

use super::{DbReader, GENERATION_FLUSHING, GENERATION_OPEN, Piece, Scratch, order};
use crate::Error;
use crate::codec::decode_rollup;
use crate::day::{DAY_MS, Day};
use crate::select::{Guard, Points, Segments};
use crate::store::{Rollup, SeriesId};

impl DbReader {
    /// Appends the samples of series `index` as buckets; false when they must be read one by one.
    pub(super) fn segments(&self, index: usize, guard: &Guard, out: &mut Segments) -> Result<bool, Error> {
        let (Some(rollup), [id]) = (self.rollup, self.ids[index].as_slice()) else { return Ok(false) };
        // A row does not know of what a rule of retention hides.
        if self.kept_ms.get(index).is_some_and(|kept_ms| *kept_ms > self.start_ms) {
            return Ok(false);
        }
        let mut scratch = self.idle.lock().pop().unwrap_or_default();
        let read = self.segments_of(*id, rollup, &mut scratch, out);
        self.idle.lock().push(scratch);
        guard.charge_samples(read?)?;
        Ok(true)
    }

    /// The same with scratch space; how much was read.
    fn segments_of(
        &self,
        id: SeriesId,
        rollup: Rollup,
        scratch: &mut Scratch,
        out: &mut Segments,
    ) -> Result<u64, Error> {
        let width_ms = rollup.width_ms();
        self.core.head.copy(id, self.start_ms, self.end_ms, &mut scratch.copy);
        let mut memory = Points::default();
        let pieces = self.in_memory(scratch, &mut memory)?;
        // A row does not know of what is in memory.
        let oldest_ms = memory.timestamps.iter().copied().min().unwrap_or(i64::MAX);
        let mut pending = Points::default();
        let mut read = 0;
        scratch.pieces.clear();
        for day in self.days_of(id, scratch.copy.epoch) {
            if day.start_ms() + DAY_MS <= oldest_ms
                && let Some(row) = self.row(day, id, rollup, scratch)?
            {
                read += sum_up(&mut pending, scratch, out, width_ms);
                read += row.len() as u64;
                out.append(&row);
                continue;
            }
            self.read_day(day, id, self.start_ms, scratch, &mut pending)?;
        }
        let base = pending.len();
        pending.timestamps.append(&mut memory.timestamps);
        pending.values.append(&mut memory.values);
        let moved = |piece: Piece| Piece { from: base + piece.from, to: base + piece.to, ..piece };
        scratch.pieces.extend(pieces.into_iter().map(moved));
        Ok(read + sum_up(&mut pending, scratch, out, width_ms))
    }

    fn in_memory(&self, scratch: &Scratch, out: &mut Points) -> Result<[Piece; 2], Error> {
        let copy = &scratch.copy;
        copy.flushing(self.start_ms, self.end_ms, out).map_err(super::damaged)?;
        let between = out.len();
        copy.open(self.start_ms, self.end_ms, out).map_err(super::damaged)?;
        Ok([
            Piece { generation: GENERATION_FLUSHING, from: 0, to: between },
            Piece { generation: GENERATION_OPEN, from: between, to: out.len() },
        ])
    }

    /// The part of a row that lies within the bounds; `None` when there is none or it is damaged.
    fn row(
        &self,
        day: Day,
        id: SeriesId,
        rollup: Rollup,
        scratch: &mut Scratch,
    ) -> Result<Option<Segments>, Error> {
        let found = match self.cursor(scratch)?.row(day, id) {
            Ok(found) => found,
            Err(error) if error.is_corruption() => {
                self.core.report_damaged(&error);
                scratch.cursor = None;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(bytes) = found else { return Ok(None) };
        match decode_rollup(bytes, day.start_ms(), rollup.width_ms()) {
            Ok(mut row) => {
                // The bounds are those of buckets: the selection's windows are made of whole ones.
                row.keep(self.start_ms, self.end_ms);
                Ok(Some(row))
            }
            Err(error) => {
                self.core.report_corrupt(day, id, day.start_ms(), &error.to_string());
                Ok(None)
            }
        }
    }
}

/// Sums up the samples read so far; how many they are.
fn sum_up(points: &mut Points, scratch: &mut Scratch, out: &mut Segments, width_ms: i64) -> u64 {
    if points.is_empty() {
        return 0;
    }
    order(points, 0, &scratch.pieces);
    let mut segments = Segments::default();
    segments.push_samples(points, width_ms);
    out.append(&segments);
    let read = points.len() as u64;
    scratch.pieces.clear();
    points.clear();
    read
}
