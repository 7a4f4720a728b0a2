//! What is made of the keys of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::super::super::auth::{Auth, Secret};
use super::super::super::exposition::Format;
use super::super::super::relabel::{Rule, Written};
use super::super::super::tls::{Tls, TlsConfig};
use super::super::units::{duration, size};
use super::super::{FileDiscovery, Finding, Job, Limits};
use super::{RawAuthorization, RawBasic, RawFiles, RawGlobal, RawJob, RawTls, group};

/// Prometheus' own defaults.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What `global` says.
#[derive(Debug, Clone, Copy, Default)]
struct Defaults {
    interval: Duration,
    timeout: Duration,
    limits: Limits,
}

/// Makes jobs, and gathers what is wrong with them.
pub(super) struct Reader<'a> {
    dir: &'a Path,
    defaults: Defaults,
    pub(super) findings: Vec<Finding>,
}

fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must not be 0".to_owned()),
        time => Ok(time),
    }
}

impl<'a> Reader<'a> {
    /// For a file in folder `dir`.
    pub(super) fn new(dir: &'a Path, global: RawGlobal) -> Self {
        let mut reader = Self { dir, defaults: Defaults::default(), findings: Vec::new() };
        reader.defaults = reader.defaults(&global);
        reader
    }

    pub(super) fn find(&mut self, line: u64, problem: impl Into<String>) {
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

    fn defaults(&mut self, global: &RawGlobal) -> Defaults {
        let interval = self.take("scrape_interval", global.scrape_interval.as_ref(), some_time);
        let timeout = self.take("scrape_timeout", global.scrape_timeout.as_ref(), some_time);
        let body_size = self.take("body_size_limit", global.body_size_limit.as_ref(), size);
        Defaults {
            interval: interval.unwrap_or(DEFAULT_INTERVAL),
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            limits: Limits {
                body_size: body_size.unwrap_or(0),
                samples: global.sample_limit.unwrap_or(0),
                labels: global.label_limit.unwrap_or(0),
                label_name_length: global.label_name_length_limit.unwrap_or(0),
                label_value_length: global.label_value_length_limit.unwrap_or(0),
                targets: global.target_limit.unwrap_or(0),
            },
        }
    }

    pub(super) fn job(&mut self, raw: RawJob) -> Job {
        let line = raw.job_name.referenced.line();
        let Defaults { interval, timeout, limits: global } = self.defaults;
        let own = self.take("scrape_interval", raw.scrape_interval.as_ref(), some_time);
        let interval = own.unwrap_or(interval);
        let own_timeout = self.take("scrape_timeout", raw.scrape_timeout.as_ref(), some_time);
        if own_timeout.is_some_and(|timeout| timeout > interval) {
            let at = raw.scrape_timeout.as_ref().map_or(line, |text| text.referenced.line());
            self.find(at, "scrape_timeout: must not be longer than scrape_interval");
        }
        // One that is not the job's own is cut to the interval, as Prometheus does.
        let timeout = own_timeout.unwrap_or_else(|| timeout.min(interval));
        let scheme = self.take("scheme", raw.scheme.as_ref(), |scheme| match scheme {
            "http" | "https" => Ok(scheme.to_owned()),
            _ => Err(format!("{scheme:?} is neither http nor https")),
        });
        let fallback = raw.fallback_scrape_protocol.as_ref();
        let fallback = self.take("fallback_scrape_protocol", fallback, |name| match name {
            "PrometheusText0.0.4" | "PrometheusText1.0.0" => Ok(Format::Text),
            "OpenMetricsText0.0.1" | "OpenMetricsText1.0.0" => Ok(Format::OpenMetrics),
            _ => Err(format!("{name:?} is not a text protocol")),
        });
        let body_size = self.take("body_size_limit", raw.body_size_limit.as_ref(), size);
        let limits = Limits {
            body_size: body_size.unwrap_or(global.body_size),
            samples: raw.sample_limit.unwrap_or(global.samples),
            labels: raw.label_limit.unwrap_or(global.labels),
            label_name_length: raw.label_name_length_limit.unwrap_or(global.label_name_length),
            label_value_length: raw.label_value_length_limit.unwrap_or(global.label_value_length),
            targets: raw.target_limit.unwrap_or(global.targets),
        };
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
            tls: raw.tls_config.map(|tls| Arc::new(self.tls(tls))).unwrap_or_default(),
            limits,
            groups,
            files: files.into_iter().map(|files| self.files(files)).collect(),
            relabel: self.rules("relabel_configs", raw.relabel_configs),
            metric_relabel: self.rules("metric_relabel_configs", raw.metric_relabel_configs),
        }
    }

    fn rules(&mut self, field: &str, raw: Option<Vec<Spanned<Written>>>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for raw in raw.unwrap_or_default() {
            match Rule::new(&raw.value) {
                Ok(rule) => rules.push(rule),
                Err(problem) => self.find(raw.referenced.line(), format!("{field}: {problem}")),
            }
        }
        rules
    }

    fn tls(&mut self, raw: Spanned<RawTls>) -> Tls {
        let (line, raw) = (raw.referenced.line(), raw.value);
        if raw.cert_file.is_some() != raw.key_file.is_some() {
            self.find(line, "tls_config: cert_file and key_file go together");
        }
        let only_13 = self.take("min_version", raw.min_version.as_ref(), |version| match version {
            // Nothing below 1.2 is spoken, whatever would be allowed.
            "TLS10" | "TLS11" | "TLS12" => Ok(false),
            "TLS13" => Ok(true),
            _ => Err(format!("{version:?} is none of TLS10, TLS11, TLS12, TLS13")),
        });
        let path = |file: Option<PathBuf>| file.map(|file| self.path(&file));
        let config = TlsConfig {
            ca_file: path(raw.ca_file),
            cert_file: path(raw.cert_file),
            key_file: path(raw.key_file),
            server_name: raw.server_name.filter(|name| !name.is_empty()),
            only_13: only_13.unwrap_or(false),
            skip_verify: raw.insecure_skip_verify.unwrap_or(false),
        };
        let tls = Tls::new(config);
        if let Err(problem) = tls.name("localhost") {
            self.find(line, format!("tls_config.server_name: {problem}"));
        }
        tls
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
