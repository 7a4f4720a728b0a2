//! What time and the order of files decided about stack traces, and their lines would not decide again.
//!
//! Read again after a kill of the agent, lines must become the same records, or some would be stored twice: in a file of
//! which less was stored than of the file in which the record ended. Marks are saved before what they are about is sent.

use std::collections::BTreeSet;

/// The end of a line: its file, and where it ends there.
pub(super) type End = (u64, u64);

/// Marks at the ends of lines that may be read again.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// A trace was ended by time here.
    cuts: BTreeSet<End>,
    /// A trace was at the end of its file here, and went on in the next one: time does not end it when the next one is
    /// read later.
    joins: BTreeSet<End>,
    /// Whether some are new since the checkpoint was saved.
    is_unsaved: bool,
}

impl Marks {
    /// Those of a file in the checkpoint.
    pub(super) fn restore(&mut self, file: u64, cuts: &[u64], joins: &[u64]) {
        self.cuts.extend(cuts.iter().map(|end| (file, *end)));
        self.joins.extend(joins.iter().map(|end| (file, *end)));
    }

    /// A trace is ended here.
    pub(super) fn cut(&mut self, end: End) {
        self.is_unsaved |= self.cuts.insert(end);
    }

    /// A trace goes on in the next file.
    pub(super) fn join(&mut self, end: End) {
        self.is_unsaved |= self.joins.insert(end);
    }

    pub(super) fn is_cut(&self, end: End) -> bool {
        self.cuts.contains(&end)
    }

    pub(super) fn is_joined(&self, end: End) -> bool {
        self.joins.contains(&end)
    }

    /// Cuts and joins in a file, for the checkpoint.
    pub(super) fn of_file(&self, file: u64) -> (Vec<u64>, Vec<u64>) {
        let of_file =
            |ends: &BTreeSet<End>| ends.range((file, 0)..=(file, u64::MAX)).map(|(_, end)| *end).collect();
        (of_file(&self.cuts), of_file(&self.joins))
    }

    /// A file will not be read again before `offset`.
    pub(super) fn forget_before(&mut self, file: u64, offset: u64) {
        for ends in [&mut self.cuts, &mut self.joins] {
            ends.retain(|(of, end)| *of != file || *end > offset);
        }
    }

    /// A file is lost: traces may have gone on in it.
    pub(super) fn forget_joins(&mut self) {
        self.joins.clear();
    }

    /// Whether some are new since the checkpoint was saved.
    pub(super) fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// The checkpoint was saved.
    pub(super) fn saved(&mut self) {
        self.is_unsaved = false;
    }
}
