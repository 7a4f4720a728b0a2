//! This part's own metrics.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Api;
use crate::Stats;
use crate::remote::SampleCounters;

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
    super::otlp::write_metrics(&mut text, &api.0.otlp);
    samples(&mut text, "binnacle_otlp_samples_total", &api.0.receiver.counters().otlp);
    exemplars(&mut text, api);
    let stats = api.0.db.stats();
    tsdb(&mut text, &stats);
    refused_series(&mut text, &stats);
    if let Some(rules) = api.rules() {
        rules.write_metrics(&mut text);
    }
    text.into_string()
}

fn tsdb(text: &mut Text, stats: &Stats) {
    for (name, help, value) in [
        ("head_series", "Series in memory.", stats.head_series),
        ("head_series_limit", "Limit of series in memory; 0 is none.", stats.head_series_limit),
        ("head_chunk_bytes", "Bytes of open chunks.", stats.head_chunk_bytes),
        ("head_samples", "Samples in memory that are not in chunks yet.", stats.head_samples),
        ("wal_records", "Records of the write-ahead log that are not in chunks yet.", stats.wal_records),
        ("wal_bytes", "Bytes of these.", stats.wal_bytes),
        ("disk_bytes", "Bytes of table files on disk.", stats.disk_bytes),
        ("disk_free_bytes", "Bytes free on the disk of the data folder.", stats.disk_free_bytes),
        ("block_cache_bytes", "Bytes of the block cache in use.", stats.block_cache_bytes),
        ("memtable_bytes", "Bytes of memtables.", stats.memtable_bytes),
    ] {
        text.single(&format!("binnacle_tsdb_{name}"), "gauge", help, value);
    }
    for (name, help, value) in [
        ("series_created", "Series that came into being.", stats.series_created),
        ("series_evicted", "Series that left memory.", stats.series_evicted),
        ("series_refused", "Series refused because a budget was used up.", stats.series_refused),
        ("samples_appended", "Samples made durable.", stats.samples_appended),
        ("samples_out_of_order", "Of these, samples that came out of order.", stats.samples_out_of_order),
        ("samples_repeated", "Samples that were there already.", stats.samples_repeated),
        ("samples_conflicting", "Samples refused: same time, another value.", stats.samples_conflicting),
        ("samples_too_old", "Samples refused: too old.", stats.samples_too_old),
        ("samples_too_new", "Samples refused: too far in the future.", stats.samples_too_new),
        ("samples_unknown_series", "Samples refused: series not known.", stats.samples_unknown_series),
        ("wal_syncs", "Syncs of the write-ahead log.", stats.wal_syncs),
        ("chunk_samples_written", "Samples in chunks written.", stats.chunk_samples_written),
        ("chunk_bytes_written", "Bytes of chunks written.", stats.chunk_bytes_written),
        ("chunks_corrupt", "Chunks found corrupt and skipped.", stats.chunks_corrupt),
        ("flushes", "Flushes of head shards.", stats.flushes),
        ("flush_failures", "Flushes that failed.", stats.flush_failures),
        ("days_dropped", "Days dropped by retention.", stats.days_dropped),
        ("chunks_merged", "Chunks replaced by larger ones.", stats.chunks_merged),
        ("chunks_merged_into", "Chunks that replaced them.", stats.chunks_merged_into),
        ("merge_bytes_before", "Bytes of chunks that were replaced.", stats.merge_bytes_before),
        ("merge_bytes_after", "Bytes of chunks that replaced them.", stats.merge_bytes_after),
        ("merge_passes", "Looks over a day for chunks to merge.", stats.merge_passes),
        ("days_sealed", "Days that got their final shape and rollups.", stats.days_sealed),
        ("days_unsealed", "Sealed days opened again by late samples or deletions.", stats.days_unsealed),
        ("rollup_rows", "Rows of rollups written.", stats.rollup_rows),
        ("rollup_bytes", "Bytes of these.", stats.rollup_bytes),
    ] {
        text.single(&format!("binnacle_tsdb_{name}_total"), "counter", help, value);
    }
}

fn refused_series(text: &mut Text, stats: &Stats) {
    let name = "binnacle_tsdb_series_refused_by_budget_total";
    text.family(name, "counter", "Series refused, by the setting whose budget was used up.")
        .sample(name, r#"{budget="max_series"}"#, stats.series_refused_global)
        .sample(name, r#"{budget="max_series_per_namespace"}"#, stats.series_refused_namespace)
        .sample(name, r#"{budget="max_series_per_job"}"#, stats.series_refused_job);
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

fn exemplars(text: &mut Text, api: &Api) {
    let stats = api.0.exemplars.stats();
    text.single("binnacle_exemplars", "gauge", "Exemplars in memory.", stats.held);
    text.single("binnacle_exemplars_limit", "gauge", "Limit of these (http.max_exemplars).", stats.limit);
    text.single("binnacle_exemplars_stored_total", "counter", "Exemplars taken.", stats.stored);
    let name = "binnacle_exemplars_refused_total";
    text.family(name, "counter", "Exemplars refused, by reason.");
    text.sample(name, "{reason=\"out_of_order\"}", stats.out_of_order);
    text.sample(name, "{reason=\"too_long\"}", stats.too_long);
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
    samples(text, "binnacle_remote_write_samples_total", &counters.write);
    text.single(
        "binnacle_remote_write_histograms_dropped_total",
        "counter",
        "Native histograms received, which are not stored.",
        load(&counters.histograms_dropped),
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

/// Samples that a protocol brought, by what became of them.
fn samples(text: &mut Text, name: &str, counters: &SampleCounters) {
    text.family(name, "counter", "Samples received by what became of them.");
    for (result, counter) in [
        ("stored", &counters.stored),
        ("repeated", &counters.repeated),
        ("conflicting", &counters.conflicting),
        ("out_of_bounds", &counters.out_of_bounds),
        ("bad_series", &counters.bad_series),
    ] {
        text.sample(name, &format!("{{result={result:?}}}"), counter.load(Ordering::Relaxed));
    }
}
