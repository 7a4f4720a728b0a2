//! Days that are over get their final shape: no small chunks, and rows in the rollups.
//!
//! A row, where there is one, agrees with the chunks of its series and day: who changes these removes it
//! in the same batch. That a day is sealed says only that there is nothing left to do.

use std::collections::BTreeSet;

use parking_lot::MutexGuard;
use roaring::RoaringBitmap;

use super::merge::{Rewritten, TURN_BYTES, TURNS};
use super::{Core, Maintenance};
use crate::Error;
use crate::codec::encode_rollup;
use crate::day::{DAY_MS, Day};
use crate::select::Segments;
use crate::store::{Batch, Rollup, SeriesChunks, SeriesId};

/// Days that are sealed: four bytes each.
const META_SEALED: &str = "sealed_days";

/// Which days are sealed, and how far the sealing of another is.
#[derive(Default)]
pub(super) struct Seals {
    sealed: Sealed,
    under_way: Option<Sealing>,
}

/// Sealed days.
#[derive(Default, Clone)]
pub(super) struct Sealed(BTreeSet<Day>);

struct Sealing {
    day: Day,
    /// The series to go on with.
    from: SeriesId,
    /// Series that had rows when the sealing began.
    have: RoaringBitmap,
    /// Chunks of the day were written meanwhile.
    disturbed: bool,
}

impl Sealed {
    pub(super) fn put(&self, batch: &mut Batch) {
        let days: Vec<u8> = self.0.iter().flat_map(|day| day.0.to_be_bytes()).collect();
        batch.put_meta(META_SEALED, &days);
    }
}

impl Seals {
    /// The sealed days when those of `written` are not any more; `None` when none of them was.
    pub(super) fn without<'a>(&self, mut written: impl Iterator<Item = &'a Day> + Clone) -> Option<Sealed> {
        let mut sealed = self.sealed.clone();
        if !written.clone().any(|day| sealed.0.contains(day)) {
            return None;
        }
        written.by_ref().for_each(|day| _ = sealed.0.remove(day));
        Some(sealed)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Forgets a day that is dropped. What is written of it is never asked for again.
    pub(super) fn dropped(&mut self, day: Day) {
        self.sealed.0.remove(&day);
        self.under_way.take_if(|sealing| sealing.day == day);
    }
}

impl Core {
    /// After the start: which days are sealed. All others may have chunks to merge.
    pub(super) fn look_for_work(&self) -> Result<(), Error> {
        let mut maintenance = self.maintenance.lock();
        let bytes = self.store.meta(META_SEALED)?.unwrap_or_default();
        for day in bytes.chunks_exact(4) {
            let day = Day(i32::from_be_bytes(day.try_into().unwrap_or_default()));
            maintenance.seals.sealed.0.insert(day);
        }
        for day in self.days.read().iter() {
            if !maintenance.seals.sealed.0.contains(day) {
                maintenance.merges.look_at(*day);
            }
        }
        Ok(())
    }

