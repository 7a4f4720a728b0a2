//! This part's own metrics.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Api;

/// Upper bounds of the query histogram, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0, 120.0];

/// Totals since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    running: AtomicU64,
    failed: AtomicU64,
    samples: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Counters {
    pub(super) fn query_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a query as running for as long as it lives.
pub(super) struct Running<'a>(&'a Counters);

impl<'a> Running<'a> {
    pub(super) fn start(counters: &'a Counters) -> Self {
        counters.running.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }

    pub(super) fn evaluated(&self, took: Duration, samples: u64) {
        let seconds = took.as_secs_f64();
        if let Some(at) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.0.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.sum_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        self.0.samples.fetch_add(samples, Ordering::Relaxed);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Families in the text format.
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    /// Starts a family; `kind` is its type.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self
    }

    /// One sample; `labels` is `{a="b"}` or empty.
    pub(crate) fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) -> &mut Self {
        let _ = writeln!(self.0, "{name}{labels} {value}");
        self
    }

    /// A family of one sample.
    pub(crate) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help).sample(name, "", value);
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

pub(super) fn text(api: &Api) -> String {
    let mut text = Text::new();
    queries(&mut text, &api.0.counters);
    remote_write(&mut text, api);
    if let Some(rules) = api.rules() {
        rules.write_metrics(&mut text);
    }
    text.into_string()
}

fn queries(text: &mut Text, counters: &Counters) {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    text.single("binnacle_queries_running", "gauge", "Queries being evaluated.", load(&counters.running));
    text.single(
        "binnacle_query_failures_total",
        "counter",
        "Queries that ended in an error.",
        load(&counters.failed),
    );
    text.single(
        "binnacle_query_samples_total",
        "counter",
        "Samples read by queries.",
        load(&counters.samples),
    );
    let name = "binnacle_query_duration_seconds";
    text.family(name, "histogram", "Time from arrival of a query to its result.");
    let bucket = format!("{name}_bucket");
    let mut below = 0;
    for (bound, count) in BUCKETS.iter().zip(&counters.buckets) {
        below += load(count);
        text.sample(&bucket, &format!("{{le=\"{bound}\"}}"), below);
    }
    text.sample(&bucket, "{le=\"+Inf\"}", load(&counters.count));
    text.sample(&format!("{name}_sum"), "", load(&counters.sum_micros) as f64 / 1e6);
    text.sample(&format!("{name}_count"), "", load(&counters.count));
}

fn remote_write(text: &mut Text, api: &Api) {
    let counters = api.0.receiver.counters();
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let name = "binnacle_remote_write_requests_total";
    text.family(name, "counter", "Remote write requests by what became of them.");
    for (result, counter) in [
        ("ok", &counters.requests_ok),
        ("refused", &counters.requests_refused),
        ("busy", &counters.requests_busy),
        ("failed", &counters.requests_failed),
    ] {
        text.sample(name, &format!("{{result={result:?}}}"), load(counter));
    }
    text.single(
        "binnacle_remote_write_bytes_total",
        "counter",
        "Compressed bytes received.",
        load(&counters.bytes),
    );
    let name = "binnacle_remote_write_samples_total";
    text.family(name, "counter", "Samples received by what became of them.");
    for (result, counter) in [
        ("stored", &counters.samples_stored),
        ("repeated", &counters.samples_repeated),
        ("conflicting", &counters.samples_conflicting),
        ("out_of_bounds", &counters.samples_out_of_bounds),
        ("bad_series", &counters.samples_bad_series),
    ] {
        text.sample(name, &format!("{{result={result:?}}}"), load(counter));
    }
    text.single(
        "binnacle_remote_write_histograms_dropped_total",
        "counter",
        "Native histograms received, which are not stored.",
        load(&counters.histograms_dropped),
    );
    text.single(
        "binnacle_remote_write_exemplars_dropped_total",
        "counter",
        "Exemplars received, which are not stored.",
        load(&counters.exemplars_dropped),
    );
    let name = "binnacle_remote_write_label_cache_total";
    text.family(name, "counter", "Label blocks by whether the cache knew them.");
    text.sample(name, "{result=\"hit\"}", load(&counters.labels_hit));
    text.sample(name, "{result=\"miss\"}", load(&counters.labels_missed));
    text.single(
        "binnacle_remote_write_label_cache_entries",
        "gauge",
        "Label blocks in the cache.",
        api.0.receiver.cached_label_blocks(),
    );
    text.single(
        "binnacle_remote_write_label_cache_emptied_total",
        "counter",
        "Times a full part of the label cache was emptied.",
        load(&counters.label_cache_emptied),
    );
    text.single(
        "binnacle_metadata_families",
        "gauge",
        "Metric families with metadata.",
        api.metadata().len(),
    );
    text.single(
        "binnacle_metadata_dropped_total",
        "counter",
        "Metadata for which there was no room.",
        load(&counters.metadata_dropped),
    );
}
