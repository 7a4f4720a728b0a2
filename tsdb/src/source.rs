//! The database as a source for PromQL: series from the indexes, samples from memory and chunks.

mod segments;

use std::collections::BTreeSet;
use std::sync::Arc;

use binnacle_proto::Labels;
use hashbrown::HashMap;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::Error;
use crate::codec::{decode_chunk, peek_chunk};
use crate::day::Day;
use crate::db::{Core, Db};
use crate::head::HeadCopy;
use crate::index::{DayIndex, Plan};
use crate::select::{Guard, Matcher, Points, ReadSeries, Segments, Select, Selected, Source};
use crate::store::{ChunkCursor, Rollup, SeriesId};

/// Memory of a selected series besides its labels.
const SERIES_BYTES: u64 = 64;
/// Series between two looks at the clock.
const CHECK_EVERY: usize = 1024;
/// Most different warnings about damage in one answer.
const MAX_WARNINGS: usize = 5;
/// Generation of samples that a flush has taken, and of those in open chunks: after all on disk.
const GENERATION_FLUSHING: u64 = u64::MAX - 1;
const GENERATION_OPEN: u64 = u64::MAX;

impl Source for Db {
    fn select(&self, select: &Select, guard: &Guard) -> Result<Selected, Error> {
        let core = self.core().clone();
        let rolled_up = core.rolled_up_within(select.start_ms, select.end_ms);
        let found = core.find(&select.matchers, select.start_ms, select.end_ms, guard)?;
        let mut kept_ms = Vec::new();
        if core.retention.hides_from(select.start_ms) {
            kept_ms.extend(found.series.iter().map(|labels| core.retention.series_kept_ms(labels)));
        }
        let reader = DbReader {
            core,
            ids: found.ids,
            days: found.days,
            epoch: found.epoch,
            start_ms: select.start_ms,
            end_ms: select.end_ms,
            rollup: Rollup::of_width(select.hints.bucket_ms).filter(|_| rolled_up),
            kept_ms,
            damage: Mutex::new(BTreeSet::new()),
            idle: Mutex::new(Vec::new()),
        };
        Ok(Selected { series: found.series, reader: Box::new(reader), warnings: found.warnings })
    }
}

/// Series that match, with what is needed to read them.
pub(crate) struct Found {
    pub(crate) series: Vec<Labels>,
    /// For each of `series` the ids under which it has samples, mostly one.
    ids: Vec<Ids>,
    days: Vec<(Day, RoaringBitmap)>,
    /// Flushes committed before the indexes were read.
    epoch: u64,
    pub(crate) warnings: Vec<String>,
}

/// Ids of one label set.
enum Ids {
    One(SeriesId),
    Many(Vec<SeriesId>),
}

impl Ids {
    fn as_slice(&self) -> &[SeriesId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    fn push(&mut self, id: SeriesId) {
        if !self.as_slice().contains(&id) {
            let mut ids = self.as_slice().to_vec();
            ids.push(id);
            *self = Self::Many(ids);
        }
    }
}

impl Core {
    /// Series that match and may have samples within the bounds.
    pub(crate) fn find(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        guard: &Guard,
    ) -> Result<Found, Error> {
        let plan = Plan::new(matchers);
        let mut found = Found {
            series: Vec::new(),
            ids: Vec::new(),
            days: Vec::new(),
            epoch: self.head.flush_epoch(),
            warnings: Vec::new(),
        };
        // Memory first: what leaves it meanwhile is in the store by then.
        let in_memory = plan.run(&*self.head.index().read(), guard)?;
        let mut on_disk = RoaringBitmap::new();
        for day in self.days_within(start_ms, end_ms) {
            match plan.run(&DayIndex { store: &self.store, day }, guard) {
                Ok(ids) => {
                    on_disk |= &ids;
                    found.days.push((day, ids));
                }
                Err(Error::Storage { context, reason }) => {
                    self.counters.chunks_corrupt.add(1);
                    tracing::error!(path = %self.store.dir().display(), day = day.0, context, reason, "the index of a day is damaged");
                    found
                        .warnings
                        .push(format!("the index of a day is damaged, series may be missing: {reason}"));
                    let all = self.store.posting(day, "", "").unwrap_or_default();
                    found.days.push((day, all));
                }
                Err(error) => return Err(error),
            }
        }
        let mut bytes = 0;
        self.head.describe(&in_memory, start_ms, end_ms, |id, labels, here| {
            if here || on_disk.contains(id) {
                bytes += labels.byte_len() as u64 + SERIES_BYTES;
                found.series.push(labels);
                found.ids.push(Ids::One(id));
            }
        });
        guard.charge_bytes(bytes)?;
        self.find_dead(&mut found, on_disk - in_memory, guard)?;
        Ok(found)
    }

