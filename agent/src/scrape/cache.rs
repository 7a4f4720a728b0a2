//! The series of one target, known by how the target writes them: relabelled once, then found by their text.
//! Notices which of them end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use binnacle_proto::{Labels, STALE_NAN};
use hashbrown::HashMap;

use super::client::{Failure, Fetched};
use super::config::Limits;
use super::exposition::{Exposed, Malformed, Parser, series, with_target};
use super::relabel::relabel;
use super::target::Target;
use crate::sample::{Round, Series};

/// Scrapes after which a line that did not come again is forgotten.
const FORGET_AFTER: u32 = 2;

/// Room for the series of all targets together. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    used: Arc<AtomicU64>,
    most: u64,
}

impl Room {
    pub(super) fn new(most: u64) -> Self {
        Self { used: Arc::default(), most }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        let taken = self.used.fetch_add(1, Ordering::Relaxed) < self.most;
        if !taken {
            self.free(1);
        }
        taken
    }

    fn free(&self, count: usize) {
        self.used.fetch_sub(count as u64, Ordering::Relaxed);
    }
}

/// What one scrape came to, in Prometheus' terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) scraped: u64,
    /// After relabelling.
    pub(super) kept: u64,
    /// Series that were not there before.
    pub(super) added: u64,
    /// Samples of a series that had one already: left out.
    pub(super) duplicates: u64,
    /// Read, and not kept: the server has no place for them.
    pub(super) exemplars: u64,
}

/// The series of one target.
pub(super) struct Cache {
    lines: HashMap<Box<str>, Known>,
    by_labels: HashMap<Labels, usize>,
    /// Places are used again.
    live: Vec<Option<Live>>,
    free: Vec<usize>,
    round: u32,
    room: Room,
}

/// A line as the target writes it.
struct Known {
    /// Place in `live`; `None` when relabelling drops it.
    at: Option<usize>,
    seen: u32,
}

struct Live {
    series: Series,
    /// Lines that come to this series.
    lines: u32,
    /// The last scrape that had it.
    touched: u32,
    /// Whether the last good scrape had it, so that it can end.
    lasting: bool,
}

impl Cache {
    pub(super) fn new(room: Room) -> Self {
        Self {
            lines: HashMap::new(),
            by_labels: HashMap::new(),
            live: Vec::new(),
            free: Vec::new(),
            round: 0,
            room,
        }
    }

    /// Reads an answer into rounds, the one at `t_ms` first; series that did not come again end in it.
    ///
    /// # Errors
    /// When the answer is refused: none of it is taken, and [`Cache::end`] is due.
    pub(super) fn take(
        &mut self,
        target: &Target,
        fetched: &Fetched,
        t_ms: i64,
        counts: &mut Counts,
    ) -> Result<Vec<Round>, Failure> {
        self.round = self.round.wrapping_add(1);
        let malformed = |e: Malformed| Failure::new("malformed", e.to_string());
        let mut parser = Parser::new(&fetched.body, fetched.format).map_err(malformed)?;
        let most = target.job.limits.samples;
        let mut taken: Vec<(usize, f64, Option<i64>)> = Vec::with_capacity(self.lines.len());
        while let Some(exposed) = parser.next().map_err(malformed)? {
            counts.scraped += 1;
            counts.exemplars += u64::from(exposed.exemplar);
            if most > 0 && counts.kept >= most && !self.lines.contains_key(exposed.key) {
                // Over the limit: only counted, as Prometheus does.
                counts.kept += u64::from(labels(target, &exposed)?.is_some());
                continue;
            }
            let Some(at) = self.place(target, &exposed, counts)? else { continue };
            let Some(live) = self.live.get_mut(at).and_then(Option::as_mut) else { continue };
            if live.touched == self.round {
                counts.duplicates += 1;
                continue;
            }
            live.touched = self.round;
            counts.kept += 1;
            let said = exposed.t_ms.filter(|_| target.job.honor_timestamps);
            taken.push((at, exposed.value, said));
        }
        if most > 0 && counts.kept > most {
            let text = format!("{} samples, {most} are allowed (sample_limit)", counts.kept);
            return Err(Failure::new("sample_limit", text));
        }
        Ok(self.settle(target, taken, t_ms))
    }

    /// Ends all series: the target did not answer well, or is a target no more.
    pub(super) fn end(&mut self, t_ms: i64) -> Round {
        let live = self.live.iter_mut().flatten();
        let lasting = live.filter_map(|live| std::mem::take(&mut live.lasting).then_some(&live.series));
        Round { t_ms, samples: lasting.map(|series| (series.clone(), STALE_NAN)).collect() }
    }

