//! How long the records of each stream are kept.

use super::Shared;
use crate::Config;
use crate::logql::parse_matchers;
use crate::matcher::Matcher;
use crate::streams::Stream;

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// The settings, with their selectors read.
pub(crate) struct Retention {
    default_ms: i64,
    rules: Vec<(Vec<Matcher>, i64)>,
}

impl Retention {
    /// Reads the settings.
    ///
    /// # Errors
    /// Which selector is wrong, and why.
    pub fn new(config: &Config) -> Result<Self, String> {
        let mut rules = Vec::with_capacity(config.stream_retention.len());
        for rule in &config.stream_retention {
            let matchers = parse_matchers(&rule.selector)
                .map_err(|err| format!("selector {:?}: {err}", rule.selector))?;
            rules.push((matchers, i64::from(rule.retention_hours) * HOUR_MS));
        }
        Ok(Self { default_ms: i64::from(config.retention_hours) * HOUR_MS, rules })
    }

    /// The longest that anything is kept, in milliseconds.
    pub fn longest_ms(&self) -> i64 {
        self.rules.iter().map(|(_, kept_ms)| *kept_ms).fold(self.default_ms, i64::max)
    }
}

impl Shared {
    /// Records of a stream before this time are past their retention.
    pub(super) fn oldest_ns(&self, stream: &Stream, now_ms: i64) -> i64 {
        let kept_ms = *stream.retention_ms.get_or_init(|| {
            let matching = self
                .retention
                .rules
                .iter()
                .find(|(matchers, _)| matchers.iter().all(|matcher| matcher.matches(&stream.labels)));
            matching.map_or(self.retention.default_ms, |(_, kept_ms)| *kept_ms)
        });
        now_ms.saturating_sub(kept_ms).saturating_mul(1_000_000)
    }
}
