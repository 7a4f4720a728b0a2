//! The agent's own counters and gauges: `binnacle_agent_*`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::sample::Scrape;

/// A number that only grows. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub(crate) fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

enum Value {
    Counter(Counter),
    Gauge(Gauge),
}

struct Metric {
    name: &'static str,
    labels: Vec<(&'static str, String)>,
    value: Value,
    /// It ends when nobody holds it any more.
    passing: bool,
}

/// All metrics of the process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct SelfMetrics(Arc<Mutex<Vec<Metric>>>);

impl SelfMetrics {
    /// The counter of this name and these labels; made on first use. Callers keep it.
    pub(crate) fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        let mut metrics = self.0.lock();
        for metric in metrics.iter().filter(|metric| metric.is(name, labels)) {
            if let Value::Counter(counter) = &metric.value {
                return counter.clone();
            }
        }
        let counter = Counter::default();
        metrics.push(Metric::new(name, labels, Value::Counter(counter.clone())));
        counter
    }

    /// As [`SelfMetrics::counter`], of something that comes and goes: it is shown once more after its last holder is
    /// gone, and then it ends.
    pub(crate) fn passing_counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        let counter = self.counter(name, labels);
        let mut metrics = self.0.lock();
        for metric in metrics.iter_mut().filter(|metric| metric.is(name, labels)) {
            metric.passing = true;
        }
        counter
    }

    /// The gauge of this name and these labels; made on first use. Callers keep it.
    pub(crate) fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        let mut metrics = self.0.lock();
        for metric in metrics.iter().filter(|metric| metric.is(name, labels)) {
            if let Value::Gauge(gauge) = &metric.value {
                return gauge.clone();
            }
        }
        let gauge = Gauge::default();
        metrics.push(Metric::new(name, labels, Value::Gauge(gauge.clone())));
        gauge
    }

    /// Counts something that will never reach the server.
    pub(crate) fn lost(&self, what: &str, why: &str, count: u64) {
        self.counter("binnacle_agent_lost_total", &[("what", what), ("why", why)]).add(count);
    }

    /// Emits all of them as samples.
    pub(crate) fn emit(&self, scrape: &mut Scrape<'_>) {
        let mut metrics = self.0.lock();
        for metric in metrics.iter() {
            let mut labels = [("", ""); 4];
            let count = metric.labels.len().min(labels.len());
            for (slot, (name, value)) in labels.iter_mut().zip(&metric.labels) {
                *slot = (name, value);
            }
            scrape.emit(metric.name, &labels[..count], metric.value.get());
        }
        metrics.retain(|metric| !metric.passing || metric.value.is_held());
    }

    /// The Prometheus text format.
    pub(crate) fn render(&self) -> String {
        let metrics = self.0.lock();
        let mut order: Vec<&Metric> = metrics.iter().collect();
        order.sort_by_key(|metric| (metric.name, &metric.labels));
        let mut text = String::new();
        let mut previous = "";
        for metric in order {
            if metric.name != previous {
                let kind = if matches!(metric.value, Value::Counter(_)) { "counter" } else { "gauge" };
                let _ = writeln!(text, "# TYPE {} {kind}", metric.name);
                previous = metric.name;
            }
            let labels: Vec<String> = metric.labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{}{labels} {}", metric.name, metric.value.get());
        }
        text
    }
}

impl Metric {
    fn new(name: &'static str, labels: &[(&'static str, &str)], value: Value) -> Self {
        let labels = labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        Self { name, labels, value, passing: false }
    }

    fn is(&self, name: &str, labels: &[(&'static str, &str)]) -> bool {
        let same = |(have, want): (&(&str, String), &(&str, &str))| have.0 == want.0 && have.1 == want.1;
        self.name == name && self.labels.len() == labels.len() && self.labels.iter().zip(labels).all(same)
    }
}

impl Value {
    /// Whether anybody but the list has it.
    fn is_held(&self) -> bool {
        let (Self::Counter(Counter(shared)) | Self::Gauge(Gauge(shared))) = self;
        Arc::strong_count(shared) > 1
    }

    fn get(&self) -> f64 {
        match self {
            Self::Counter(counter) => counter.get() as f64,
            Self::Gauge(gauge) => gauge.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_labels_is_one_metric() {
        let metrics = SelfMetrics::default();
        metrics.lost("samples", "spool_full", 3);
        metrics.lost("samples", "spool_full", 4);
        metrics.lost("lines", "rate", 1);
        metrics.gauge("binnacle_agent_queue_rounds", &[]).set(1.5);
        assert_eq!(
            metrics.render(),
            "# TYPE binnacle_agent_lost_total counter\n\
             binnacle_agent_lost_total{what=\"lines\",why=\"rate\"} 1\n\
             binnacle_agent_lost_total{what=\"samples\",why=\"spool_full\"} 7\n\
             # TYPE binnacle_agent_queue_rounds gauge\n\
             binnacle_agent_queue_rounds 1.5\n"
        );
    }

    #[test]
    fn what_nobody_holds_any_more_is_shown_once_more_and_ends() {
        let metrics = SelfMetrics::default();
        let mut page = crate::sample::Page::new(binnacle_proto::LabelsBuilder::new());
        let mut values = || {
            let mut samples = Vec::new();
            let mut scrape = page.scrape(&mut samples);
            metrics.emit(&mut scrape);
            scrape.finish();
            samples.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        };
        let first = metrics.passing_counter("binnacle_agent_x_total", &[("pod", "a")]);
        let second = metrics.passing_counter("binnacle_agent_x_total", &[("pod", "a")]);
        metrics.counter("binnacle_agent_y_total", &[]).add(1);
        drop(first);
        assert_eq!(values(), [0.0, 1.0]);
        second.add(5);
        drop(second);
        assert_eq!(values(), [5.0, 1.0]);
        let last = values();
        assert!(last.len() == 2 && last[0] == 1.0 && binnacle_proto::is_stale(last[1]), "{last:?}");
        assert!(!metrics.render().contains("x_total"));
    }
}
