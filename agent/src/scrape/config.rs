//! Scrape configurations with Prometheus' own keys. What the agent cannot do is refused with its line.

mod raw;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use binnacle_proto::{Labels, LabelsBuilder};

use super::auth::Auth;
use super::exposition::Format;
use super::relabel::Rule;
use super::tls::Tls;
pub(super) use raw::{Group, groups};
pub(super) use units::duration;

/// Largest configuration file, and largest file of targets, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 16 << 20;

/// One `scrape_config`.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) name: String,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) metrics_path: String,
    pub(super) scheme: String,
    pub(super) params: BTreeMap<String, Vec<String>>,
    pub(super) honor_labels: bool,
    pub(super) honor_timestamps: bool,
    pub(super) track_timestamps_staleness: bool,
    pub(super) compression: bool,
    pub(super) follow_redirects: bool,
    /// For answers without a media type that is known.
    pub(super) fallback: Option<Format>,
    pub(super) auth: Auth,
    pub(super) tls: Arc<Tls>,
    pub(super) limits: Limits,
    pub(super) groups: Vec<Group>,
    pub(super) files: Vec<FileDiscovery>,
    pub(super) relabel: Vec<Rule>,
    pub(super) metric_relabel: Vec<Rule>,
}

/// Bounds of one scrape; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// Decompressed, in bytes.
    pub(super) body_size: u64,
    pub(super) samples: u64,
    pub(super) labels: u64,
    pub(super) label_name_length: u64,
    pub(super) label_value_length: u64,
    pub(super) targets: u64,
}

/// Files that list targets.
#[derive(Debug, Clone)]
pub(super) struct FileDiscovery {
    /// Paths; the file's name may hold `*`.
    pub(super) patterns: Vec<PathBuf>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Counted from 1; 0 when it is about the whole file.
    pub(super) line: u64,
    pub(super) problem: String,
}

/// All that is wrong with a file, one `file:line: what` a line.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) file: PathBuf,
    pub(super) findings: Vec<Finding>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.findings.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:", self.file.display())?;
            if finding.line > 0 {
                write!(f, "{}:", finding.line)?;
            }
            write!(f, " {}", finding.problem)?;
        }
        Ok(())
    }
}

/// Reads the jobs of all files; their names must differ.
///
/// # Errors
/// All that is wrong with the first file that is not in order.
pub(super) fn load(files: &[PathBuf]) -> Result<Vec<Arc<Job>>, Refused> {
    let (mut jobs, mut names) = (Vec::new(), BTreeSet::new());
    for file in files {
        let whole =
            |problem: String| Refused { file: file.clone(), findings: vec![Finding { line: 0, problem }] };
        let text = read(file).map_err(whole)?;
        let dir = file.parent().unwrap_or(Path::new("."));
        let refused = |findings| Refused { file: file.clone(), findings };
        for job in raw::jobs(&text, dir, &mut names).map_err(refused)? {
            jobs.push(Arc::new(job));
        }
    }
    Ok(jobs)
}

/// A file's text, if it is not too large.
pub(super) fn read(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|e| e.to_string())?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("the file has {size} bytes; {MAX_FILE_BYTES} are allowed"));
    }
    std::fs::read_to_string(file).map_err(|e| e.to_string())
}

impl Job {
    /// The job of pods that ask to be scraped by their annotations.
    pub(super) fn of_pods(name: &str, interval: Duration) -> Self {
        Self {
            name: name.to_owned(),
            interval,
            timeout: interval.min(Duration::from_secs(10)),
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            params: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            compression: true,
            follow_redirects: true,
            fallback: Some(Format::Text),
            auth: Auth::default(),
            tls: Arc::default(),
            limits: Limits::default(),
            groups: Vec::new(),
            files: Vec::new(),
            relabel: Vec::new(),
            metric_relabel: Vec::new(),
        }
    }

    /// The labels a target begins with: those it was discovered with, and the job's where it has none.
    pub(super) fn discovered(&self, found: &Labels) -> LabelsBuilder {
        let mut labels = found.to_builder();
        let mut default = |name: &str, value: &str| {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        };
        default("job", &self.name);
        default("__scrape_interval__", &units::show(self.interval));
        default("__scrape_timeout__", &units::show(self.timeout));
        default("__metrics_path__", &self.metrics_path);
        default("__scheme__", &self.scheme);
        for (name, values) in &self.params {
            if let Some(first) = values.first() {
                default(&format!("__param_{name}"), first);
            }
        }
        labels
    }
}

#[cfg(test)]
mod tests;
