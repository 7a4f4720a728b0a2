//! The journal: every decision as series and as one log record that says why.
//!
//! Series are `binnacle_hpa_*`, `binnacle_schedule_*` and `binnacle_oom_*`. Records are JSON, in the
//! stream `{job="binnacle", source="journal", decision=…, namespace=…, node=…}`. What the stores do
//! not take waits in memory, within bounds, and is written later; what does not fit is counted.

mod events;
mod hpa;
mod oom;
mod schedule;

use std::collections::{HashMap, HashSet, VecDeque};

use binnacle_logs as logs;
use binnacle_proto::{Labels, STALE_NAN};
use binnacle_tsdb as tsdb;
use serde_json::{Map, Value};

use crate::signals::Asked;

pub use oom::OomAction;

/// Most records and samples that wait for a store.
const MAX_WAITING_RECORDS: usize = 10_000;
const MAX_WAITING_SAMPLES: usize = 200_000;
/// Decisions kept for the status.
const RECENT: usize = 200;
/// Most series references kept; beyond it they are asked for anew.
const MAX_REFS: usize = 100_000;

/// Which controller decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The horizontal scaler.
    Hpa,
    /// The scheduler.
    Schedule,
    /// The OOM scorer.
    Oom,
    /// Deployments and pods.
    Rollout,
    /// Something that a node reported.
    Node,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hpa => "hpa",
            Self::Schedule => "schedule",
            Self::Oom => "oom",
            Self::Rollout => "rollout",
            Self::Node => "node",
        }
    }
}

struct Record {
    labels: Labels,
    time_ms: i64,
    line: Vec<u8>,
}

/// Collects what is decided and writes it.
pub struct Journal {
    db: tsdb::Db,
    logs: logs::Db,
    records: VecDeque<Record>,
    samples: Vec<(Labels, i64, f64)>,
    refs: HashMap<Labels, tsdb::SeriesRef>,
    recent: VecDeque<Value>,
    /// Series of objects in the round before, and in this one: what is not in the new one has ended.
    shown: HashSet<Labels>,
    showing: Option<HashSet<Labels>>,
    /// Records and samples that did not fit while a store took nothing.
    lost: u64,
    last_time_ns: i64,
}

impl Journal {
    /// A journal in these stores.
    pub fn new(db: tsdb::Db, logs: logs::Db) -> Self {
        Self {
            db,
            logs,
            records: VecDeque::new(),
            samples: Vec::new(),
            refs: HashMap::new(),
            recent: VecDeque::new(),
            shown: HashSet::new(),
            showing: None,
            lost: 0,
            last_time_ns: 0,
        }
    }

    /// The latest decisions, newest first.
    pub fn recent(&self) -> Vec<Value> {
        self.recent.iter().rev().cloned().collect()
    }

    /// Records and samples that were lost because a store took nothing for too long.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Records and samples that wait for a store.
    pub fn waiting(&self) -> usize {
        self.records.len() + self.samples.len()
    }

