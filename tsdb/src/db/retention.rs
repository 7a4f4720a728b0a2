//! How long samples are kept: whole days by the global retention, series by their own rules, which hide
//! what is too old at once and delete it day by day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use binnacle_proto::Labels;

use super::{Core, Maintenance, TimeRange};
use crate::config::SeriesRetention;
use crate::day::Day;
use crate::select::Matcher;
use crate::{Config, Error, parse_selector};

/// Time between two looks for days that a rule has outlived.
const SWEEP_EVERY_MS: i64 = 600_000;

/// A rule of `tsdb.series_retention`, ready for use.
struct Rule {
    matchers: Vec<Matcher>,
    keep_ms: i64,
}

impl Config {
    /// Looks at what types cannot express, without opening anything.
    ///
    /// # Errors
    /// The key of the section `[tsdb]`, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let rules = Retention::new(self.retention, &self.series_retention);
        rules.map(drop).map_err(|error| ("series_retention", error.to_string()))
    }
}

/// The retention as it applies now.
pub(crate) struct Retention {
    keep_ms: i64,
    rules: Vec<Rule>,
    /// The newest time anybody told.
    now_ms: AtomicI64,
    sweep_due_ms: AtomicI64,
}

impl Retention {
    /// # Errors
    /// [`Error::BadInput`] for a rule that is no selector or keeps longer than everything is kept.
    pub(super) fn new(global: Duration, rules: &[SeriesRetention]) -> Result<Self, Error> {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let keep_ms = if global.is_zero() { i64::MAX } else { ms(global) };
        let read = |rule: &SeriesRetention| {
            let wrong = |why: String| Error::BadInput(format!("selector {:?}: {why}", rule.selector));
            let matchers = parse_selector(&rule.selector).map_err(|error| wrong(error.to_string()))?;
            let own_ms = ms(rule.retention);
            if own_ms == 0 || own_ms > keep_ms {
                let why = "its retention must be above 0 and at most tsdb.retention";
                return Err(wrong(why.to_owned()));
            }
            Ok(Rule { matchers, keep_ms: own_ms })
        };
        let rules = rules.iter().map(read).collect::<Result<_, _>>()?;
        let never = || AtomicI64::new(i64::MIN);
        Ok(Self { keep_ms, rules, now_ms: never(), sweep_due_ms: never() })
    }

    pub(super) fn note_now(&self, now_ms: i64) {
        self.now_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Samples older than this are refused, and dropped when their day has ended before.
    pub(super) fn oldest_kept_ms(&self) -> i64 {
        self.before_now(self.keep_ms)
    }

    /// Whether some series have lost samples from `start_ms` on that others still have.
    pub(crate) fn hides_from(&self, start_ms: i64) -> bool {
        self.rules.iter().any(|rule| self.before_now(rule.keep_ms) > start_ms)
    }

    /// Samples of a series older than this are gone by a rule; of several the strictest.
    pub(crate) fn series_kept_ms(&self, labels: &Labels) -> i64 {
        let matching =
            self.rules.iter().filter(|rule| rule.matchers.iter().all(|matcher| matcher.matches(labels)));
        matching.map(|rule| rule.keep_ms).min().map_or(i64::MIN, |keep_ms| self.before_now(keep_ms))
    }

    fn before_now(&self, keep_ms: i64) -> i64 {
        match self.now_ms.load(Ordering::Relaxed) {
            i64::MIN => i64::MIN,
            _ if keep_ms == i64::MAX => i64::MIN,
            now_ms => now_ms.saturating_sub(keep_ms),
        }
    }
}

impl Core {
    pub(super) fn apply_retention(&self, now_ms: i64) -> Result<(), Error> {
        self.drop_old_days()?;
        if !self.retention.rules.is_empty() && now_ms >= self.retention.sweep_due_ms.load(Ordering::Relaxed) {
            self.delete_outlived()?;
            self.retention.sweep_due_ms.store(now_ms.saturating_add(SWEEP_EVERY_MS), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Drops the days that ended before the retention begins.
    fn drop_old_days(&self) -> Result<(), Error> {
        let oldest_ms = self.retention.oldest_kept_ms();
        if oldest_ms == i64::MIN {
            return Ok(());
        }
        let old: Vec<Day> = self.days.read().range(..Day::of(oldest_ms)).copied().collect();
        for day in old {
            let mut maintenance = self.maintenance.lock();
            self.store.drop_day(day)?;
            self.forget_day(&mut maintenance, day);
            self.counters.days_dropped.add(1);
            tracing::info!(day = day.0, "a day has left the retention and is dropped");
        }
        Ok(())
    }

    /// Takes note that nothing is left of a day.
    pub(super) fn forget_day(&self, maintenance: &mut Maintenance, day: Day) {
        self.days.write().remove(&day);
        maintenance.merges.dropped(day);
        maintenance.seals.dropped(day);
        self.rolled_up.write().remove(&day);
    }

    /// Deletes series from the days that ended before their rule's retention begins.
    fn delete_outlived(&self) -> Result<(), Error> {
        for rule in &self.retention.rules {
            let kept = Day::of(self.retention.before_now(rule.keep_ms));
            let old: Vec<Day> = self.days.read().range(..kept).copied().collect();
            for day in old {
                let mut maintenance = self.maintenance.lock();
                self.delete_on(&mut maintenance, day, std::slice::from_ref(&rule.matchers), TimeRange::ALL)?;
            }
        }
        Ok(())
    }
}
