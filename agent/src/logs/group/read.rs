//! Reads what files have new, and makes lines of it.

use std::io;

use super::{Advance, Format, Group, Stored, TURN_MS, Tail, Unit};
use crate::logs::content::{Content, HEAD_BYTES, Print, TAIL_BYTES};
use crate::logs::cri::{self, Piece, Stream};
use crate::logs::docker;
use crate::logs::join::MAX_LINE;
use crate::logs::trace::Whole;
use crate::uplink::{Line, LogLines};

/// Most bytes read at once: what becomes one unit.
const READ_BYTES: usize = 128 * 1024;

/// Longest raw line that is kept, in bytes: what is put together is not longer, and a CRI line has a beginning.
const MAX_RAW: usize = MAX_LINE + 256;

/// Most files that are held for a line in pieces that was begun in the oldest of them.
const MAX_HELD: usize = 16;

/// How a look at a file ended.
enum Look {
    /// Something was read.
    Data(Unit),
    /// Nothing new.
    Quiet,
    /// It is smaller than it was, or has other bytes.
    Changed,
}

impl Group {
    /// Reads on, at most one unit. `None` when there is nothing new.
    pub(in crate::logs) fn read(&mut self, buffer: &mut Vec<u8>, now_ns: i64) -> Option<Unit> {
        buffer.resize(READ_BYTES, 0);
        let now_ms = now_ns / 1_000_000;
        if let Some(unit) = self.expired_traces(now_ns) {
            return Some(unit);
        }
        if self.tails.iter().filter(|tail| tail.drained).count() > MAX_HELD
            && let Some(unit) = self.give_up()
        {
            tracing::warn!(group = self.key, files = MAX_HELD, "a line in pieces without an end is ended");
            self.ledger.malformed.add(1);
            return Some(unit);
        }
        if !self.rate.allows(now_ns) {
            self.ledger.limited.add(1);
            return None;
        }
        for at in 0..self.tails.len() {
            if self.tails[at].drained {
                continue;
            }
            match self.look(at, buffer, now_ns) {
                Ok(Look::Data(unit)) => return Some(unit),
                Ok(Look::Quiet) => {}
                Ok(Look::Changed) => {
                    tracing::debug!(path = %self.tails[at].path.display(), "log file was truncated or replaced");
                    self.tails[at].detach(now_ms);
                    return None;
                }
                Err(e) => {
                    tracing::warn!(path = %self.tails[at].path.display(), error = %e, "log file cannot be read");
                    return None;
                }
            }
            let tail = &self.tails[at];
            let two_newer = self.tails.len() - at > 2;
            let turned = tail.replaced_ms.is_some_and(|since| two_newer || now_ms - since >= TURN_MS);
            if tail.content.is_none() || !turned {
                return None;
            }
            self.tails[at].drained = true;
            if let Some(unit) = self.end_of_file(at, now_ns) {
                return Some(unit);
            }
            self.retire();
            return self.read(buffer, now_ns);
        }
        if self.empty { self.give_up() } else { None }
    }

    fn look(&mut self, at: usize, buffer: &mut [u8], now_ns: i64) -> io::Result<Look> {
        let tail = &mut self.tails[at];
        let Some(content) = &tail.content else { return Ok(Look::Quiet) };
        let next = tail.offset + tail.pending_len;
        if let Some((size, written_ns)) = content.looks()? {
            if size < next {
                return Ok(Look::Changed);
            }
            // Of the same size, yet written to: it may have been truncated and have grown again.
            if size == next && std::mem::replace(&mut tail.written_ns, written_ns) == written_ns {
                return Ok(Look::Quiet);
            }
            tail.size = tail.size.max(size);
            if tail.has_other_bytes()? {
                return Ok(Look::Changed);
            }
            if size == next {
                return Ok(Look::Quiet);
            }
            if let (true, Some(content)) = (tail.head.len < HEAD_BYTES, &mut tail.content)
                && size > tail.head.len as u64
            {
                let Some(head) = content.longer_head(tail.head)? else { return Ok(Look::Changed) };
                tail.head = head;
                self.advanced = true;
            }
        }
        let Some(content) = &mut tail.content else { return Ok(Look::Quiet) };
        let have = content.read_at(next, buffer)?;
        if have == 0 {
            return Ok(Look::Quiet);
        }
        // Asked again: what was read is of this file only if it still was when that was read.
        if matches!(content, Content::Plain(_)) && tail.has_other_bytes()? {
            return Ok(Look::Changed);
        }
        self.ledger.bytes_read.add(have as u64);
        self.rate.spend(have as u64);
        Ok(Look::Data(self.take(at, &buffer[..have], now_ns)))
    }