    /// Adds series that are on disk only. One whose labels are there already joins it.
    fn find_dead(&self, found: &mut Found, ids: RoaringBitmap, guard: &Guard) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut at: HashMap<Labels, usize> =
            found.series.iter().enumerate().map(|(at, labels)| (labels.clone(), at)).collect();
        let mut left = ids;
        for at_day in 0..found.days.len() {
            let (day, here) = (found.days[at_day].0, &left & &found.days[at_day].1);
            left -= &here;
            let (mut number, mut stopped) = (0usize, Ok(()));
            let scanned = self.store.series_labels_of(day, here.iter(), &mut |id, labels| {
                number += 1;
                if number.is_multiple_of(CHECK_EVERY) {
                    stopped = guard.check();
                }
                match labels {
                    Ok(labels) => {
                        let joined = at.get(&labels).copied();
                        match joined {
                            Some(at) => found.ids[at].push(id),
                            None => {
                                let charged = guard.charge_bytes(labels.byte_len() as u64 + SERIES_BYTES);
                                stopped = stopped.clone().and(charged);
                                at.insert(labels.clone(), found.series.len());
                                found.series.push(labels);
                                found.ids.push(Ids::One(id));
                            }
                        }
                    }
                    Err(error) => {
                        self.report_damaged(&error);
                        found.warnings.push(format!("a series is damaged and missing: {error}"));
                    }
                }
                stopped.is_ok()
            });
            stopped?;
            match scanned {
                Err(error) if error.is_corruption() => {
                    self.report_damaged(&error);
                    found.warnings.push(format!("labels of a day are damaged, series are missing: {error}"));
                }
                scanned => scanned?,
            }
        }
        Ok(())
    }
}

/// Reads samples of what a selection found.
struct DbReader {
    core: Arc<Core>,
    ids: Vec<Ids>,
    days: Vec<(Day, RoaringBitmap)>,
    epoch: u64,
    start_ms: i64,
    end_ms: i64,
    /// The rollup that the samples may be read from.
    rollup: Option<Rollup>,
    /// Where the samples of each series begin by a rule of retention; empty when no rule comes into it.
    kept_ms: Vec<i64>,
    /// What was found damaged while reading.
    damage: Mutex<BTreeSet<String>>,
    /// Scratch space that no thread uses at the moment.
    idle: Mutex<Vec<Scratch>>,
}

/// What a thread needs to read, kept from series to series.
#[derive(Default)]
struct Scratch {
    copy: HeadCopy,
    cursor: Option<ChunkCursor>,
    pieces: Vec<Piece>,
}

/// Samples of one chunk in the output.
struct Piece {
    generation: u64,
    from: usize,
    to: usize,
}

impl ReadSeries for DbReader {
    fn read(&self, index: usize, guard: &Guard, out: &mut Points) -> Result<(), Error> {
        let mut scratch = self.idle.lock().pop().unwrap_or_default();
        let before = out.len();
        scratch.pieces.clear();
        let start_ms = self.kept_ms.get(index).map_or(self.start_ms, |kept| self.start_ms.max(*kept));
        let mut read = Ok(());
        for id in self.ids[index].as_slice() {
            read = self.read_id(*id, start_ms, &mut scratch, out);
            if read.is_err() {
                break;
            }
        }
        if read.is_ok() {
            order(out, before, &scratch.pieces);
        }
        self.idle.lock().push(scratch);
        read?;
        guard.charge_samples((out.len() - before) as u64)?;
        Ok(())
    }

    fn has_segments(&self) -> bool {
        self.rollup.is_some()
    }

    fn read_segments(&self, index: usize, guard: &Guard, out: &mut Segments) -> Result<bool, Error> {
        self.segments(index, guard, out)
    }

    fn warnings(&self) -> Vec<String> {
        self.damage.lock().iter().cloned().collect()
    }
}

fn damaged(error: crate::codec::Corrupt) -> Error {
    Error::Storage { context: "cannot decode samples in memory".into(), reason: error.to_string() }
}