    /// The place of a line's series; `None` when relabelling drops it.
    fn place(
        &mut self,
        target: &Target,
        exposed: &Exposed<'_>,
        counts: &mut Counts,
    ) -> Result<Option<usize>, Failure> {
        let round = self.round;
        if let Some(known) = self.lines.get_mut(exposed.key) {
            known.seen = round;
            return Ok(known.at);
        }
        if !self.room.take() {
            let text = format!("more than {} series of all targets (scrape.max_series)", self.room.most);
            return Err(Failure::new("max_series", text));
        }
        let at = match labels(target, exposed) {
            Ok(labels) => labels.map(|labels| self.live(labels)),
            Err(failure) => {
                self.room.free(1);
                return Err(failure);
            }
        };
        counts.added += u64::from(at.is_some());
        self.lines.insert(exposed.key.into(), Known { at, seen: round });
        Ok(at)
    }

    fn live(&mut self, labels: Labels) -> usize {
        if let Some(&at) = self.by_labels.get(&labels) {
            if let Some(live) = &mut self.live[at] {
                live.lines += 1;
            }
            return at;
        }
        let live = Live {
            series: Series::new(labels.clone()),
            lines: 1,
            touched: self.round.wrapping_sub(1),
            lasting: false,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.live[at] = Some(live);
                at
            }
            None => {
                self.live.push(Some(live));
                self.live.len() - 1
            }
        };
        self.by_labels.insert(labels, at);
        at
    }

    /// The scrape is good: makes rounds of it, and forgets what has long not come.
    fn settle(&mut self, target: &Target, taken: Vec<(usize, f64, Option<i64>)>, t_ms: i64) -> Vec<Round> {
        let mut now = Round { t_ms, samples: Vec::with_capacity(taken.len()) };
        let mut others: BTreeMap<i64, Round> = BTreeMap::new();
        for (at, value, said) in taken {
            let Some(live) = self.live.get_mut(at).and_then(Option::as_mut) else { continue };
            live.lasting = said.is_none() || target.job.track_timestamps_staleness;
            match said.filter(|said| *said != t_ms) {
                Some(said) => {
                    let round =
                        others.entry(said).or_insert_with(|| Round { t_ms: said, samples: Vec::new() });
                    round.samples.push((live.series.clone(), value));
                }
                None => now.samples.push((live.series.clone(), value)),
            }
        }
        let round = self.round;
        for live in self.live.iter_mut().flatten() {
            if live.touched != round && std::mem::take(&mut live.lasting) {
                now.samples.push((live.series.clone(), STALE_NAN));
            }
        }
        self.forget();
        std::iter::once(now).chain(others.into_values()).collect()
    }

    fn forget(&mut self) {
        let (round, before) = (self.round, self.lines.len());
        let (all, by_labels, free) = (&mut self.live, &mut self.by_labels, &mut self.free);
        self.lines.retain(|_, known| {
            let keep = round.wrapping_sub(known.seen) <= FORGET_AFTER;
            if !keep && let Some(at) = known.at {
                let is_last = all[at].as_mut().is_some_and(|live| {
                    live.lines -= 1;
                    live.lines == 0
                });
                if is_last && let Some(live) = all[at].take() {
                    by_labels.remove(live.series.labels());
                    free.push(at);
                }
            }
            keep
        });
        self.room.free(before - self.lines.len());
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.room.free(self.lines.len());
    }
}

/// The labels of a new line's series; `None` when relabelling drops it.
fn labels(target: &Target, exposed: &Exposed<'_>) -> Result<Option<Labels>, Failure> {
    let shown: String = exposed.key.chars().take(80).collect();
    let own = series(exposed).map_err(|e| Failure::new("malformed", format!("{shown}: {e}")))?;
    let mut labels = with_target(&own, &target.labels, target.job.honor_labels);
    if !relabel(&mut labels, &target.job.metric_relabel) {
        return Ok(None);
    }
    let labels = labels.build();
    if labels.is_empty() {
        return Ok(None);
    }
    if labels.metric_name().is_none() {
        return Err(Failure::new("relabelling", format!("{shown}: relabelling took the metric's name away")));
    }
    check(&labels, target.job.limits)
        .map_err(|text| Failure::new("label_limit", format!("{shown}: {text}")))?;
    Ok(Some(labels))
}

fn check(labels: &Labels, limits: Limits) -> Result<(), String> {
    let over = |have: usize, most: u64| most > 0 && have as u64 > most;
    if over(labels.len(), limits.labels) {
        return Err(format!("{} labels, {} are allowed (label_limit)", labels.len(), limits.labels));
    }
    for (name, value) in labels.iter() {
        if over(name.len(), limits.label_name_length) {
            return Err(format!("label {name:?} has a longer name than label_name_length_limit allows"));
        }
        if over(value.len(), limits.label_value_length) {
            return Err(format!("label {name:?} has a longer value than label_value_length_limit allows"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