    /// Takes note that chunks of days were written, and `unsealed` with them.
    pub(super) fn unsealed<'a>(
        &self,
        maintenance: &mut Maintenance,
        unsealed: Option<Sealed>,
        mut written: impl Iterator<Item = &'a Day>,
    ) {
        if let Some(sealed) = unsealed {
            maintenance.seals.sealed = sealed;
            self.counters.days_unsealed.add(1);
        }
        if let Some(sealing) = &mut maintenance.seals.under_way {
            sealing.disturbed |= written.any(|day| *day == sealing.day);
        }
    }

    /// Opens a day again before chunks of it are changed.
    pub(super) fn unseal(&self, maintenance: &mut Maintenance, day: Day) -> Result<(), Error> {
        let unsealed = maintenance.seals.without(std::iter::once(&day));
        if let Some(sealed) = &unsealed {
            let mut batch = self.store.batch()?;
            sealed.put(&mut batch);
            self.store.write(batch)?;
        }
        self.unsealed(maintenance, unsealed, std::iter::once(&day));
        Ok(())
    }

    /// Seals some of what is due.
    pub(super) fn seal_due(&self, now_ms: i64) -> Result<(), Error> {
        for _ in 0..TURNS {
            let sealed = {
                let mut maintenance = self.maintenance.lock();
                if maintenance.seals.under_way.is_none() && !self.begin_sealing(&mut maintenance, now_ms)? {
                    return Ok(());
                }
                let sealed = self.seal_turn(&mut maintenance)?;
                // A flush that waits comes first.
                MutexGuard::unlock_fair(maintenance);
                sealed
            };
            if let Some(day) = sealed {
                self.store.compact_day(day)?;
                tracing::info!(day = day.0, "a day is over and sealed");
            }
        }
        Ok(())
    }

    /// Looks for a day that is over and of which nothing is in memory any more.
    fn begin_sealing(&self, maintenance: &mut Maintenance, now_ms: i64) -> Result<bool, Error> {
        let window_ms = i64::try_from(self.config.out_of_order_window.as_millis()).unwrap_or(i64::MAX);
        let is_over = |day: Day| day.start_ms() + DAY_MS <= now_ms.saturating_sub(window_ms);
        let sealed = &maintenance.seals.sealed.0;
        let day = self.days.read().iter().copied().find(|day| !sealed.contains(day));
        let Some(day) = day.filter(|day| is_over(*day)) else { return Ok(false) };
        if self.head.min_ms().is_some_and(|oldest_ms| oldest_ms < day.start_ms() + DAY_MS) {
            return Ok(false);
        }
        let have = self.store.rolled_up(day)?;
        self.rolled_up.write().insert(day);
        maintenance.seals.under_way = Some(Sealing { day, from: 0, have, disturbed: false });
        Ok(true)
    }

    /// Seals some series of the day under way; the day when it was the last of them.
    fn seal_turn(&self, maintenance: &mut Maintenance) -> Result<Option<Day>, Error> {
        let Some(sealing) = &mut maintenance.seals.under_way else { return Ok(None) };
        let (day, from) = (sealing.day, sealing.from);
        let mut batch = self.store.batch()?;
        let mut done = Rewritten::default();
        let (mut bytes, mut next) = (0, None);
        let scanned = self.store.scan_chunks(day, from, &mut |series| {
            if bytes > TURN_BYTES {
                next = Some(series.id);
                return false;
            }
            bytes += series.chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
            if !sealing.have.contains(series.id) {
                self.seal_series(&mut batch, day, &series, &mut done);
            }
            true
        });
        match scanned {
            Err(error) if error.is_corruption() => self.report_damaged(&error),
            scanned => scanned?,
        }
        if let Some(id) = next {
            self.write_rewritten(batch, &done)?;
            sealing.from = id;
            return Ok(None);
        }
        let disturbed = sealing.disturbed;
        if !disturbed {
            let mut sealed = maintenance.seals.sealed.clone();
            sealed.0.insert(day);
            sealed.put(&mut batch);
            self.write_rewritten(batch, &done)?;
            maintenance.seals.sealed = sealed;
            maintenance.merges.dropped(day);
            self.counters.days_sealed.add(1);
        } else {
            self.write_rewritten(batch, &done)?;
        }
        maintenance.seals.under_way = None;
        Ok((!disturbed).then_some(day))
    }

    fn seal_series(&self, batch: &mut Batch, day: Day, series: &SeriesChunks, done: &mut Rewritten) {
        let mut rows = Rollup::ALL.map(|rollup| (rollup, Segments::default()));
        let whole = self.rewrite(
            batch,
            day,
            series,
            done,
            Some(&mut |points| {
                rows.iter_mut().for_each(|(rollup, row)| row.push_samples(points, rollup.width_ms()));
            }),
        );
        // Without a row what is damaged goes on being reported by queries.
        if !whole || series.chunks.is_empty() {
            return;
        }
        for (rollup, row) in rows {
            let bytes = encode_rollup(&row, day.start_ms(), rollup.width_ms());
            batch.put_rollup(rollup, day, series.id, &bytes);
            self.counters.rollup_rows.add(1);
            self.counters.rollup_bytes.add(bytes.len() as u64);
        }
    }
}
