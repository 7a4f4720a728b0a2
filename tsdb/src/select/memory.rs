//! A source that holds its samples in a map: the reference in tests.

use std::collections::BTreeMap;

use binnacle_proto::Labels;

use super::{Guard, Points, ReadSeries, Select, Selected, Source};
use crate::Error;

/// Samples in memory. Not a store: no limits, no persistence.
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
}

impl MemorySource {
    /// An empty source.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one sample.
    pub fn append(&mut self, labels: Labels, t_ms: i64, value: f64) {
        self.series.entry(labels).or_default().insert(t_ms, value);
    }
}

impl Source for MemorySource {
    fn select(&self, select: &Select, _guard: &Guard) -> Result<Selected, Error> {
        let mut series = Vec::new();
        let mut points = Vec::new();
        for (labels, samples) in &self.series {
            if !select.matchers.iter().all(|matcher| matcher.matches(labels)) {
                continue;
            }
            let mut found = Points::default();
            for (t_ms, value) in samples.range(select.start_ms..=select.end_ms) {
                found.push(*t_ms, *value);
            }
            if !found.is_empty() {
                series.push(labels.clone());
                points.push(found);
            }
        }
        Ok(Selected { series, reader: Box::new(MemoryReader(points)), warnings: Vec::new() })
    }
}

struct MemoryReader(Vec<Points>);

impl ReadSeries for MemoryReader {
    fn read(&self, index: usize, guard: &Guard, out: &mut Points) -> Result<(), Error> {
        let points = &self.0[index];
        guard.charge_samples(points.len() as u64)?;
        out.timestamps.extend_from_slice(&points.timestamps);
        out.values.extend_from_slice(&points.values);
        Ok(())
    }
}
