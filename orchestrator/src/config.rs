//! The server's config file: TOML, unknown keys refused, every default written in `default.toml`.

mod decisions;
mod locate;
mod server;
mod tls;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use decisions::{Cluster, Hpa, Oom, Schedule};
pub use server::{Ingest, Server};
pub use tls::{Tls, Web};

/// The annotated file that `binnacle server --print-default-config` prints. A test holds it equal to
/// [`Config::default`] and complete.
pub const DEFAULT_FILE: &str = include_str!("config/default.toml");

/// Everything that can be set. Sections of the stores are the stores' own types.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses and folders.
    pub server: Server,
    /// Certificates of agents and of the server.
    pub tls: Tls,
    /// TLS and authentication of the HTTP port.
    pub web: Web,
    /// What agents may send.
    pub ingest: Ingest,
    /// The time-series database.
    pub tsdb: binnacle_tsdb::Config,
    /// Prometheus' HTTP API.
    pub http: binnacle_tsdb::http::ApiConfig,
    /// PromQL.
    pub query: binnacle_tsdb::EngineConfig,
    /// The log store.
    pub logs: binnacle_logs::Config,
    /// Loki's HTTP API.
    pub loki: binnacle_logs::http::Limits,
    /// Recording and alerting rules.
    pub rules: binnacle_tsdb::rules::RulesConfig,
    /// Manifests and controllers.
    pub cluster: Cluster,
    /// Horizontal scaling.
    pub hpa: Hpa,
    /// OOM scoring.
    pub oom: Oom,
    /// Placement of pods.
    pub schedule: Schedule,
}

/// Why a config was refused. Show it to the operator: it names file, line and field.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the config file {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}:{line}: {message}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The field and what is wrong with it.
        message: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, has unknown or ill-typed keys, or values out of bounds.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|reason| Error::Read { path: path.into(), reason })?;
        Self::parse(&text, path)
    }

    /// Parses and checks the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = locate::line_at(text, at);
            let field = locate::field_at(text, at);
            let message = match field {
                Some(field) => format!("{field}: {}", error.message()),
                None => error.message().to_owned(),
            };
            Error::Wrong { path: path.into(), line, message }
        })?;
        config.check().map_err(|(section, key, message)| Error::Wrong {
            path: path.into(),
            line: locate::line_of(text, section, key),
            message: format!("{section}.{key}: {message}"),
        })?;
        Ok(config)
    }

    /// Bounds that types cannot express: section, key, what is wrong.
    fn check(&self) -> Result<(), Violation> {
        self.server.check()?;
        self.tls.check()?;
        self.web.check()?;
        self.ingest.check()?;
        self.tsdb.check().map_err(|(key, problem)| ("tsdb", key, problem))?;
        self.logs.check().map_err(|(key, problem)| ("logs", key, problem))?;
        decisions::check(self)
    }
}

/// Section, key, what is wrong with the value.
type Violation = (&'static str, &'static str, String);

/// Refuses values outside `least..=most`.
fn within<T: PartialOrd + std::fmt::Display>(
    section: &'static str,
    key: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), Violation> {
    if !(&least..=&most).contains(&&value) {
        return Err((section, key, format!("{value} is not within {least} … {most}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
