//! `labels`, `label/<name>/values`, `series`.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;

use super::params::Params;
use super::query::HOUR;
use super::{Api, Failure, answer};
use crate::Error;
use crate::logql::parse_matchers;
use crate::matcher::Matcher;

/// Label requests look back so far when they do not say.
const DEFAULT_SPAN: i64 = 6 * HOUR;

/// The selector in `query`; none selects every stream.
fn selector(params: &Params) -> Result<Vec<Matcher>, Failure> {
    match params.get("query") {
        // A whole pipeline may come with it; the selector is what counts.
        Some(text) => match crate::logql::parse(text) {
            Ok(crate::Expr::Log(log)) => Ok(log.matchers),
            _ => Ok(parse_matchers(text)?),
        },
        None => Ok(Vec::new()),
    }
}

fn strings(values: impl IntoIterator<Item = String>) -> Response {
    let mut out = String::from(r#"{"status":"success","data":"#);
    answer::list(&mut out, values, |out, value| answer::text(out, &value));
    out.push('}');
    answer::json(out)
}

/// `GET /loki/api/v1/labels`
pub(super) async fn names(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let (start, end) = params.span(api.now_ns(), DEFAULT_SPAN)?;
    let matchers = selector(&params)?;
    let names = api
        .blocking(move |db| {
            let streams = db.streams(&matchers, start, end);
            let names =
                streams.iter().flat_map(|stream| stream.labels.iter().map(|(name, _)| name.to_owned()));
            Ok(names.collect::<BTreeSet<_>>())
        })
        .await?;
    Ok(strings(names))
}

/// `GET /loki/api/v1/label/<name>/values`
pub(super) async fn values(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Failure> {
    let (start, end) = params.span(api.now_ns(), DEFAULT_SPAN)?;
    let matchers = selector(&params)?;
    let values = api
        .blocking(move |db| {
            let streams = db.streams(&matchers, start, end);
            let values = streams.iter().filter_map(|stream| stream.labels.get(&name).map(str::to_owned));
            Ok(values.collect::<BTreeSet<_>>())
        })
        .await?;
    Ok(strings(values))
}

/// `GET /loki/api/v1/series`
pub(super) async fn series(State(api): State<Api>, params: Params) -> Result<Response, Failure> {
    let (start, end) = params.span(api.now_ns(), DEFAULT_SPAN)?;
    let mut selectors = Vec::new();
    for text in params.all("match[]").chain(params.all("match")) {
        selectors.push(parse_matchers(text)?);
    }
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    let max = api.db.config().query.max_series;
    let found = api
        .blocking(move |db| {
            let mut found = BTreeSet::new();
            for matchers in &selectors {
                found.extend(db.streams(matchers, start, end).iter().map(|stream| stream.labels.clone()));
            }
            if found.len() > max {
                return Err(Error::Limit(format!("more than {max} series match (logs.query.max_series)")));
            }
            Ok(found)
        })
        .await?;
    let mut out = String::from(r#"{"status":"success","data":"#);
    answer::list(&mut out, &found, answer::labels);
    out.push('}');
    Ok(answer::json(out))
}
