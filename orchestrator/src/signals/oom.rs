//! Signals of the OOM scorer.

use std::collections::BTreeMap;

use super::{Ask, Asked};

/// What the store knows of the containers' memory, by the container's id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signals {
    /// What was asked.
    pub asked: Vec<Asked>,
    /// Working set: milliseconds since the epoch and bytes, ascending.
    pub working_sets: BTreeMap<String, Vec<(i64, f64)>>,
    /// Share of time that it waited for memory.
    pub pressures: BTreeMap<String, f64>,
}

/// The last part of a cgroup path: the container's id.
fn container_id(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Asks for all containers of all pods, over the last `window_ms`.
pub fn ask(ask: &dyn Ask, window_ms: i64, now_ms: i64) -> Signals {
    let memory = format!("container_memory_working_set_bytes{{pod!=\"\",container!=\"\"}}[{window_ms}ms]");
    let pressure = format!(
        "sum by (id) (rate(container_pressure_memory_waiting_seconds_total{{pod!=\"\",container!=\"\"}}[{window_ms}ms]))"
    );
    let (sets, waits) = (ask.samples(&memory, now_ms), ask.vector(&pressure, now_ms));
    let mut signals = Signals {
        asked: vec![
            Asked::new("working set", &memory, sets.as_ref().err().cloned()),
            Asked::new("memory pressure", &pressure, waits.as_ref().err().cloned()),
        ],
        ..Signals::default()
    };
    for series in sets.unwrap_or_default() {
        let Some(id) = series.labels.get("id") else { continue };
        let points = series.points.timestamps.iter().zip(&series.points.values);
        let points =
            points.filter(|(_, value)| value.is_finite()).map(|(t_ms, value)| (*t_ms, *value)).collect();
        signals.working_sets.insert(container_id(id).to_owned(), points);
    }
    for sample in waits.unwrap_or_default() {
        if let (Some(id), true) = (sample.labels.get("id"), sample.value.is_finite()) {
            signals.pressures.insert(container_id(id).to_owned(), sample.value);
        }
    }
    signals
}
