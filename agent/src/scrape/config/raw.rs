//! The keys of a file, and what is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use binnacle_proto::Labels;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::super::auth::{Auth, Secret};
use super::super::exposition::Format;
use super::super::relabel::{Rule, Written};
use super::units::{duration, size};
use super::{FileDiscovery, Finding, Job, Limits};

/// Prometheus' own defaults.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A file of Prometheus has sections that are not about scraping: they stand, and are without effect here.
const OTHER_SECTIONS: [&str; 9] = [
    "alerting",
    "otlp",
    "remote_read",
    "remote_write",
    "rule_files",
    "runtime",
    "scrape_config_files",
    "storage",
    "tracing",
];

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
    relabel_configs: Option<Vec<Spanned<RawRule>>>,
    metric_relabel_configs: Option<Vec<Spanned<RawRule>>>,
    basic_auth: Option<Spanned<RawBasic>>,
    authorization: Option<Spanned<RawAuthorization>>,
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
struct RawRule {
    source_labels: Option<Vec<String>>,
    separator: Option<String>,
    target_label: Option<String>,
    regex: Option<String>,
    modulus: Option<u64>,
    replacement: Option<String>,
    action: Option<String>,
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
        raw.alerting.is_some(),
        raw.otlp.is_some(),
        raw.remote_read.is_some(),
        raw.remote_write.is_some(),
        raw.rule_files.is_some(),
        raw.runtime.is_some(),
        raw.scrape_config_files.is_some(),
        raw.storage.is_some(),
        raw.tracing.is_some(),
    ];
    let other: Vec<&str> = OTHER_SECTIONS.iter().zip(other).filter(|(_, is)| *is).map(|(n, _)| *n).collect();
    if !other.is_empty() {
        tracing::warn!(
            sections = other.join(", "),
            "sections that are not about scraping have no effect in an agent"
        );
    }
    let mut reader = Reader { dir, global: raw.global.unwrap_or_default(), findings: Vec::new() };
    if reader.global.evaluation_interval.is_some() {
        tracing::warn!("evaluation_interval has no effect in an agent: it evaluates no rules");
    }
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