    /// Makes lines of bytes that follow in a file.
    fn take(&mut self, at: usize, mut bytes: &[u8], now_ns: i64) -> Unit {
        let mut lines: [Vec<Whole>; 2] = Default::default();
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (text, rest) = bytes.split_at(end + 1);
            bytes = rest;
            let tail = &mut self.tails[at];
            tail.keep(text);
            let start = tail.offset;
            let raw = std::mem::take(&mut tail.pending);
            tail.offset += std::mem::take(&mut tail.pending_len);
            let (file, end) = (tail.id, tail.offset);
            self.raw_line(&raw, file, start, end, now_ns, &mut lines);
            // The buffer is used again.
            let pending = &mut self.tails[at].pending;
            *pending = raw;
            pending.clear();
        }
        self.tails[at].keep(bytes);
        self.unit(lines)
    }

    /// A raw line with its end, if it has one.
    fn raw_line(
        &mut self,
        raw: &[u8],
        file: u64,
        start: u64,
        end: u64,
        now_ns: i64,
        lines: &mut [Vec<Whole>; 2],
    ) {
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        let missing = (end - start).saturating_sub(raw.len() as u64);
        if self.files.format != Format::Raw {
            let mut unescaped = std::mem::take(&mut self.unescaped);
            // Below the pods' folder there may be links to Docker's files.
            let piece = cri::parse(text).or_else(|| docker::parse(text, &mut unescaped));
            let piece = piece.unwrap_or_else(|| {
                // Not of the format: passed on as it is rather than lost.
                self.ledger.malformed.add(1);
                Piece { time_ns: self.own_time(now_ns), stream: Stream::Stdout, full: true, text }
            });
            if let Some((whole, cut)) = self.joiner.take(&piece, file, start, end) {
                self.ledger.bytes_cut.add(cut + missing);
                self.whole_line(piece.stream as usize, whole, now_ns, lines);
            }
            self.unescaped = unescaped;
            return;
        }
        let time_ns = self.own_time(now_ns);
        let kept = &text[..text.len().min(MAX_LINE)];
        self.ledger.bytes_cut.add((text.len() - kept.len()) as u64 + missing);
        let line = Line { time_ns, line: kept.to_vec(), end_offset: end, metadata: Vec::new() };
        self.whole_line(0, Whole::plain(line, file, start), now_ns, lines);
    }

    /// The time of a line that says none: each later than the one before.
    fn own_time(&mut self, now_ns: i64) -> i64 {
        self.last_ns = now_ns.max(self.last_ns + 1);
        self.last_ns
    }

    /// A line that is put together, unless it is of a trace that is not.
    fn whole_line(&mut self, slot: usize, whole: Whole, now_ns: i64, lines: &mut [Vec<Whole>; 2]) {
        match &mut self.traces {
            Some(traces) => {
                if traces.take(slot, whole, &mut self.marks, now_ns, &mut lines[slot]) {
                    self.ledger.joined.add(1);
                }
            }
            None => lines[slot].push(whole),
        }
    }

    /// Traces for which nothing came for long.
    fn expired_traces(&mut self, now_ns: i64) -> Option<Unit> {
        let ended = self.traces.as_mut()?.end_expired(now_ns, &mut self.marks);
        let is_some = ended.iter().any(Option::is_some);
        is_some.then(|| self.unit(ended.map(|whole| whole.into_iter().collect())))
    }

    /// Puts lines into blocks, and finds how far they let the checkpoint move.
    fn unit(&mut self, lines: [Vec<Whole>; 2]) -> Unit {
        let mut stored = Stored::default();
        let mut blocks: Vec<LogLines> = Vec::new();
        for (slot, lines) in lines.into_iter().enumerate() {
            let mut of_file = None;
            for whole in lines {
                stored.lines += 1;
                stored.bytes += whole.line.line.len() as u64;
                if of_file != Some(whole.file) {
                    let Some(block) = self.block(slot, &whole) else {
                        self.ledger.bytes_lost.add(whole.line.line.len() as u64);
                        tracing::error!(
                            group = self.key,
                            file = whole.file,
                            "a record of a file that is not read"
                        );
                        continue;
                    };
                    of_file = Some(whole.file);
                    blocks.push(block);
                }
                if whole.joined {
                    self.note_span(&whole);
                }
                let Some(block) = blocks.last_mut() else { continue };
                block.end = whole.line.end_offset;
                block.lines.push(whole.line);
            }
        }
        self.ledger.lines_read.add(stored.lines);
        if blocks.is_empty() {
            return Unit { blocks, stored };
        }
        for (at, whole) in self.handed_out().into_iter().enumerate() {
            let tail = &mut self.tails[at];
            if whole > tail.promised {
                let print =
                    if whole == tail.offset { Print::of(&tail.recent) } else { tail.print_before(whole) };
                stored.advances.push(Advance { file: tail.id, offset: whole, tail: print });
                tail.promised = whole;
            }
        }
        self.forget_spans();
        Unit { blocks, stored }
    }

    /// An empty block for a record and those that follow it in its file.
    fn block(&self, slot: usize, whole: &Whole) -> Option<LogLines> {
        let stream = match self.files.format {
            Format::Cri | Format::Docker => Stream::NAMES[slot],
            Format::Raw => "file",
        };
        // A file stays as long as something of it is held.
        let tail = self.tails.iter().find(|tail| tail.id == whole.file)?;
        Some(LogLines {
            labels: self.labels[slot].clone(),
            // A source of its own for each stream: the server takes lines of a source in order.
            source: format!("{}/{stream}", tail.source),
            begin: whole.begun_in(whole.file).unwrap_or_default(),
            end: whole.line.end_offset,
            lines: Vec::new(),
        })
    }

    /// A file has ended without a line end: what is there is the last line. A trace may go on in the next file.
    fn end_of_file(&mut self, at: usize, now_ns: i64) -> Option<Unit> {
        let tail = &mut self.tails[at];
        if tail.pending_len == 0 {
            return None;
        }
        let (start, file) = (tail.offset, tail.id);
        let mut lines: [Vec<Whole>; 2] = Default::default();
        let raw = std::mem::take(&mut tail.pending);
        tail.offset += std::mem::take(&mut tail.pending_len);
        let end = tail.offset;
        self.raw_line(&raw, file, start, end, now_ns, &mut lines);
        Some(self.unit(lines))
    }

    /// Ends lines that were begun: all files are gone and nobody will, or too much waits for it.
    fn give_up(&mut self) -> Option<Unit> {
        let last = self.tails.iter().rfind(|tail| tail.offset > 0)?;
        let (file, end) = (last.id, last.offset);
        let mut lines: [Vec<Whole>; 2] = Default::default();
        for (stream, whole) in self.joiner.give_up(file, end) {
            lines[stream as usize].push(whole);
        }
        let unit = self.unit(lines);
        (!unit.blocks.is_empty()).then_some(unit)
    }
}

