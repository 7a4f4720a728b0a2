//! Parameters of requests: from the query string and, with POST, from a form.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use jiff::Timestamp;

use super::{Api, Failure};
use crate::logql::parse_duration_ns;

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;

/// The parameters of a request, in order.
#[derive(Debug, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    /// Values of `X-Loki-Response-Encoding-Flags`.
    pub encoding_flags: Vec<String>,
}

impl FromRequest<Api> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let mut params = Self::default();
        params.add(request.uri().query().unwrap_or_default());
        let headers = request.headers();
        for value in headers.get_all("x-loki-response-encoding-flags") {
            let flags = value.to_str().unwrap_or_default().split(',');
            params.encoding_flags.extend(flags.map(|flag| flag.trim().to_owned()));
        }
        let form = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            let limit = api.limits.max_form_bytes;
            let body = to_bytes(request.into_body(), limit).await.map_err(|_| {
                Failure(StatusCode::PAYLOAD_TOO_LARGE, format!("the form is larger than {limit} bytes"))
            })?;
            params.add(&String::from_utf8_lossy(&body));
        }
        Ok(params)
    }
}

impl Params {
    fn add(&mut self, text: &str) {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.pairs.push((decode(name), decode(value)));
        }
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The parameter `query`, which must be there.
    pub fn query(&self) -> Result<&str, Failure> {
        self.get("query").ok_or_else(|| Failure::bad("the parameter query is missing"))
    }

    /// A time, when it is there.
    pub fn time(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        parse_time(text).map(Some).ok_or_else(|| {
            Failure::bad(format!(
                "{name}={text:?} is not a time: nanoseconds or seconds since the epoch, or RFC 3339"
            ))
        })
    }

    /// `start` and `end` with `since`; by default the `default_ns` before now.
    pub fn span(&self, now_ns: i64, default_ns: i64) -> Result<(i64, i64), Failure> {
        let end = self.time("end")?.unwrap_or(now_ns);
        let since = match self.get("since") {
            Some(text) => parse_duration_ns(text)
                .ok_or_else(|| Failure::bad(format!("since={text:?} is not a duration")))?,
            None => default_ns,
        };
        let start = self.time("start")?.unwrap_or_else(|| end.min(now_ns).saturating_sub(since));
        Ok((start, end))
    }

    /// `step` in nanoseconds: a duration, or seconds.
    pub fn step(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().map(|seconds| (seconds * SECOND as f64) as i64);
        let ns = seconds.or_else(|| parse_duration_ns(text)).filter(|ns| *ns > 0);
        ns.map(Some).ok_or_else(|| {
            Failure::bad(format!("{name}={text:?} is neither a duration nor a number of seconds above zero"))
        })
    }

    /// A whole number, when it is there.
    pub fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Failure::bad(format!("{name}={text:?} is not a whole number")))
    }
}

/// Nanoseconds since the epoch from a number of seconds (at most 10 digits, or with a fraction), of
/// nanoseconds, or RFC 3339.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return if text.len() <= 10 { number.checked_mul(SECOND) } else { Some(number) };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let whole = seconds.floor();
        if !whole.is_finite() || whole.abs() >= 9e9 {
            return None;
        }
        let fraction = ((seconds - whole) * 1e9).round() as i64;
        return Some(whole as i64 * SECOND + fraction);
    }
    let time: Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|b| (*b as char).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'+', ..) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_all_their_forms() {
        for (text, ns) in [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1700000000000000001", 1_700_000_000_000_000_001),
            ("1700000000.5", 1_700_000_000_500_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
            ("2023-11-14T22:13:20.000000001+00:00", 1_700_000_000_000_000_001),
        ] {
            assert_eq!(parse_time(text), Some(ns), "{text}");
        }
        for text in ["", "x", "1e300", "2023-11-14"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn forms_are_decoded() {
        let mut params = Params::default();
        params.add("query=%7Ba%3D%22b%22%7D+%7C%3D+%22100%25%22&match[]=x&match[]=y&limit=");
        assert_eq!(params.get("query"), Some(r#"{a="b"} |= "100%""#));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.get("limit"), None);
    }
}
