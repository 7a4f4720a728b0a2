//! The series of one target, known by how the target writes them: relabelled once, then found by their text.
//! Notices which of them end.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use binnacle_proto::{Labels, STALE_NAN};
use hashbrown::HashMap;
use twox_hash::XxHash3_64;

use super::client::{Failure, Fetched};
use super::config::Limits;
use super::exposition::{Exposed, ExposedExemplar, Malformed, Parser, exemplar_labels, series, with_target};
use super::relabel::relabel;
use super::room::Room;
use super::target::Target;
use crate::sample::{Exemplar, Round, Series};

/// Scrapes after which a line that did not come again is forgotten.
const FORGET_AFTER: u32 = 2;

/// Most characters of an exemplar's labels, names and values together: OpenMetrics' bound.
const MAX_EXEMPLAR_CHARS: usize = 128;

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
    /// Exemplars whose labels are too long, or not in order: left out.
    pub(super) bad_exemplars: u64,
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
    /// The scrapes that had it first and last.
    first: u32,
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
    /// What the last exemplar said, as a hash: targets say the same one until there is another.
    exemplar: u64,
}

/// What one scrape brought.
#[derive(Default)]
struct Taken {
    /// Place of the series, value, and the time that the target says.
    samples: Vec<(usize, f64, Option<i64>)>,
    /// Place of the series, and the hash that goes with it.
    exemplars: Vec<(usize, u64, Exemplar)>,
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
        let (round, result) = (self.round, self.read(target, fetched, t_ms, counts));
        if result.is_err() {
            // Lines of an answer that is not taken would hold room that others wait for.
            self.forget(|known| known.first != round);
        }
        result
    }

    fn read(
        &mut self,
        target: &Target,
        fetched: &Fetched,
        t_ms: i64,
        counts: &mut Counts,
    ) -> Result<Vec<Round>, Failure> {
        let malformed = |e: Malformed| Failure::new("malformed", e.to_string());
        let mut parser = Parser::new(fetched.body.bytes(), fetched.format).map_err(malformed)?;
        let most = target.job.limits.samples;
        let mut taken = Taken { samples: Vec::with_capacity(self.lines.len()), exemplars: Vec::new() };
        while let Some(exposed) = parser.next().map_err(malformed)? {
            counts.scraped += 1;
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
            taken.samples.push((at, exposed.value, said));
            if let Some(found) = &exposed.exemplar {
                match live.new_exemplar(found, said.unwrap_or(t_ms)) {
                    Ok(Some((hash, exemplar))) => taken.exemplars.push((at, hash, exemplar)),
                    Ok(None) => {}
                    Err(()) => counts.bad_exemplars += 1,
                }
            }
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
        Round::new(t_ms, lasting.map(|series| (series.clone(), STALE_NAN)).collect())
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
        if !self.room.take(1) {
            let text = format!("more than {} series of all targets (scrape.max_series)", self.room.most());
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
        self.lines.insert(exposed.key.into(), Known { at, first: round, seen: round });
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
            exemplar: 0,
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
    fn settle(&mut self, target: &Target, taken: Taken, t_ms: i64) -> Vec<Round> {
        let mut now = Round::new(t_ms, Vec::with_capacity(taken.samples.len()));
        let mut others: BTreeMap<i64, Round> = BTreeMap::new();
        for (at, value, said) in taken.samples {
            let Some(live) = self.live.get_mut(at).and_then(Option::as_mut) else { continue };
            live.lasting = said.is_none() || target.job.track_timestamps_staleness;
            match said.filter(|said| *said != t_ms) {
                Some(said) => {
                    let round = others.entry(said).or_insert_with(|| Round::new(said, Vec::new()));
                    round.samples.push((live.series.clone(), value));
                }
                None => now.samples.push((live.series.clone(), value)),
            }
        }
        for (at, hash, exemplar) in taken.exemplars {
            if let Some(live) = self.live.get_mut(at).and_then(Option::as_mut) {
                live.exemplar = hash;
                now.exemplars.push(exemplar);
            }
        }
        let round = self.round;
        for live in self.live.iter_mut().flatten() {
            if live.touched != round && std::mem::take(&mut live.lasting) {
                now.samples.push((live.series.clone(), STALE_NAN));
            }
        }
        self.forget(|known| round.wrapping_sub(known.seen) <= FORGET_AFTER);
        std::iter::once(now).chain(others.into_values()).collect()
    }

    /// Drops all lines but those that `keep` wants, and what only they came to.
    fn forget(&mut self, keep: impl Fn(&Known) -> bool) {
        let before = self.lines.len();
        let (all, by_labels, free) = (&mut self.live, &mut self.by_labels, &mut self.free);
        self.lines.retain(|_, known| {
            let keep = keep(known);
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
        self.room.free((before - self.lines.len()) as u64);
    }
}

impl Live {
    /// The exemplar, when it is another one than the last, with its hash. One without a time is of the sample's.
    ///
    /// # Errors
    /// When its labels are too long, or not in order.
    fn new_exemplar(&self, found: &ExposedExemplar<'_>, t_ms: i64) -> Result<Option<(u64, Exemplar)>, ()> {
        let mut hasher = XxHash3_64::with_seed(1);
        (found.labels, found.value.to_bits(), found.t_ms).hash(&mut hasher);
        let hash = hasher.finish();
        if hash == self.exemplar {
            return Ok(None);
        }
        let labels = exemplar_labels(found).map_err(|_| ())?;
        let chars: usize =
            labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if chars > MAX_EXEMPLAR_CHARS {
            return Err(());
        }
        let series = self.series.labels().clone();
        Ok(Some((hash, Exemplar { series, labels, value: found.value, t_ms: found.t_ms.unwrap_or(t_ms) })))
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.room.free(self.lines.len() as u64);
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
