//! `tail`: a WebSocket on which lines appear as they become durable.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use binnacle_proto::Labels;
use hashbrown::{HashMap, HashSet};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::RecvError;
use twox_hash::XxHash3_64;

use super::params::Params;
use super::query::HOUR;
use super::{Api, Failure, answer};
use crate::db::Committed;
use crate::logql::{LogExpr, parse_log};
use crate::query::{Fields, Found, Needs, Passed, Pipeline, Row};
use crate::{Direction, Entry, LogQuery, Value};

struct Tail {
    api: Api,
    log: LogExpr,
    pipeline: Pipeline,
    /// Lines already sent from the past, which may come again live.
    sent: HashSet<u64>,
    _permit: OwnedSemaphorePermit,
}

/// `GET /loki/api/v1/tail`
pub(super) async fn tail(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &api).await;
    let upgrade = upgrade.map_err(|err| Failure::bad(format!("a WebSocket is needed here: {err}")))?;
    let params =
        <Params as axum::extract::FromRequest<Api>>::from_request(Request::from_parts(parts, body), &api)
            .await?;
    let log = parse_log(params.query()?)?;
    let pipeline = Pipeline::new(&log.stages, Needs::All, api.db.config().query.detect_level)?;
    let permit = api.tails.clone().try_acquire_owned().map_err(|_| {
        let max = api.limits.max_tails;
        Failure(StatusCode::TOO_MANY_REQUESTS, format!("{max} tails are open already (loki.max_tails)"))
    })?;
    let now_ns = api.now_ns();
    let past = LogQuery {
        text: params.query()?.to_owned(),
        start_ns: params.time("start")?.unwrap_or(now_ns - HOUR),
        end_ns: i64::MAX,
        step_ns: 0,
        limit: params.number("limit")?.unwrap_or(api.limits.default_entries),
        direction: Direction::Backward,
    };
    let tail = Tail { api, log, pipeline, sent: HashSet::new(), _permit: permit };
    Ok(upgrade.on_upgrade(move |socket| tail.run(socket, past)))
}

impl Tail {
    async fn run(mut self, mut socket: WebSocket, past: LogQuery) {
        // Listening begins before the past is read, so nothing falls between.
        let mut live = self.api.db.subscribe();
        let limits = self.api.query_limits();
        let Ok(answer) = self.api.query(past, limits, |answer| answer).await else { return };
        let Value::Streams(mut streams) = answer.value else { return };
        for stream in &mut streams {
            stream.entries.reverse();
            self.sent.extend(stream.entries.iter().map(|entry| identity(&stream.labels, entry)));
        }
        let past: Vec<(Labels, Vec<Entry>)> = streams.into_iter().map(|s| (s.labels, s.entries)).collect();
        if !past.is_empty() && socket.send(message(&past)).await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                received = socket.recv() => match received {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
                committed = live.recv() => match committed {
                    Ok(committed) => {
                        let found = self.passing(&committed);
                        if !found.is_empty() && socket.send(message(&found)).await.is_err() {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        self.api.db.shared.counters.tail_missed.fetch_add(missed, Relaxed);
                    }
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// The lines of a commit that pass, by labels.
    fn passing(&self, committed: &Arc<Committed>) -> Vec<(Labels, Vec<Entry>)> {
        let mut out: Vec<(Labels, Vec<Entry>)> = Vec::new();
        let mut at: HashMap<Labels, usize> = HashMap::new();
        for item in &committed.items {
            let stream = &item.stream.labels;
            if !self.log.matchers.iter().all(|matcher| matcher.matches(stream)) {
                continue;
            }
            for (index, record) in item.records.iter().enumerate() {
                if !self.pipeline.first.iter().all(|test| test.passes(&record.line)) {
                    continue;
                }
                let metadata = Some(&record.metadata).filter(|metadata| !metadata.is_empty());
                let mut fields = Fields::default();
                fields.reset(stream, metadata);
                let mut row = Row { time_ns: record.time_ns, line: Cow::Borrowed(&record.line), fields };
                if !self.pipeline.run(&mut row) {
                    continue;
                }
                let line_len = record.line.len();
                let passed = Passed { row: &mut row, stream, stream_index: 0, index, metadata, line_len };
                let found = Found::new(&passed, true);
                if self.sent.contains(&identity(&found.labels, &found.entry)) {
                    continue;
                }
                let index = *at.entry(found.labels).or_insert_with_key(|labels| {
                    out.push((labels.clone(), Vec::new()));
                    out.len() - 1
                });
                out[index].1.push(found.entry);
            }
        }
        out
    }
}

fn identity(labels: &Labels, entry: &Entry) -> u64 {
    XxHash3_64::oneshot_with_seed(labels.stable_hash() ^ entry.time_ns as u64, &entry.line)
}

fn message(streams: &[(Labels, Vec<Entry>)]) -> Message {
    let mut out = String::from(r#"{"streams":"#);
    answer::list(&mut out, streams, |out, (labels, entries)| {
        out.push_str(r#"{"stream":"#);
        answer::labels(out, labels);
        out.push_str(r#","values":"#);
        answer::list(out, entries, |out, entry| {
            answer::entry_head(out, entry);
            out.push(']');
        });
        out.push('}');
    });
    out.push('}');
    Message::Text(out.into())
}
