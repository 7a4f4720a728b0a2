//! Records of several lines: reading begins before or behind each of them, in all files that it is in, and never in a
//! file before an older one is behind: what was begun there decides what becomes of the next line.

use super::Group;
use crate::logs::trace::Whole;

/// Most records of several parts that are remembered one by one.
const MAX_SPANS: usize = 1_000;

/// Where a record is.
#[derive(Debug)]
pub(super) struct Span {
    /// By file.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    file: u64,
    begin: u64,
    /// `None`: to the end of the file.
    end: Option<u64>,
}

impl Group {
    /// A record of several parts that is not behind the checkpoint yet.
    pub(super) fn note_span(&mut self, whole: &Whole) {
        let files = std::iter::once(whole.begun.0).chain(whole.through.iter().copied());
        let parts = files.map(|file| Part {
            file,
            begin: whole.begun_in(file).unwrap_or_default(),
            end: (file == whole.file).then_some(whole.line.end_offset),
        });
        let span = Span { parts: parts.collect() };
        let is_full = self.spans.len() >= MAX_SPANS;
        match (self.spans.last_mut().map(|last| last.parts.as_mut_slice()), span.parts.as_slice()) {
            // Taken for one with all between them: reading begins earlier then, which is never wrong.
            (Some([last]), [new]) if is_full && last.file == new.file => {
                (last.begin, last.end) = (last.begin.min(new.begin), last.end.max(new.end));
            }
            _ => self.spans.push(span),
        }
    }

    /// Up to where, in each file, all records were handed out, and none of them goes on.
    pub(super) fn handed_out(&self) -> Vec<u64> {
        let mut handed_out: Vec<u64> = self
            .tails
            .iter()
            .map(|tail| {
                let trace = self.traces.as_ref().and_then(|traces| traces.begun_in(tail.id));
                let begun = [self.joiner.begun_in(tail.id), trace].into_iter().flatten().min();
                begun.unwrap_or(tail.offset).min(tail.offset)
            })
            .collect();
        loop {
            let mut is_same = true;
            for span in &self.spans {
                if self.is_passed(span, |at| handed_out[at]) {
                    continue;
                }
                for part in &span.parts {
                    let Some(at) = self.tails.iter().position(|tail| tail.id == part.file) else { continue };
                    is_same &= handed_out[at] <= part.begin;
                    handed_out[at] = handed_out[at].min(part.begin);
                }
            }
            let held = handed_out.iter().zip(&self.tails).position(|(to, tail)| *to < tail.offset);
            let newer = held.map_or(self.tails.len(), |held| held + 1);
            for (to, tail) in handed_out.iter_mut().zip(&self.tails).skip(newer) {
                is_same &= *to <= tail.promised;
                *to = (*to).min(tail.promised);
            }
            if is_same {
                return handed_out;
            }
        }
    }

    /// Forgets records that will not be read again.
    pub(super) fn forget_spans(&mut self) {
        let spans = std::mem::take(&mut self.spans);
        let kept = spans.into_iter().filter(|span| !self.is_passed(span, |at| self.tails[at].promised));
        self.spans = kept.collect();
    }

    /// Whether a record is behind these positions in the files that are read. What is read no more is behind.
    fn is_passed(&self, span: &Span, position: impl Fn(usize) -> u64) -> bool {
        span.parts.iter().all(|part| {
            let at = self.tails.iter().position(|tail| tail.id == part.file);
            at.is_none_or(|at| position(at) >= part.end.unwrap_or(self.tails[at].offset))
        })
    }
}
