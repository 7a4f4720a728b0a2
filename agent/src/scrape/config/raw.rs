//! The keys of a file.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use binnacle_proto::Labels;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::super::relabel::Written;
use super::{Finding, Job};
use reader::Reader;

/// A file of Prometheus has sections that are not about scraping: they stand, and are without effect here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    global: Option<RawGlobal>,
    scrape_configs: Option<Vec<Spanned<RawJob>>>,
    alerting: Option<serde::de::IgnoredAny>,
    otlp: Option<serde::de::IgnoredAny>,
    remote_read: Option<serde::de::IgnoredAny>,
    remote_write: Option<serde::de::IgnoredAny>,
    rule_files: Option<serde::de::IgnoredAny>,
    runtime: Option<serde::de::IgnoredAny>,
    scrape_config_files: Option<serde::de::IgnoredAny>,
    storage: Option<serde::de::IgnoredAny>,
    tracing: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawGlobal {
    scrape_interval: Option<Spanned<String>>,
    scrape_timeout: Option<Spanned<String>>,
    evaluation_interval: Option<serde::de::IgnoredAny>,
    body_size_limit: Option<Spanned<String>>,
    sample_limit: Option<u64>,
    label_limit: Option<u64>,
    label_name_length_limit: Option<u64>,
    label_value_length_limit: Option<u64>,
    target_limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJob {
    job_name: Spanned<String>,
    scrape_interval: Option<Spanned<String>>,
    scrape_timeout: Option<Spanned<String>>,
    metrics_path: Option<Spanned<String>>,
    scheme: Option<Spanned<String>>,
    params: Option<BTreeMap<String, Vec<String>>>,
    honor_labels: Option<bool>,
    honor_timestamps: Option<bool>,
    track_timestamps_staleness: Option<bool>,
    enable_compression: Option<bool>,
    follow_redirects: Option<bool>,
    fallback_scrape_protocol: Option<Spanned<String>>,
    static_configs: Option<Vec<Spanned<RawGroup>>>,
    file_sd_configs: Option<Vec<RawFiles>>,
    relabel_configs: Option<Vec<Spanned<Written>>>,
    metric_relabel_configs: Option<Vec<Spanned<Written>>>,
    basic_auth: Option<Spanned<RawBasic>>,
    authorization: Option<Spanned<RawAuthorization>>,
    tls_config: Option<Spanned<RawTls>>,
    body_size_limit: Option<Spanned<String>>,
    sample_limit: Option<u64>,
    label_limit: Option<u64>,
    label_name_length_limit: Option<u64>,
    label_value_length_limit: Option<u64>,
    target_limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    targets: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFiles {
    files: Vec<Spanned<String>>,
    refresh_interval: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBasic {
    username: Option<String>,
    username_file: Option<PathBuf>,
    password: Option<String>,
    password_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuthorization {
    #[serde(rename = "type")]
    kind: Option<String>,
    credentials: Option<String>,
    credentials_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server_name: Option<String>,
    min_version: Option<Spanned<String>>,
    insecure_skip_verify: Option<bool>,
}

/// Targets that share labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::scrape) struct Group {
    /// Addresses.
    pub(in crate::scrape) targets: Vec<String>,
    pub(in crate::scrape) labels: Labels,
}

/// The jobs of a file in folder `dir`; `names` are those taken already.
pub(super) fn jobs(text: &str, dir: &Path, names: &mut BTreeSet<String>) -> Result<Vec<Job>, Vec<Finding>> {
    if is_blank(text) {
        return Ok(Vec::new());
    }
    let raw: RawFile = serde_saphyr::from_str(text).map_err(|e| vec![finding(&e)])?;
    let other = [
        ("alerting", raw.alerting.is_some()),
        ("otlp", raw.otlp.is_some()),
        ("remote_read", raw.remote_read.is_some()),
        ("remote_write", raw.remote_write.is_some()),
        ("rule_files", raw.rule_files.is_some()),
        ("runtime", raw.runtime.is_some()),
        ("scrape_config_files", raw.scrape_config_files.is_some()),
        ("storage", raw.storage.is_some()),
        ("tracing", raw.tracing.is_some()),
    ];
    let other: Vec<&str> = other.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
    if !other.is_empty() {
        tracing::warn!(
            sections = other.join(", "),
            "sections that are not about scraping have no effect in an agent"
        );
    }
    let global = raw.global.unwrap_or_default();
    if global.evaluation_interval.is_some() {
        tracing::warn!("evaluation_interval has no effect in an agent: it evaluates no rules");
    }
    let mut reader = Reader::new(dir, global);
    let mut jobs = Vec::new();
    for job in raw.scrape_configs.unwrap_or_default() {
        let line = job.value.job_name.referenced.line();
        let name = job.value.job_name.value.clone();
        if name.is_empty() {
            reader.find(line, "job_name: must not be empty");
        } else if !names.insert(name.clone()) {
            reader.find(line, format!("job_name: {name:?} is given twice"));
        }
        jobs.push(reader.job(job.value));
    }
    if reader.findings.is_empty() { Ok(jobs) } else { Err(reader.findings) }
}

/// The groups of a file of targets.
pub(in crate::scrape) fn groups(text: &str, is_json: bool) -> Result<Vec<Group>, Finding> {
    let raw: Vec<RawGroup> = if is_json {
        serde_json::from_str(text).map_err(|e| Finding { line: e.line() as u64, problem: e.to_string() })?
    } else if is_blank(text) {
        Vec::new()
    } else {
        serde_saphyr::from_str(text).map_err(|e| finding(&e))?
    };
    raw.into_iter().map(|raw| group(raw).map_err(|problem| Finding { line: 0, problem })).collect()
}

fn is_blank(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

fn finding(error: &serde_saphyr::Error) -> Finding {
    let line = error.location().map_or(0, |location| location.line());
    Finding { line, problem: error.without_snippet().to_string() }
}

fn group(raw: RawGroup) -> Result<Group, String> {
    let labels = raw.labels.unwrap_or_default();
    let labels = Labels::from_pairs(labels).map_err(|e| format!("labels: {e}"))?;
    let targets = raw.targets.unwrap_or_default();
    if let Some(bad) = targets.iter().find(|target| target.contains('/')) {
        return Err(format!("targets: {bad:?} is not an address like host:9100"));
    }
    Ok(Group { targets, labels })
}
