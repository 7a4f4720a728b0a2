//! Passing the records of parts through a pipeline.

use std::borrow::Cow;
use std::cmp::Reverse;

use binnacle_proto::Labels;

use super::guard::Guard;
use super::pipeline::{Pipeline, Row};
use crate::block::{Filter, Segment};
use crate::db::{Part, PartData, Selection};
use crate::{Db, Error};

/// The deadline is looked at after so many lines.
const CHECK_LINES: u64 = 4096;

/// How records are looked at.
pub(crate) struct Plan<'p> {
    /// What happens to each.
    pub pipeline: &'p Pipeline,
    /// First time wanted.
    pub start_ns: i64,
    /// Last time wanted.
    pub end_ns: i64,
    /// Whether the text of lines is needed at all.
    pub needs_lines: bool,
    /// Whether the fields of rows are filled in even when no step of the pipeline asks for them.
    pub needs_fields: bool,
    /// Whether the latest come first.
    pub backward: bool,
}

/// A record that passed.
pub(crate) struct Passed<'v, 'a> {
    /// The record after the pipeline. Its fields are empty when neither the pipeline nor the plan
    /// needs them: labels are those of stream and metadata.
    pub row: &'v mut Row<'a>,
    /// Labels of its stream.
    pub stream: &'a Labels,
    /// Its index in the part.
    pub index: usize,
    /// Index of its stream in the selection.
    pub stream_index: usize,
    /// Its metadata as stored.
    pub metadata: Option<&'a Labels>,
    /// Length of the line as stored.
    pub line_len: usize,
}

/// Passes the records of a part through the pipeline, in order of time, and calls `visit` with those
/// that come out until it answers `false`.
pub(crate) fn scan(
    db: &Db,
    selection: &Selection,
    part: &Part,
    plan: &Plan<'_>,
    guard: &Guard,
    visit: &mut dyn FnMut(&mut Passed<'_, '_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    guard.check()?;
    let read;
    let segment: &Segment = match &part.data {
        PartData::Memory(segment) => segment,
        PartData::Sealed(meta) => {
            if plan.pipeline.first.iter().any(|test| test.is_selective())
                && let Some(bytes) = db.filter(meta)?
                && let Some(filter) = Filter::parse(&bytes)
                && plan.pipeline.first.iter().any(|test| test.rules_out(&filter))
            {
                guard.ruled_out_block();
                return Ok(());
            }
            guard.opened_block();
            let Some(segment) = db.read(meta, plan.needs_lines)? else { return Ok(()) };
            read = segment;
            &read
        }
    };
    let stream = &selection.streams[part.stream].labels;
    let mut rows = candidates(segment, plan, guard)?;
    if segment.is_sorted() {
        if plan.backward {
            rows.reverse();
        }
    } else if plan.backward {
        rows.sort_by_key(|index| Reverse((segment.times[*index as usize], *index)));
    } else {
        rows.sort_by_key(|index| segment.times[*index as usize]);
    }
    visit_rows(segment, &rows, stream, part.stream, plan, guard, visit)
}

/// Rows within the time span that the first text filter finds, ascending.
fn candidates(segment: &Segment, plan: &Plan<'_>, guard: &Guard) -> Result<Vec<u32>, Error> {
    let within = |index: usize| (plan.start_ns..=plan.end_ns).contains(&segment.times[index]);
    let finder = plan.pipeline.first.iter().find_map(|test| test.finder());
    let Some(finder) = finder else {
        let rows: Vec<u32> =
            (0..segment.len()).filter(|index| within(*index)).map(|index| index as u32).collect();
        return Ok(rows);
    };
    guard.scanned(segment.len() as u64, segment.lines.len() as u64)?;
    let mut rows = Vec::new();
    let mut at = 0;
    let mut row = 0;
    while let Some(found) = finder.find(&segment.lines[at..]) {
        let begin = at + found;
        row += segment.ends[row..].partition_point(|end| (*end as usize) < begin);
        let Some(&end) = segment.ends.get(row) else { break };
        // A needle has no line feed, so what is found lies within one line.
        if within(row) {
            rows.push(row as u32);
        }
        at = end as usize + 1;
        row += 1;
    }
    Ok(rows)
}

fn visit_rows(
    segment: &Segment,
    rows: &[u32],
    stream: &Labels,
    stream_index: usize,
    plan: &Plan<'_>,
    guard: &Guard,
    visit: &mut dyn FnMut(&mut Passed<'_, '_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let counted = plan.pipeline.first.iter().any(|test| test.finder().is_some());
    let has_steps = plan.pipeline.has_steps();
    let (mut lines, mut bytes) = (0u64, 0u64);
    let mut row = Row { time_ns: 0, line: Cow::Borrowed(&[]), fields: super::fields::Fields::default() };
    for &index in rows {
        let index = index as usize;
        let (start, end) = segment.span(index);
        lines += 1;
        bytes += (end - start) as u64;
        if lines == CHECK_LINES {
            let seen = if counted { (0, 0) } else { (lines, bytes) };
            guard.scanned(seen.0, seen.1)?;
            (lines, bytes) = (0, 0);
        }
        let line: &[u8] = if plan.needs_lines { &segment.lines[start..end] } else { &[] };
        if !plan.pipeline.first.iter().all(|test| test.passes(line)) {
            continue;
        }
        row.time_ns = segment.times[index];
        row.line = Cow::Borrowed(line);
        let metadata = segment.metadata(index);
        if has_steps || plan.needs_fields {
            row.fields.reset(stream, metadata);
        }
        if has_steps && !plan.pipeline.run(&mut row) {
            continue;
        }
        let mut passed =
            Passed { row: &mut row, stream, stream_index, index, metadata, line_len: end - start };
        if !visit(&mut passed)? {
            break;
        }
    }
    let seen = if counted { (0, 0) } else { (lines, bytes) };
    guard.scanned(seen.0, seen.1)
}
