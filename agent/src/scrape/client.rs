//! Fetches an exposition: one HTTP/1.1 connection a target, kept between scrapes; bodies bounded before and
//! after decompression.

use std::io::Read;
use std::pin::Pin;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::exposition::Format;

/// What a Prometheus 3 accepts, text formats only.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                      application/openmetrics-text;version=0.0.1;q=0.5,\
                      text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Redirects followed in one scrape at most.
const MAX_REDIRECTS: usize = 10;

/// What to ask, and how much to take.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) url: String,
    pub(super) timeout: Duration,
    pub(super) compression: bool,
    pub(super) follow_redirects: bool,
    /// Of the header `Authorization`.
    pub(super) authorization: Option<String>,
    /// Most bytes of a body, decompressed; the setting that says so.
    pub(super) max_body: (u64, &'static str),
    pub(super) fallback: Option<Format>,
}

/// What a target answered.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) format: Format,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer: shown, and counted by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) name: &'static str,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, text: text.into() }
    }
}

/// The connection to one target.
#[derive(Default)]
pub(super) struct Client {
    open: Option<Open>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

struct Open {
    /// `host:port`.
    authority: String,
    sender: SendRequest<Empty<Bytes>>,
    /// Does the connection's work; runs only while a request does.
    driver: Driver,
}

impl Client {
    /// Asks for one exposition.
    ///
    /// # Errors
    /// When there is none in time, or it is not one.
    pub(super) async fn fetch(&mut self, question: &Question) -> Result<Fetched, Failure> {
        let fetched = tokio::time::timeout(question.timeout, self.follow(question)).await;
        if !matches!(fetched, Ok(Ok(_))) {
            // What is left of the answer would be taken for that to the next request.
            self.open = None;
        }
        fetched.unwrap_or_else(|_| {
            Err(Failure::new("timeout", format!("no answer within {:?}", question.timeout)))
        })
    }

    async fn follow(&mut self, question: &Question) -> Result<Fetched, Failure> {
        let mut url = question.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let uri: Uri = url.parse().map_err(|e| Failure::new("url", format!("{url:?}: {e}")))?;
            let response = self.ask(question, &uri).await?;
            let status = response.status();
            let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if is_redirect && question.follow_redirects {
                let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
                url = redirected(&uri, location.unwrap_or_default())
                    .ok_or_else(|| Failure::new("redirect", format!("{status} to {location:?}")))?;
                // The body of a redirect is of no interest.
                self.open = None;
                continue;
            }
            if status != StatusCode::OK {
                return Err(Failure::new("status", format!("server returned HTTP status {status}")));
            }
            return self.take(question, response).await;
        }
        Err(Failure::new("redirect", format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Sends the request; once more on a new connection when the one that was kept has been closed.
    async fn ask(&mut self, question: &Question, uri: &Uri) -> Result<Response<Incoming>, Failure> {
        let wrong = |e: hyper::Error| Failure::new("connection", chain(&e));
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if let Some(open) = self.open.as_mut().filter(|open| open.authority == authority)
            && let Ok(response) = open.send(request(question, uri, &authority)?).await
        {
            return Ok(response);
        }
        let port = uri.port_u16().unwrap_or(80);
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|e| Failure::new("connection", format!("{authority}: {e}")))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
        let open =
            self.open.insert(Open { authority: authority.clone(), sender, driver: Box::pin(connection) });
        open.send(request(question, uri, &authority)?).await.map_err(wrong)
    }

    /// Reads the body, and decompresses it.
    async fn take(&mut self, question: &Question, response: Response<Incoming>) -> Result<Fetched, Failure> {
        let (parts, mut incoming) = response.into_parts();
        let format = format(&parts.headers, question.fallback)?;
        let (most, setting) = question.max_body;
        let too_large =
            || Failure::new("body_size", format!("the body has more than {most} bytes ({setting})"));
        let mut body = Vec::new();
        loop {
            let frame = match &mut self.open {
                Some(open) => tokio::select! {
                    biased;
                    frame = incoming.frame() => frame,
                    _ = &mut open.driver => {
                        self.open = None;
                        continue;
                    }
                },
                None => incoming.frame().await,
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|e| Failure::new("connection", chain(&e)))?;
            if let Some(data) = frame.data_ref() {
                if (body.len() + data.len()) as u64 > most {
                    return Err(too_large());
                }
                body.extend_from_slice(data);
            }
        }
        match parts.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Fetched { format, body }),
            Some(b"gzip") => {
                let mut plain = Vec::with_capacity(body.len().saturating_mul(4).min(most as usize));
                let mut reader = MultiGzDecoder::new(body.as_slice()).take(most + 1);
                reader.read_to_end(&mut plain).map_err(|e| Failure::new("encoding", format!("gzip: {e}")))?;
                if plain.len() as u64 > most { Err(too_large()) } else { Ok(Fetched { format, body: plain }) }
            }
            Some(other) => {
                let other = String::from_utf8_lossy(other).into_owned();
                Err(Failure::new("encoding", format!("unknown content encoding {other:?}")))
            }
        }
    }
}

impl Open {
    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let Self { sender, driver, .. } = self;
        tokio::select! {
            // It may have been closed since the last scrape: that shows only when it is asked.
            ready = sender.ready() => ready?,
            ended = &mut *driver => ended?,
        }
        let mut sending = std::pin::pin!(sender.send_request(request));
        tokio::select! {
            response = &mut sending => response,
            ended = driver => {
                ended?;
                sending.await
            }
        }
    }
}

fn request(question: &Question, uri: &Uri, authority: &str) -> Result<Request<Empty<Bytes>>, Failure> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, ACCEPT)
        .header(header::USER_AGENT, concat!("binnacle-agent/", env!("CARGO_PKG_VERSION")))
        .header("X-Prometheus-Scrape-Timeout-Seconds", question.timeout.as_secs_f64().to_string());
    request = request.header(header::ACCEPT_ENCODING, if question.compression { "gzip" } else { "identity" });
    if let Some(value) = &question.authorization {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Failure::new("authorization", "the credentials hold bytes that a header cannot"))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Empty::new()).map_err(|e| Failure::new("url", e.to_string()))
}

fn format(headers: &HeaderMap, fallback: Option<Format>) -> Result<Format, Failure> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    given.as_deref().and_then(Format::of).or(fallback).ok_or_else(|| {
        let given = given.unwrap_or_default();
        Failure::new(
            "content_type",
            format!("unknown Content-Type {given:?} and no fallback_scrape_protocol"),
        )
    })
}

/// Where a redirect leads: only to http, and not to a relative path.
fn redirected(from: &Uri, location: &str) -> Option<String> {
    if location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let is_path = location.starts_with('/') && !location.starts_with("//");
    is_path.then(|| format!("http://{}{location}", from.authority().map_or("", |a| a.as_str())))
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
