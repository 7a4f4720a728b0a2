//! What was read, stored and lost of each container's logs, as series.

use crate::selfmetrics::{Counter, SelfMetrics};

/// Counters of one container.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    pub(super) lines_read: Counter,
    pub(super) bytes_read: Counter,
    pub(super) lines_acked: Counter,
    pub(super) bytes_acked: Counter,
    /// Of files that vanished before they were read.
    pub(super) bytes_lost: Counter,
    /// Of lines longer than the longest.
    pub(super) bytes_cut: Counter,
    /// Lines that became part of the line before: frames of a trace.
    pub(super) joined: Counter,
    /// Turns that were left out because the container writes faster than it may.
    pub(super) limited: Counter,
    /// Lines that were not of the CRI format.
    pub(super) malformed: Counter,
}

impl Ledger {
    pub(super) fn of(metrics: &SelfMetrics, namespace: &str, pod: &str, container: &str) -> Self {
        let labels = [("namespace", namespace), ("pod", pod), ("container", container)];
        // They end with the last group of the container.
        let counter = |name| metrics.passing_counter(name, &labels);
        Self {
            lines_read: counter("binnacle_agent_log_lines_read_total"),
            bytes_read: counter("binnacle_agent_log_bytes_read_total"),
            lines_acked: counter("binnacle_agent_log_lines_acked_total"),
            bytes_acked: counter("binnacle_agent_log_bytes_acked_total"),
            bytes_lost: counter("binnacle_agent_log_bytes_lost_total"),
            bytes_cut: counter("binnacle_agent_log_bytes_cut_total"),
            joined: counter("binnacle_agent_log_lines_joined_total"),
            limited: counter("binnacle_agent_log_turns_limited_total"),
            malformed: counter("binnacle_agent_log_lines_malformed_total"),
        }
    }
}
