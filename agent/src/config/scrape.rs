//! Bounds of scraping.

use std::path::PathBuf;

use serde::Deserialize;

/// How targets are scraped; the targets themselves are in `scrape_config_files`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrape {
    /// Whether pods of this agent with the annotation `prometheus.io/scrape: "true"` are scraped, every `interval`.
    pub pod_annotations: bool,
    /// Value of the label `job` of those pods.
    pub pod_job: String,
    /// Authorities (PEM) of pods with `prometheus.io/scheme: "https"`; the machine's own when absent.
    pub pod_ca_file: Option<PathBuf>,
    /// Takes any certificate of those pods: they are processes of this node, reached over loopback.
    pub pod_insecure_skip_verify: bool,
    /// Most targets; those beyond are left out and counted.
    pub max_targets: usize,
    /// Most series of all targets together; a scrape that would bring more fails. Each takes about 1 KiB of memory
    /// with its labels: who raises this raises the memory limit of the agent as well.
    pub max_series: u64,
    /// Largest answer of a target, decompressed, in bytes. A job's `body_size_limit` may be lower.
    pub max_body_bytes: u64,
    /// Answers of all targets that are held at one time, in bytes; a scrape that would need more fails.
    pub max_bodies_bytes: u64,
}

impl Default for Scrape {
    fn default() -> Self {
        Self {
            pod_annotations: true,
            pod_job: "kubernetes-pods".into(),
            pod_ca_file: None,
            pod_insecure_skip_verify: false,
            max_targets: 1_000,
            max_series: 50_000,
            max_body_bytes: 16 << 20,
            max_bodies_bytes: 32 << 20,
        }
    }
}