    /// Adds one sample of the series `name` with these labels.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], t_ms: i64, value: f64) {
        if self.samples.len() >= MAX_WAITING_SAMPLES {
            self.lost += 1;
            return;
        }
        let pairs = labels.iter().copied().chain([("__name__", name), ("job", "binnacle")]);
        match Labels::from_pairs(pairs) {
            Ok(labels) => {
                if let Some(showing) = &mut self.showing {
                    showing.insert(labels.clone());
                }
                self.samples.push((labels, t_ms, value));
            }
            Err(error) => tracing::error!(name, %error, "a series of the journal has bad labels"),
        }
    }

    /// Begins a round of samples about everything there is: a series of the round before that does not
    /// come again until [`Journal::end_round`] has ended.
    pub fn begin_round(&mut self) {
        self.showing = Some(HashSet::with_capacity(self.shown.len()));
    }

    /// Ends the round: marks the series that did not come again as stale.
    pub fn end_round(&mut self, t_ms: i64) {
        let Some(now) = self.showing.take() else { return };
        for labels in std::mem::replace(&mut self.shown, now) {
            if !self.shown.contains(&labels) {
                self.refs.remove(&labels);
                self.samples.push((labels, t_ms, STALE_NAN));
            }
        }
    }

    /// Adds one record. `body` gets `time_ms`, `decision`, `namespace` and `node`.
    pub fn record(
        &mut self,
        kind: Kind,
        namespace: &str,
        node: Option<&str>,
        time_ms: i64,
        mut body: Map<String, Value>,
    ) {
        body.insert("decision".into(), kind.as_str().into());
        body.insert("time_ms".into(), time_ms.into());
        if !namespace.is_empty() {
            body.insert("namespace".into(), namespace.into());
        }
        if let Some(node) = node {
            body.insert("node".into(), node.into());
        }
        let labels = Labels::from_pairs([
            ("job", "binnacle"),
            ("source", "journal"),
            ("decision", kind.as_str()),
            ("namespace", namespace),
            ("node", node.unwrap_or_default()),
        ]);
        let value = Value::Object(body);
        if let Ok(labels) = labels {
            if self.records.len() >= MAX_WAITING_RECORDS {
                self.records.pop_front();
                self.lost += 1;
            }
            self.records.push_back(Record { labels, time_ms, line: value.to_string().into_bytes() });
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
    }

    /// Makes durable what waits. What a store does not take stays and is tried again.
    pub async fn flush(&mut self, now_ms: i64) {
        self.flush_samples(now_ms).await;
        self.flush_records(now_ms).await;
    }

    async fn flush_samples(&mut self, now_ms: i64) {
        if self.samples.is_empty() {
            return;
        }
        if self.refs.len() > MAX_REFS {
            self.refs.clear();
        }
        let mut batch = Vec::with_capacity(self.samples.len());
        for (labels, t_ms, value) in &self.samples {
            let series = match self.refs.get(labels) {
                Some(series) => *series,
                None => match self.db.resolve(labels) {
                    Ok(series) => {
                        self.refs.insert(labels.clone(), series);
                        series
                    }
                    Err(error) => {
                        tracing::warn!(%labels, %error, "a series of the journal was refused");
                        self.lost += 1;
                        continue;
                    }
                },
            };
            batch.push(tsdb::Sample { series, t_ms: *t_ms, value: *value });
        }
        match self.db.append(batch, now_ms).await {
            Ok(_) => self.samples.clear(),
            Err(error) => {
                // References may be what is wrong: they are asked for anew.
                self.refs.clear();
                tracing::warn!(%error, waiting = self.samples.len(), "series of the journal wait");
            }
        }
    }

    async fn flush_records(&mut self, now_ms: i64) {
        if self.records.is_empty() {
            return;
        }
        let mut blocks: Vec<logs::Block> = Vec::new();
        for record in &self.records {
            // Every record has a time of its own, so that their order is what was decided.
            let time_ns = (record.time_ms * 1_000_000).max(self.last_time_ns + 1);
            self.last_time_ns = time_ns;
            let entry =
                logs::Record { time_ns, line: record.line.clone(), metadata: Labels::empty(), end: 0 };
            match blocks.iter_mut().find(|block| block.labels == record.labels) {
                Some(block) => block.records.push(entry),
                None => blocks.push(logs::Block {
                    labels: record.labels.clone(),
                    position: None,
                    records: vec![entry],
                }),
            }
        }
        match self.logs.append(blocks, now_ms).await {
            Ok(_) => self.records.clear(),
            Err(error) => {
                tracing::warn!(%error, waiting = self.records.len(), "records of the journal wait");
            }
        }
    }
}

/// The queries of a decision: the PromQL alone when there is one, else a list.
fn queries(asked: &[Asked]) -> Value {
    match asked {
        [one] => Value::String(one.query.clone()),
        many => Value::Array(many.iter().map(|a| Value::String(a.query.clone())).collect()),
    }
}

/// What could not be answered.
fn failures(asked: &[Asked]) -> Vec<String> {
    asked.iter().filter_map(|a| Some(format!("{}: {}", a.name, a.error.as_ref()?))).collect()
}

/// A JSON object from pairs.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}