struct Reader<'a> {
    dir: &'a Path,
    global: RawGlobal,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn find(&mut self, line: u64, problem: impl Into<String>) {
        self.findings.push(Finding { line, problem: problem.into() });
    }

    /// What `read` makes of a text, or nothing and a finding.
    fn take<T>(
        &mut self,
        field: &str,
        text: Option<&Spanned<String>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = text?;
        read(&text.value).map_err(|e| self.find(text.referenced.line(), format!("{field}: {e}"))).ok()
    }

    fn job(&mut self, raw: RawJob) -> Job {
        let line = raw.job_name.referenced.line();
        let global = std::mem::take(&mut self.global);
        let some_time = |text: &str| match duration(text)? {
            Duration::ZERO => Err("must not be 0".to_owned()),
            time => Ok(time),
        };
        let global_interval = self.take("scrape_interval", global.scrape_interval.as_ref(), some_time);
        let global_timeout = self.take("scrape_timeout", global.scrape_timeout.as_ref(), some_time);
        let interval = self.take("scrape_interval", raw.scrape_interval.as_ref(), some_time);
        let interval = interval.or(global_interval).unwrap_or(DEFAULT_INTERVAL);
        let own_timeout = self.take("scrape_timeout", raw.scrape_timeout.as_ref(), some_time);
        if own_timeout.is_some_and(|timeout| timeout > interval) {
            let at = raw.scrape_timeout.as_ref().map_or(line, |text| text.referenced.line());
            self.find(at, "scrape_timeout: must not be longer than scrape_interval");
        }
        // One that is not the job's own is cut to the interval, as Prometheus does.
        let timeout = own_timeout.unwrap_or_else(|| global_timeout.unwrap_or(DEFAULT_TIMEOUT).min(interval));
        let scheme = self.take("scheme", raw.scheme.as_ref(), |scheme| match scheme {
            "http" => Ok(scheme.to_owned()),
            "https" => Err("https is not supported by the agent yet".to_owned()),
            _ => Err(format!("{scheme:?} is not http")),
        });
        let fallback = raw.fallback_scrape_protocol.as_ref();
        let fallback = self.take("fallback_scrape_protocol", fallback, |name| match name {
            "PrometheusText0.0.4" | "PrometheusText1.0.0" => Ok(Format::Text),
            "OpenMetricsText0.0.1" | "OpenMetricsText1.0.0" => Ok(Format::OpenMetrics),
            _ => Err(format!("{name:?} is not a text protocol")),
        });
        let body_size = raw.body_size_limit.as_ref().or(global.body_size_limit.as_ref());
        let limits = Limits {
            body_size: self.take("body_size_limit", body_size, size).unwrap_or(0),
            samples: raw.sample_limit.or(global.sample_limit).unwrap_or(0),
            labels: raw.label_limit.or(global.label_limit).unwrap_or(0),
            label_name_length: raw.label_name_length_limit.or(global.label_name_length_limit).unwrap_or(0),
            label_value_length: raw.label_value_length_limit.or(global.label_value_length_limit).unwrap_or(0),
            targets: raw.target_limit.or(global.target_limit).unwrap_or(0),
        };
        self.global = global;
        let mut groups = Vec::new();
        for raw in raw.static_configs.unwrap_or_default() {
            let line = raw.referenced.line();
            match group(raw.value) {
                Ok(group) => groups.push(group),
                Err(problem) => self.find(line, format!("static_configs: {problem}")),
            }
        }
        let files = raw.file_sd_configs.unwrap_or_default();
        Job {
            name: raw.job_name.value.clone(),
            interval,
            timeout,
            metrics_path: raw.metrics_path.map_or_else(|| "/metrics".to_owned(), |path| path.value),
            scheme: scheme.unwrap_or_else(|| "http".to_owned()),
            params: raw.params.unwrap_or_default(),
            honor_labels: raw.honor_labels.unwrap_or(false),
            honor_timestamps: raw.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: raw.track_timestamps_staleness.unwrap_or(false),
            compression: raw.enable_compression.unwrap_or(true),
            follow_redirects: raw.follow_redirects.unwrap_or(true),
            fallback,
            auth: self.auth(raw.basic_auth, raw.authorization),
            limits,
            groups,
            files: files.into_iter().map(|files| self.files(files)).collect(),
            relabel: self.rules("relabel_configs", raw.relabel_configs),
            metric_relabel: self.rules("metric_relabel_configs", raw.metric_relabel_configs),
        }
    }

    fn rules(&mut self, field: &str, raw: Option<Vec<Spanned<RawRule>>>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for raw in raw.unwrap_or_default() {
            let line = raw.referenced.line();
            let RawRule { source_labels, separator, target_label, regex, modulus, replacement, action } =
                raw.value;
            let written =
                Written { source_labels, separator, target_label, regex, modulus, replacement, action };
            match Rule::new(&written) {
                Ok(rule) => rules.push(rule),
                Err(problem) => self.find(line, format!("{field}: {problem}")),
            }
        }
        rules
    }

    fn files(&mut self, raw: RawFiles) -> FileDiscovery {
        // Files are looked at every few seconds, more often than anybody asks for.
        let _ = self.take("refresh_interval", raw.refresh_interval.as_ref(), duration);
        let mut patterns = Vec::new();
        for file in raw.files {
            let path = self.path(Path::new(&file.value));
            let is_known = matches!(path.extension().and_then(|e| e.to_str()), Some("json" | "yml" | "yaml"));
            let is_one_folder = path.parent().is_none_or(|dir| !dir.to_string_lossy().contains('*'));
            if !is_known || !is_one_folder {
                self.find(
                    file.referenced.line(),
                    format!(
                        "files: {:?} must end in .json, .yml or .yaml, with * in the file's name only",
                        file.value
                    ),
                );
            }
            patterns.push(path);
        }
        FileDiscovery { patterns }
    }

    fn auth(&mut self, basic: Option<Spanned<RawBasic>>, raw: Option<Spanned<RawAuthorization>>) -> Auth {
        match (basic, raw) {
            (None, None) => Auth::default(),
            (Some(basic), Some(_)) => {
                self.find(basic.referenced.line(), "only one of basic_auth and authorization may be given");
                Auth::default()
            }
            (Some(basic), None) => {
                let (line, raw) = (basic.referenced.line(), basic.value);
                let username = self.secret(line, "basic_auth.username", raw.username, raw.username_file);
                let password = self.secret(line, "basic_auth.password", raw.password, raw.password_file);
                Auth::Basic { username: username.unwrap_or_default(), password: password.unwrap_or_default() }
            }
            (None, Some(raw)) => {
                let (line, raw) = (raw.referenced.line(), raw.value);
                let kind = raw.kind.unwrap_or_else(|| "Bearer".to_owned());
                if kind.eq_ignore_ascii_case("basic") {
                    self.find(line, "authorization.type: use basic_auth for Basic");
                }
                let given =
                    self.secret(line, "authorization.credentials", raw.credentials, raw.credentials_file);
                if given.is_none() {
                    self.find(line, "authorization: credentials or credentials_file is needed");
                }
                Auth::Header { kind, credentials: given.unwrap_or_default() }
            }
        }
    }

    fn secret(
        &mut self,
        line: u64,
        field: &str,
        text: Option<String>,
        file: Option<PathBuf>,
    ) -> Option<Secret> {
        match (text, file) {
            (Some(_), Some(_)) => {
                self.find(line, format!("{field}: only one of it and {field}_file may be given"));
                None
            }
            (Some(text), None) => Some(Secret::Given(text)),
            (None, Some(file)) => Some(Secret::File(self.path(&file))),
            (None, None) => None,
        }
    }

    /// Paths in a file are relative to its folder.
    fn path(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }
}
