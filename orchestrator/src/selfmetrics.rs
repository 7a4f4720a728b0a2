//! The server's own metrics: counters, the text of `/metrics`, and their way into its database.

mod process;
mod record;

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use record::record;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares the counters, each with its name and help text on `/metrics`.
macro_rules! counters {
    ($($field:ident $name:literal $help:literal,)*) => {
        /// The counters of the server.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(#[doc = $help] pub(crate) $field: Counter,)*
        }

        impl Counters {
            /// Writes all of them in the text format.
            fn render(&self, out: &mut String) {
                $(family(out, $name, "counter", $help, self.$field.get() as f64);)*
            }
        }
    };
}

counters! {
    batches "binnacle_ingest_batches_total" "Batches received from agents.",
    batches_repeated "binnacle_ingest_batches_repeated_total" "Batches that were durable already.",
    batches_dropped "binnacle_ingest_batches_dropped_total" "Batches dropped behind one that could not be stored; they come again.",
    body_bytes "binnacle_ingest_body_bytes_total" "Compressed bytes of batches.",
    samples "binnacle_ingest_samples_total" "Samples stored.",
    samples_repeated "binnacle_ingest_samples_repeated_total" "Samples that were there already with the same value.",
    samples_conflicting "binnacle_ingest_samples_conflicting_total" "Samples refused: another value at the same time.",
    samples_out_of_bounds "binnacle_ingest_samples_out_of_bounds_total" "Samples refused: too old or too far in the future.",
    samples_refused "binnacle_ingest_samples_refused_total" "Samples of series that the database refuses.",
    series_refused "binnacle_ingest_series_refused_total" "Series that the database refuses.",
    lines "binnacle_ingest_log_records_total" "Log records stored.",
    lines_repeated "binnacle_ingest_log_records_repeated_total" "Log records that were there already.",
    exemplars "binnacle_ingest_exemplars_total" "Exemplars from agents.",
    exemplars_refused "binnacle_ingest_exemplars_refused_total" "Exemplars with labels that are not acceptable.",
    lines_refused "binnacle_ingest_log_records_refused_total" "Log records with labels that are not acceptable.",
    waits "binnacle_ingest_waits_total" "Times an agent was told to wait because a store was full.",
    streams_refused "binnacle_ingest_streams_refused_total" "Push streams ended because of what the agent sent.",
    commands "binnacle_node_commands_total" "Commands given to nodes.",
    commands_failed "binnacle_node_commands_failed_total" "Commands that failed or were not answered in time.",
    node_events "binnacle_node_events_total" "Events received from nodes.",
    node_events_lost "binnacle_node_events_lost_total" "Events of nodes lost because the journal was too slow.",
    reloads "binnacle_config_reloads_total" "Reloads of rules and manifests.",
    reloads_failed "binnacle_config_reloads_failed_total" "Reloads in which something was refused.",
    http_requests "binnacle_http_requests_total" "HTTP requests answered.",
    http_errors "binnacle_http_server_errors_total" "HTTP requests answered with a 5xx status.",
}

/// Writes one family without labels.
pub(crate) fn family(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}

/// Writes the server's own families.
pub(crate) fn render(counters: &Counters, nodes: &[crate::nodes::Node], out: &mut String) {
    let version = env!("CARGO_PKG_VERSION");
    let name = "binnacle_build_info";
    let _ = writeln!(
        out,
        "# HELP {name} Version of the server.\n# TYPE {name} gauge\n{name}{{version=\"{version}\"}} 1"
    );
    counters.render(out);
    let connected = nodes.iter().filter(|node| node.connected).count();
    family(out, "binnacle_nodes", "gauge", "Nodes known.", nodes.len() as f64);
    family(out, "binnacle_nodes_connected", "gauge", "Nodes with an open control stream.", connected as f64);
    process::render(out);
}
