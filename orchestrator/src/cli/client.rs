//! Asks the server over HTTP, with errors that say what to do.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::ServerUrl;

/// A client of one server.
pub(super) struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new(server: &ServerUrl) -> anyhow::Result<Self> {
        let base = server.server.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            bail!("--server {base}: a URL starts with http://, e.g. http://127.0.0.1:9090");
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(130))
            .build()
            .context("HTTP client")?;
        Ok(Self { base, http })
    }

    /// `GET path?query`; the field `data` of the answer, and its warnings on standard error.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base)).query(query);
        let response = request.send().await.map_err(|error| self.explain(error))?;
        let status = response.status();
        let body =
            response.text().await.with_context(|| format!("{}{path}: the answer broke off", self.base))?;
        let answer: Option<Value> = serde_json::from_str(&body).ok();
        if !status.is_success() {
            let reason = answer.as_ref().and_then(|answer| answer["error"].as_str());
            match reason.unwrap_or_else(|| body.trim()) {
                "" => bail!("{}{path} answered {status}: is that a Binnacle server?", self.base),
                reason => bail!("{reason}"),
            }
        }
        let Some(mut answer) = answer else {
            bail!("{}{path} answered, but not with JSON: is that a Binnacle server?", self.base);
        };
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            eprintln!("warning: {}", warning.as_str().unwrap_or_default());
        }
        Ok(answer["data"].take())
    }

    /// Turns a failed request into words.
    fn explain(&self, error: reqwest::Error) -> anyhow::Error {
        if error.is_connect() {
            return anyhow::anyhow!(
                "no server answers at {}: start one with `binnacle server`, or name another with --server URL \
                 (or BINNACLE_SERVER)",
                self.base
            );
        }
        if error.is_timeout() {
            return anyhow::anyhow!("the server at {} did not answer in time", self.base);
        }
        anyhow::Error::new(error).context(format!("asking {}", self.base))
    }
}
