//! Puts the pieces of a line together, across blocks and across files.

use super::cri::{Piece, Stream};
use super::trace::{Whole, begun_in, go_through};
use crate::uplink::Line;

/// Longest line that is put together, in bytes; what is longer is cut.
pub(super) const MAX_LINE: usize = 1 << 20;

/// A line of which pieces were read.
#[derive(Debug, Clone)]
struct Begun {
    /// Which file its first piece is in, and where that begins.
    file: u64,
    start: u64,
    /// Files after that in which pieces are.
    through: Vec<u64>,
    time_ns: i64,
    text: Vec<u8>,
    cut: u64,
}

/// Begun lines of a container, by stream.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    begun: [Option<Begun>; 2],
}

impl Joiner {
    /// Takes a piece at `start`…`end` of `file`. Returns the line that ended with it, and how many bytes of it were
    /// cut off.
    pub(super) fn take(
        &mut self,
        piece: &Piece<'_>,
        file: u64,
        start: u64,
        end: u64,
    ) -> Option<(Whole, u64)> {
        let slot = &mut self.begun[piece.stream as usize];
        if piece.full && slot.is_none() && piece.text.len() <= MAX_LINE {
            let line = line(piece.time_ns, piece.text.to_vec(), end);
            return Some((Whole::plain(line, file, start), 0));
        }
        let begun = slot.get_or_insert_with(|| Begun {
            file,
            start,
            through: Vec::new(),
            time_ns: piece.time_ns,
            text: Vec::new(),
            cut: 0,
        });
        go_through(begun.file, &mut begun.through, file);
        let room = MAX_LINE - begun.text.len();
        let kept = piece.text.len().min(room);
        begun.text.extend_from_slice(&piece.text[..kept]);
        begun.cut += (piece.text.len() - kept) as u64;
        if !piece.full {
            return None;
        }
        slot.take().map(|begun| {
            let cut = begun.cut;
            (begun.end(file, end), cut)
        })
    }

    /// From where on `file` has to be read again for what is begun: up to there all lines are whole.
    pub(super) fn begun_in(&self, file: u64) -> Option<u64> {
        let begun = self.begun.iter().flatten();
        begun.filter_map(|begun| begun_in((begun.file, begun.start), &begun.through, file)).min()
    }

    /// Ends what was begun: the writer is gone and no piece will follow.
    pub(super) fn give_up(&mut self, file: u64, end: u64) -> Vec<(Stream, Whole)> {
        let [stdout, stderr] = &mut self.begun;
        let ended = [(Stream::Stdout, stdout.take()), (Stream::Stderr, stderr.take())];
        let lines = ended.into_iter().filter_map(|(stream, begun)| Some((stream, begun?)));
        lines.map(|(stream, begun)| (stream, begun.end(file, end))).collect()
    }
}

impl Begun {
    fn end(self, file: u64, end: u64) -> Whole {
        Whole {
            line: line(self.time_ns, self.text, end),
            file,
            begun: (self.file, self.start),
            through: self.through,
            joined: true,
        }
    }
}

fn line(time_ns: i64, text: Vec<u8>, end_offset: u64) -> Line {
    Line { time_ns, line: text, end_offset, metadata: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(stream: Stream, full: bool, text: &[u8]) -> Piece<'_> {
        Piece { time_ns: 5, stream, full, text }
    }

    #[test]
    fn streams_do_not_mix_and_the_first_piece_says_where_it_begins() {
        let mut joiner = Joiner::default();
        assert!(joiner.take(&piece(Stream::Stdout, false, b"one "), 1, 0, 10).is_none());
        let (whole, cut) = joiner.take(&piece(Stream::Stderr, true, b"oops"), 1, 10, 20).unwrap();
        assert_eq!((whole.line.line.as_slice(), cut), (b"oops".as_slice(), 0));
        assert_eq!((joiner.begun_in(1), joiner.begun_in(2)), (Some(0), None));
        let (whole, _) = joiner.take(&piece(Stream::Stdout, true, b"line"), 2, 0, 8).unwrap();
        assert_eq!((whole.line.line.as_slice(), whole.line.end_offset), (b"one line".as_slice(), 8));
        assert_eq!((whole.file, whole.begun), (2, (1, 0)));
        assert_eq!(joiner.begun_in(1), None);
        for file in [1, 2, 3] {
            joiner.take(&piece(Stream::Stdout, false, b"x"), file, 5, 6);
        }
        let again = [1, 2, 3, 4].map(|file| joiner.begun_in(file));
        assert_eq!(again, [Some(5), Some(0), Some(0), None], "a piece in each");
    }

    #[test]
    fn a_line_without_end_is_cut_and_counted() {
        let mut joiner = Joiner::default();
        let long = vec![b'x'; MAX_LINE];
        joiner.take(&piece(Stream::Stdout, false, &long), 1, 0, 1);
        let (whole, cut) = joiner.take(&piece(Stream::Stdout, true, b"tail"), 1, 1, 2).unwrap();
        assert_eq!((whole.line.line.len(), cut), (MAX_LINE, 4));
        joiner.take(&piece(Stream::Stderr, false, b"half"), 1, 2, 3);
        assert_eq!(joiner.give_up(1, 9).len(), 1);
        assert_eq!(joiner.begun_in(1), None);
    }
}
