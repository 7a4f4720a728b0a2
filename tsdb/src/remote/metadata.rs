//! Help, type and unit of metric families, as senders told them. Kept in memory: they repeat them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// Longest help text kept, in bytes; the rest is cut.
const MAX_HELP_BYTES: usize = 1024;

/// Longest name or unit of a family that is kept, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Not told.
    Unknown,
    /// Only grows, but for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Buckets that go up and down.
    GaugeHistogram,
    /// Quantiles, sum and count.
    Summary,
    /// Constant 1 with labels.
    Info,
    /// One series a state.
    StateSet,
}

impl MetricKind {
    /// The name in the text format and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// The number on the wire: both versions of remote write count alike.
    pub(super) fn from_wire(number: u64) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }
}

/// What is known of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its type.
    pub kind: MetricKind,
    /// What it means.
    pub help: String,
    /// Its unit, mostly empty: names carry units.
    pub unit: String,
}

/// Families by name; clones share them.
#[derive(Clone)]
pub struct Metadata(Arc<Inner>);

struct Inner {
    families: RwLock<BTreeMap<String, Family>>,
    max_families: usize,
}

impl Metadata {
    /// Room for so many families; more are not kept.
    pub fn new(max_families: usize) -> Self {
        Self(Arc::new(Inner { families: RwLock::default(), max_families }))
    }

    /// Keeps what is said of family `name`, the latest word counts. `false`: there is no room, or name or
    /// unit are too long.
    pub fn set(&self, name: &str, kind: MetricKind, help: &str, unit: &str) -> bool {
        if name.len() > MAX_NAME_BYTES || unit.len() > MAX_NAME_BYTES {
            return false;
        }
        let mut cut = help.len().min(MAX_HELP_BYTES);
        while !help.is_char_boundary(cut) {
            cut -= 1;
        }
        let help = &help[..cut];
        let same = |have: &Family| have.kind == kind && have.help == help && have.unit == unit;
        if self.0.families.read().get(name).is_some_and(same) {
            return true;
        }
        let mut families = self.0.families.write();
        if families.len() >= self.0.max_families && !families.contains_key(name) {
            return false;
        }
        families.insert(name.to_owned(), Family { kind, help: help.to_owned(), unit: unit.to_owned() });
        true
    }

    /// The first `limit` families, or only the one of this name.
    pub fn families(&self, only: Option<&str>, limit: usize) -> Vec<(String, Family)> {
        let families = self.0.families.read();
        let found: Box<dyn Iterator<Item = (&String, &Family)>> = match only {
            Some(name) => Box::new(families.get_key_value(name).into_iter()),
            None => Box::new(families.iter()),
        };
        found.take(limit).map(|(name, family)| (name.clone(), family.clone())).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.families.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_word_counts_and_room_is_bounded() {
        let metadata = Metadata::new(1);
        assert!(metadata.set("up", MetricKind::Unknown, "old", ""));
        assert!(metadata.set("up", MetricKind::Gauge, &"é".repeat(MAX_HELP_BYTES), ""));
        assert!(!metadata.set("other", MetricKind::Gauge, "", ""));
        assert!(!metadata.set("up", MetricKind::Gauge, "", &"x".repeat(MAX_NAME_BYTES + 1)));
        let families = metadata.families(None, 10);
        assert_eq!(families.len(), 1);
        assert_eq!(families[0].1.kind, MetricKind::Gauge);
        assert_eq!(families[0].1.help.len(), MAX_HELP_BYTES);
        assert!(metadata.families(Some("other"), 10).is_empty());
    }
}
