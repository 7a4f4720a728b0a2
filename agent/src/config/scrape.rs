//! Bounds of scraping.

use serde::Deserialize;

/// How targets are scraped; the targets themselves are in `scrape_config_files`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrape {
    /// Whether pods of this agent with the annotation `prometheus.io/scrape: "true"` are scraped, every `interval`.
    pub pod_annotations: bool,
    /// Value of the label `job` of those pods.
    pub pod_job: String,
    /// Most targets; those beyond are left out and counted.
    pub max_targets: usize,
    /// Most series of all targets together; a scrape that would bring more fails.
    pub max_series: u64,
    /// Largest answer of a target, decompressed, in bytes. A job's `body_size_limit` may be lower.
    pub max_body_bytes: u64,
}

impl Default for Scrape {
    fn default() -> Self {
        Self {
            pod_annotations: true,
            pod_job: "kubernetes-pods".into(),
            max_targets: 1_000,
            max_series: 200_000,
            max_body_bytes: 16 << 20,
        }
    }
}
