//! Log queries: the first or last lines that pass a pipeline.

use binnacle_proto::Labels;
use hashbrown::HashMap;
use rayon::prelude::*;

use super::fields::Kind;
use super::guard::Guard;
use super::pipeline::{Needs, Pipeline};
use super::scan::{Passed, Plan, scan};
use super::{Direction, Entry, LogQuery, LogStream};
use crate::db::{Part, Selection};
use crate::logql::LogExpr;
use crate::{Db, Error};

/// Parts of the first wave; later waves double.
const FIRST_WAVE: usize = 4;
/// Most parts of a wave.
const MAX_WAVE: usize = 256;
/// Rough size of an entry beside its line and labels, in bytes.
const ENTRY_BYTES: u64 = 160;

/// A line that was found, with all its labels.
pub(crate) struct Found {
    /// All labels after the pipeline.
    pub labels: Labels,
    /// The entry.
    pub entry: Entry,
}

/// Evaluates a log query.
pub(super) fn evaluate(
    db: &Db,
    log: &LogExpr,
    query: &LogQuery,
    guard: &Guard,
) -> Result<Vec<LogStream>, Error> {
    if query.end_ns <= query.start_ns {
        return Ok(Vec::new());
    }
    let pipeline = Pipeline::new(&log.stages, Needs::All, guard.limits().detect_level)?;
    let backward = query.direction == Direction::Backward;
    let plan = Plan {
        pipeline: &pipeline,
        start_ns: query.start_ns,
        end_ns: query.end_ns - 1,
        needs_lines: true,
        needs_fields: false,
        backward,
    };
    let mut selection = db.select(&log.matchers, plan.start_ns, plan.end_ns);
    guard.selected(selection.streams.len());
    if backward {
        selection.parts.sort_by_key(|part| std::cmp::Reverse(part.max_ns));
    } else {
        selection.parts.sort_by_key(|part| part.min_ns);
    }
    let found = first(db, &selection, &plan, query.limit, guard)?;
    Ok(by_stream(found))
}

/// The first `limit` lines in the plan's direction.
fn first(
    db: &Db,
    selection: &Selection,
    plan: &Plan<'_>,
    limit: usize,
    guard: &Guard,
) -> Result<Vec<Found>, Error> {
    let mut found: Vec<Found> = Vec::new();
    let mut parts = selection.parts.as_slice();
    let mut wave = FIRST_WAVE;
    while !parts.is_empty() && limit > 0 {
        let bound = if found.len() >= limit { found.last().map(|last| last.entry.time_ns) } else { None };
        // Parts are sorted: once one is beyond the bound, all that follow are.
        let useful = |part: &Part| {
            bound.is_none_or(|time| if plan.backward { part.max_ns >= time } else { part.min_ns <= time })
        };
        if !useful(&parts[0]) {
            break;
        }
        let (now, later) = parts.split_at(wave.min(parts.len()));
        let more: Result<Vec<Vec<Found>>, Error> = now
            .par_iter()
            .filter(|part| useful(part))
            .map(|part| of_part(db, selection, part, plan, limit, guard))
            .collect();
        found.extend(more?.into_iter().flatten());
        // Stable, so lines of one instant keep the order in which they came.
        if plan.backward {
            found.sort_by_key(|found| std::cmp::Reverse(found.entry.time_ns));
        } else {
            found.sort_by_key(|found| found.entry.time_ns);
        }
        found.truncate(limit);
        parts = later;
        wave = (wave * 2).min(MAX_WAVE);
    }
    Ok(found)
}

fn of_part(
    db: &Db,
    selection: &Selection,
    part: &Part,
    plan: &Plan<'_>,
    limit: usize,
    guard: &Guard,
) -> Result<Vec<Found>, Error> {
    let mut out = Vec::new();
    scan(db, selection, part, plan, guard, &mut |passed| {
        let found = Found::new(passed, plan.pipeline.has_steps());
        guard.keep(found.entry.line.len() as u64 + ENTRY_BYTES)?;
        out.push(found);
        Ok(out.len() < limit)
    })?;
    Ok(out)
}

impl Found {
    /// Copies what passed.
    pub fn new(passed: &Passed<'_, '_>, has_steps: bool) -> Self {
        let (labels, metadata, parsed) = if has_steps {
            let fields = &passed.row.fields;
            (
                fields.labels(|_| true),
                fields.labels(|kind| kind == Kind::Metadata),
                fields.labels(|kind| kind == Kind::Parsed),
            )
        } else {
            let metadata = passed.metadata.cloned().unwrap_or_default();
            let labels =
                if metadata.is_empty() { passed.stream.clone() } else { joined(passed.stream, &metadata) };
            (labels, metadata, Labels::empty())
        };
        let entry = Entry {
            time_ns: passed.row.time_ns,
            line: passed.row.line.to_vec(),
            stream: passed.stream.clone(),
            metadata,
            parsed,
        };
        Self { labels, entry }
    }
}

/// The labels of a stream with the metadata of a record; the stream's come first.
pub(super) fn joined(stream: &Labels, metadata: &Labels) -> Labels {
    let mut builder = metadata.to_builder();
    for (name, value) in stream.iter() {
        builder.set(name, value);
    }
    builder.build()
}

/// Groups lines by all their labels, in the order of their first line.
fn by_stream(found: Vec<Found>) -> Vec<LogStream> {
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<LogStream> = Vec::new();
    for Found { labels, entry } in found {
        let index = *at.entry(labels).or_insert_with_key(|labels| {
            out.push(LogStream { labels: labels.clone(), entries: Vec::new() });
            out.len() - 1
        });
        out[index].entries.push(entry);
    }
    out
}