impl Tail {
    /// Adds bytes to the raw line; of a very long one only the beginning is kept.
    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_RAW.saturating_sub(self.pending.len());
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room && bytes.last() == Some(&b'\n') {
            // Its end is no part of what is cut off.
            self.pending.push(b'\n');
        }
        self.pending_len += bytes.len() as u64;
        // `recent` ends where the last whole line does.
        if bytes.last() == Some(&b'\n') {
            if self.pending.len() as u64 == self.pending_len {
                push_recent(&mut self.recent, &self.pending);
            } else if let Some(content @ Content::Plain(_)) = &mut self.content {
                let mut last = vec![0; TAIL_BYTES];
                let from = self.offset + self.pending_len - TAIL_BYTES as u64;
                let have = content.fill_at(from, &mut last).unwrap_or(0);
                self.recent = last[..have].to_vec();
            } else {
                push_recent(&mut self.recent, bytes);
            }
        }
    }

    /// Print of the bytes before `offset`, which was read already; an empty one when it cannot be had.
    fn print_before(&mut self, offset: u64) -> Print {
        match &mut self.content {
            Some(content @ Content::Plain(_)) => {
                let print = content.tail(offset).unwrap_or_default();
                // The file may have been truncated meanwhile.
                if self.has_other_bytes().unwrap_or(true) { Print::default() } else { print }
            }
            _ => Print::default(),
        }
    }
}

fn push_recent(recent: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() >= TAIL_BYTES {
        recent.clear();
        recent.extend_from_slice(&bytes[bytes.len() - TAIL_BYTES..]);
        return;
    }
    let excess = (recent.len() + bytes.len()).saturating_sub(TAIL_BYTES);
    recent.drain(..excess);
    recent.extend_from_slice(bytes);
}
