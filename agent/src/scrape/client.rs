//! Fetches an exposition: one HTTP/1.1 connection a target, with or without TLS, kept between scrapes; bodies
//! bounded before and after decompression.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::body::Body;
use super::exposition::Format;
use super::room::Room;
use super::tls::Tls;
use crate::error::chain;

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
    /// Of the header `Authorization`. Only the origin of `url` is told it.
    pub(super) authorization: Option<String>,
    /// For `https`.
    pub(super) tls: Arc<Tls>,
    /// Most bytes of a body, decompressed; the setting that says so.
    pub(super) max_body: (u64, &'static str),
    /// For the bodies of all targets.
    pub(super) room: Room,
    pub(super) fallback: Option<Format>,
}

/// What a target answered.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) format: Format,
    pub(super) body: Body,
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
    /// Scheme and authority.
    origin: String,
    /// What it was made with, when it has TLS.
    tls: Option<Arc<ClientConfig>>,
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
        let mut first = None;
        for _ in 0..=MAX_REDIRECTS {
            let uri: Uri = url.parse().map_err(|e| Failure::new("url", format!("{url:?}: {e}")))?;
            let origin = origin(&uri);
            let is_first = *first.get_or_insert_with(|| origin.clone()) == origin;
            let response = self.ask(question, &uri, origin, is_first).await?;
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

    /// Sends the request; once more on a new connection when the one that was kept has been closed. Credentials
    /// are for the origin that was meant, and for no other that it points to.
    async fn ask(
        &mut self,
        question: &Question,
        uri: &Uri,
        origin: String,
        with_credentials: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let tls = match uri.scheme_str() {
            Some("https") => Some(question.tls.settings().map_err(|e| Failure::new("tls", e))?),
            _ => None,
        };
        // What was made with other certificates is not used again.
        let is_same = |before: &Option<Arc<ClientConfig>>| match (before, &tls) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if let Some(open) = self.open.as_mut().filter(|open| open.origin == origin && is_same(&open.tls))
            && let Ok(response) = open.send(request(question, uri, with_credentials)?).await
        {
            return Ok(response);
        }
        let (sender, driver) = connect(question, uri, tls.clone()).await?;
        let open = self.open.insert(Open { origin, tls, sender, driver });
        open.send(request(question, uri, with_credentials)?).await.map_err(|e| broken(&e))
    }

    /// Reads the body, and decompresses it.
    async fn take(&mut self, question: &Question, response: Response<Incoming>) -> Result<Fetched, Failure> {
        let (parts, mut incoming) = response.into_parts();
        let format = format(&parts.headers, question.fallback)?;
        let mut body = Body::new(&question.room, question.max_body);
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
            let frame = frame.map_err(|e| broken(&e))?;
            if let Some(data) = frame.data_ref() {
                body.extend(data)?;
            }
        }
        match parts.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Fetched { format, body }),
            Some(b"gzip") => Ok(Fetched { format, body: body.decompressed(&question.room)? }),
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

/// A new connection to where `uri` is.
async fn connect(
    question: &Question,
    uri: &Uri,
    tls: Option<Arc<ClientConfig>>,
) -> Result<(SendRequest<Empty<Bytes>>, Driver), Failure> {
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let refused = |e: std::io::Error| Failure::new("connection", format!("{host}:{port}: {e}"));
    let stream = TcpStream::connect((host, port)).await.map_err(refused)?;
    let _ = stream.set_nodelay(true);
    let Some(settings) = tls else {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        return Ok((sender, Box::pin(connection)));
    };
    let name = question.tls.name(host).map_err(|e| Failure::new("tls", e))?;
    let secured = TlsConnector::from(settings).connect(name, stream).await;
    let secured = secured.map_err(|e| Failure::new("tls", format!("{host}:{port}: {}", chain(&e))))?;
    let (sender, connection) = http1::handshake(TokioIo::new(secured)).await.map_err(|e| broken(&e))?;
    Ok((sender, Box::pin(connection)))
}

/// Why a connection broke. With TLS 1.3 a refused certificate shows only when the answer is read.
fn broken(error: &hyper::Error) -> Failure {
    let (mut cause, mut is_tls) = (error.source(), false);
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        is_tls |= io.is_some_and(|e| e.is::<rustls::Error>());
        cause = inner.source();
    }
    Failure::new(if is_tls { "tls" } else { "connection" }, chain(error))
}

/// Scheme and authority.
fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |a| a.as_str()))
}

fn request(question: &Question, uri: &Uri, with_credentials: bool) -> Result<Request<Empty<Bytes>>, Failure> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, ACCEPT)
        .header(header::USER_AGENT, concat!("binnacle-agent/", env!("CARGO_PKG_VERSION")))
        .header("X-Prometheus-Scrape-Timeout-Seconds", question.timeout.as_secs_f64().to_string());
    request = request.header(header::ACCEPT_ENCODING, if question.compression { "gzip" } else { "identity" });
    if let Some(value) = question.authorization.as_ref().filter(|_| with_credentials) {
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

/// Where a redirect leads: never from https to http, and not to a relative path.
fn redirected(from: &Uri, location: &str) -> Option<String> {
    let to: Uri = location.parse().ok()?;
    match (to.scheme_str(), from.scheme_str()) {
        (Some("https"), _) | (Some("http"), Some("http")) => Some(location.to_owned()),
        (None, _) if location.starts_with('/') && !location.starts_with("//") => {
            Some(format!("{}{location}", origin(from)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
