//! The server's HTTP interfaces, as Grafana would use them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// Labels of a series or stream.
pub type Labels = BTreeMap<String, String>;

/// One element of an instant vector.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// One log record.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Labels of its stream.
    pub labels: Labels,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// The line.
    pub line: String,
}

/// An HTTP client that trusts `authority` (PEM) alone, over https; plain http needs none.
///
/// # Errors
/// When the certificate is not one.
pub fn http_client(timeout: Duration, authority: Option<&str>) -> Result<reqwest::Client> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.unwrap_or_default().as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    Ok(reqwest::Client::builder().timeout(timeout).tls_backend_preconfigured(tls).build()?)
}

/// Most lines that one log request asks for.
const LOG_PAGE: usize = 5000;

/// Asks one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client of the server at `base`, e.g. `http://127.0.0.1:9090`.
    ///
    /// # Errors
    /// When the system offers no TLS or sockets.
    pub fn new(base: &str) -> Result<Self> {
        let http = http_client(Duration::from_secs(10), None)?;
        Ok(Self { http, base: base.to_owned() })
    }

    /// A client that trusts the authority with this certificate (PEM).
    ///
    /// # Errors
    /// When it is not a certificate.
    pub fn with_authority(base: &str, authority: &str) -> Result<Self> {
        Ok(Self { http: http_client(Duration::from_secs(10), Some(authority))?, base: base.to_owned() })
    }

    /// Whether the server says that it is ready.
    pub async fn ready(&self) -> bool {
        let answer = self.http.get(format!("{}/-/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// An instant query at `at` (Unix seconds; `None`: now).
    ///
    /// # Errors
    /// What the server or the connection said.
    pub async fn query(&self, expr: &str, at: Option<f64>) -> Result<Vec<Sample>> {
        let mut parameters = vec![("query", expr.to_owned())];
        parameters.extend(at.map(|at| ("time", format!("{at:.3}"))));
        let data = self.get("/api/v1/query", &parameters).await?;
        let mut samples = Vec::new();
        for row in data["result"].as_array().context("the answer has no result list")? {
            let value = row["value"][1].as_str().context("a sample has no value")?;
            samples.push(Sample { labels: labels(&row["metric"]), value: value.parse()? });
        }
        Ok(samples)
    }

    /// The only value of an instant query; `None` when the vector is empty.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn number(&self, expr: &str, at: Option<f64>) -> Result<Option<f64>> {
        Ok(self.query(expr, at).await?.first().map(|sample| sample.value))
    }

    /// All lines of a LogQL selector from `start_ns` to `end_ns`, oldest first, page by page.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn logs(&self, selector: &str, start_ns: i64, end_ns: i64) -> Result<Vec<LogLine>> {
        let mut lines: Vec<LogLine> = Vec::new();
        let mut from = start_ns;
        loop {
            let page = self.log_page(selector, from, end_ns).await?;
            let full = page.len() >= LOG_PAGE;
            let last = page.last().map(|line| line.time_ns);
            // The page's first instant may repeat lines of the page before.
            let known = lines.iter().rev().take_while(|line| line.time_ns == from).count();
            lines.extend(page.into_iter().skip(known));
            match last {
                Some(last) if full && last > from => from = last,
                Some(_) if full => bail!("more than {LOG_PAGE} lines at one instant of {selector}"),
                _ => return Ok(lines),
            }
        }
    }

    async fn log_page(&self, selector: &str, start_ns: i64, end_ns: i64) -> Result<Vec<LogLine>> {
        let parameters = [
            ("query", selector.to_owned()),
            ("start", start_ns.to_string()),
            ("end", end_ns.to_string()),
            ("limit", LOG_PAGE.to_string()),
            ("direction", "forward".to_owned()),
        ];
        let data = self.get("/loki/api/v1/query_range", &parameters).await?;
        let mut lines = Vec::new();
        for stream in data["result"].as_array().context("the answer has no result list")? {
            let labels = labels(&stream["stream"]);
            for entry in stream["values"].as_array().context("a stream has no values")? {
                let time = entry[0].as_str().context("a line has no time")?;
                let line = entry[1].as_str().context("a line has no text")?;
                lines.push(LogLine { labels: labels.clone(), time_ns: time.parse()?, line: line.to_owned() });
            }
        }
        lines.sort_by_key(|line| line.time_ns);
        Ok(lines)
    }

    /// `data` of the answer to `GET path`.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base)).query(parameters);
        let answer = request.send().await.with_context(|| format!("GET {path}"))?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() {
            bail!("GET {path} {parameters:?}: {status}: {body}");
        }
        let mut body: Value = serde_json::from_str(&body).with_context(|| format!("GET {path}: {body}"))?;
        Ok(body["data"].take())
    }
}

fn labels(object: &Value) -> Labels {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}
