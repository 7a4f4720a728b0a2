//! Parameters of a request: the query string and, for POST, a bounded form body; times and durations.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;

use super::Api;
use super::answer::ApiError;
use crate::select::Matcher;

/// Largest form body, in bytes. Bounds what a request may ask before it is parsed.
const MAX_FORM_BYTES: usize = 1 << 20;

/// Parameters in the order they came; a name may come more than once.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl FromRequest<Api> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _api: &Api) -> Result<Self, ApiError> {
        let mut params = Self::default();
        let (parts, body) = request.into_parts();
        let is_form = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if is_form {
            let body = to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| {
                ApiError::too_large(format!("the form is larger than {MAX_FORM_BYTES} bytes or was cut off"))
            })?;
            params.extend_decoded(&body)?;
        }
        params.extend_decoded(parts.uri.query().unwrap_or_default().as_bytes())?;
        Ok(params)
    }
}

impl Params {
    fn extend_decoded(&mut self, text: &[u8]) -> Result<(), ApiError> {
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = percent_decoded(halves.next().unwrap_or_default())?;
            let value = percent_decoded(halves.next().unwrap_or_default())?;
            self.0.push((name, value));
        }
        Ok(())
    }

    /// The first value of `name` that is not empty.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, value)| have == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// A time in milliseconds, or `default` when it is absent.
    pub(super) fn time_or(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        match self.one(name) {
            Some(text) => parse_time(text).ok_or_else(|| {
                ApiError::parameter(
                    name,
                    format!("invalid time value for '{name}': cannot parse {text:?} to a valid timestamp"),
                )
            }),
            None => Ok(default),
        }
    }

    /// A time in milliseconds that must be there.
    pub(super) fn time(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.all(name).next().unwrap_or_default();
        parse_time(text)
            .ok_or_else(|| ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp")))
    }

    /// A duration, when it is there.
    pub(super) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        self.one(name)
            .map(|text| {
                let parsed = parse_duration(text);
                parsed.ok_or_else(|| {
                    ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration"))
                })
            })
            .transpose()
    }

    /// `limit`; `None` means none.
    pub(super) fn limit(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.one(name) else { return Ok(None) };
        match text.parse::<usize>() {
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
            Err(_) if text.starts_with('-') => Err(ApiError::parameter(name, "limit must be non-negative")),
            Err(_) => {
                Err(ApiError::parameter(name, format!("{text:?} is not a whole number of zero or more")))
            }
        }
    }

    /// The selectors of every `match[]`.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let parsed = self.all("match[]").map(crate::promql::parse_selector);
        parsed.collect::<Result<_, _>>().map_err(|error| ApiError::parameter("match[]", error))
    }
}

fn percent_decoded(text: &[u8]) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let decoded = rest.get(..2).and_then(|hex| {
                    let high = char::from(hex[0]).to_digit(16)?;
                    let low = char::from(hex[1]).to_digit(16)?;
                    u8::try_from(high * 16 + low).ok()
                });
                let Some(byte) = decoded else {
                    let shown = String::from_utf8_lossy(text);
                    return Err(ApiError::bad_data(format!(
                        "the parameters are not URL-encoded: \"%\" without two hex digits in {shown:?}"
                    )));
                };
                bytes.push(byte);
                rest = &rest[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|error| {
        let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
        ApiError::bad_data(format!("a parameter is not valid UTF-8: {shown:?}"))
    })
}

/// Unix seconds with decimals, or RFC 3339, as milliseconds.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return (ms.is_finite() && ms.abs() < 9e18).then_some(ms as i64);
    }
    // What Prometheus' clients send for "all time"; no calendar reaches so far.
    match text {
        "-292273086-05-16T16:47:06Z" => return Some(i64::MIN / 1000),
        "292277025-08-18T07:12:54.999999999Z" => return Some(i64::MAX / 1000),
        _ => {}
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Seconds with decimals, or a duration as Prometheus writes it (`1h30m`). Not negative.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    crate::promql::parse_duration(text).ok()
}

/// Undoes the `U__` escaping of label names in paths; other names are themselves.
pub(super) fn unescape_label_name(name: &str) -> Cow<'_, str> {
    let Some(escaped) = name.strip_prefix("U__") else { return Cow::Borrowed(name) };
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('_') {
            text.push('_');
            rest = tail;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, tail)| {
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() <= 6)?;
            Some((char::from_u32(code)?, tail))
        });
        let Some((character, tail)) = decoded else { return Cow::Borrowed(name) };
        text.push(character);
        rest = tail;
    }
    text.push_str(rest);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_unix_seconds_or_rfc_3339() {
        assert_eq!(parse_time("1435781451.781"), Some(1_435_781_451_781));
        assert_eq!(parse_time("1e3"), Some(1_000_000));
        assert_eq!(parse_time("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
        assert_eq!(parse_time("2015-07-01T22:10:51+02:00"), Some(1_435_781_451_000));
        assert_eq!(parse_time("yesterday"), None);
        assert_eq!(parse_time("NaN"), None);
        assert_eq!(parse_time(""), None);
    }

    #[test]
    fn durations_are_seconds_or_units_in_order() {
        assert_eq!(parse_duration("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["-1", "1m1h", "1mm", "h", "1x", "1m1m", "99999999999y"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn escaped_label_names_are_unescaped() {
        assert_eq!(unescape_label_name("job"), "job");
        assert_eq!(unescape_label_name("U__http_2e_status__code"), "http.status_code");
        assert_eq!(unescape_label_name("U__bad_zz_"), "U__bad_zz_");
    }

    #[test]
    fn forms_decode_plus_and_percent() {
        let mut params = Params::default();
        params.extend_decoded(b"query=a+%2B+b&match[]=x&match%5B%5D=y&empty=").unwrap();
        assert_eq!(params.one("query"), Some("a + b"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.one("empty"), None);
        assert!(Params::default().extend_decoded(b"a=%zz").is_err());
        assert!(Params::default().extend_decoded(b"a=%ff").is_err());
    }
}