impl DbReader {
    /// Notes that the answer lacks samples.
    fn note_damage(&self, day: Day, reason: &str) {
        let mut damage = self.damage.lock();
        if damage.len() < MAX_WARNINGS {
            damage.insert(format!("data of {day} is corrupt on disk, samples are missing: {reason}"));
        }
    }

    fn read_id(
        &self,
        id: SeriesId,
        start_ms: i64,
        scratch: &mut Scratch,
        out: &mut Points,
    ) -> Result<(), Error> {
        let end_ms = self.end_ms;
        self.core.head.copy(id, start_ms, end_ms, &mut scratch.copy);
        for day in self.days_of(id, scratch.copy.epoch) {
            self.read_day(day, id, start_ms, scratch, out)?;
        }
        let from = out.len();
        scratch.copy.flushing(start_ms, end_ms, out).map_err(damaged)?;
        scratch.pieces.push(Piece { generation: GENERATION_FLUSHING, from, to: out.len() });
        let from = out.len();
        scratch.copy.open(start_ms, end_ms, out).map_err(damaged)?;
        scratch.pieces.push(Piece { generation: GENERATION_OPEN, from, to: out.len() });
        Ok(())
    }

    /// Days on which a series may have chunks. A flush since the selection may have moved samples to a
    /// day that the series was not in.
    fn days_of(&self, id: SeriesId, epoch: u64) -> Vec<Day> {
        if epoch != self.epoch {
            return self.core.days_within(self.start_ms, self.end_ms);
        }
        self.days.iter().filter(|(_, ids)| ids.contains(id)).map(|(day, _)| *day).collect()
    }

    /// A view of the store that is not older than the copy of what is in memory.
    fn cursor<'s>(&self, scratch: &'s mut Scratch) -> Result<&'s mut ChunkCursor, Error> {
        if scratch.cursor.as_ref().is_none_or(|cursor| cursor.epoch < scratch.copy.epoch) {
            scratch.cursor = None;
        }
        match &mut scratch.cursor {
            Some(cursor) => Ok(cursor),
            slot => Ok(slot.insert(self.core.store.cursor(self.core.head.flush_epoch(), self.rollup)?)),
        }
    }

    fn read_day(
        &self,
        day: Day,
        id: SeriesId,
        start_ms: i64,
        scratch: &mut Scratch,
        out: &mut Points,
    ) -> Result<(), Error> {
        self.cursor(scratch)?;
        let Some(cursor) = &mut scratch.cursor else { return Ok(()) };
        let pieces = &mut scratch.pieces;
        let read = cursor.chunks(day, id, self.end_ms, &mut |t0_ms, generation, bytes| {
            let span = peek_chunk(bytes).map_or(i64::MAX, |(_, span)| span);
            if t0_ms.saturating_add(span) < start_ms {
                return;
            }
            let from = out.len();
            match decode_chunk(bytes, t0_ms, start_ms, self.end_ms, out) {
                Ok(()) => pieces.push(Piece { generation, from, to: out.len() }),
                Err(error) => {
                    self.core.report_corrupt(day, id, t0_ms, &error.to_string());
                    self.note_damage(day, &error.to_string());
                }
            }
        });
        match read {
            Err(error) if error.is_corruption() => {
                self.core.report_damaged(&error);
                self.note_damage(day, &error.to_string());
                scratch.cursor = None;
                Ok(())
            }
            read => Ok(read?),
        }
    }
}

/// Makes the samples from `before` on ascend strictly. Of several at one time the one that was stored
/// first wins.
fn order(out: &mut Points, before: usize, pieces: &[Piece]) {
    if out.timestamps[before..].is_sorted_by(|a, b| a < b) {
        return;
    }
    let mut all: Vec<(i64, u64, f64)> = Vec::with_capacity(out.len() - before);
    for piece in pieces {
        let times = &out.timestamps[piece.from..piece.to];
        let values = &out.values[piece.from..piece.to];
        all.extend(times.iter().zip(values).map(|(t_ms, value)| (*t_ms, piece.generation, *value)));
    }
    all.sort_by_key(|(t_ms, generation, _)| (*t_ms, *generation));
    all.dedup_by_key(|(t_ms, ..)| *t_ms);
    out.timestamps.truncate(before);
    out.values.truncate(before);
    for (t_ms, _, value) in all {
        out.push(t_ms, value);
    }
}
