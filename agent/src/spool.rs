//! Rounds of samples that wait on disk while the server is away: bounded, checked, in order.
//!
//! A directory of segments, numbered; a segment is a header and records, each a length, a checksum and
//! a zstd-compressed `BatchBody` whose dictionary is the segment's. Rounds are read oldest first and
//! stay on disk until the server has acknowledged them. When the spool is full, what comes then is
//! refused: the beginning of an outage is worth most, and its end is still in memory.

mod segment;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::sample::Round;
use crate::selfmetrics::{Gauge, SelfMetrics};
use crate::uplink::Decoder;
use segment::{Reader, Writer};

/// Number of the first segment of an empty spool: leaves room before it for [`Spool::put_first`].
const FIRST: u64 = 1 << 32;

/// A segment is closed when it is this large, in bytes; small spools have smaller ones.
const MAX_SEGMENT: u64 = 4 << 20;

/// Names a record, for giving it free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    segment: u64,
    /// Whether the segment has no more records.
    last: bool,
}

/// The spool. One owner: the uplink.
pub(crate) struct Spool {
    dir: PathBuf,
    max_bytes: u64,
    /// Segments on disk, oldest first, with their sizes. The last one may be open for writing.
    segments: VecDeque<(u64, u64)>,
    writer: Option<Writer>,
    /// The segment that is being read.
    reader: Option<Reader>,
    /// Its next record, with the segment's number.
    ahead: Option<(u64, Vec<Round>)>,
    /// Segments up to this one have been read; they wait for their acknowledgement.
    read_to: u64,
    decoder: Decoder,
    metrics: SelfMetrics,
    bytes_gauge: Gauge,
}

impl Spool {
    /// Opens the spool in `dir`, which is created when missing. What an earlier process left is sent
    /// first.
    ///
    /// # Errors
    /// When the directory cannot be made or listed.
    pub(crate) fn open(dir: &Path, max_bytes: u64, metrics: &SelfMetrics) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
            let entry = entry.map_err(|e| Error::io(dir, e))?;
            let number = entry.file_name().to_str().and_then(segment::number);
            if let (Some(number), Ok(meta)) = (number, entry.metadata()) {
                segments.push((number, meta.len()));
            }
        }
        segments.sort_unstable();
        let bytes_gauge = metrics.gauge("binnacle_agent_spool_bytes", &[]);
        let spool = Self {
            dir: dir.to_owned(),
            max_bytes,
            segments: segments.into(),
            writer: None,
            reader: None,
            ahead: None,
            read_to: 0,
            decoder: Decoder::default(),
            metrics: metrics.clone(),
            bytes_gauge,
        };
        spool.show_size();
        Ok(spool)
    }

    /// Size on disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether there is something left to read.
    pub(crate) fn is_unread(&self) -> bool {
        self.ahead.is_some() || self.segments.back().is_some_and(|(number, _)| *number > self.read_to)
    }

    /// Adds a round at the end. A round that does not fit, or cannot be written, is lost and counted.
    pub(crate) fn push(&mut self, round: &Round) {
        let count = round.samples.len() as u64;
        if self.bytes() >= self.max_bytes {
            self.metrics.lost("samples", "spool_full", count);
            return;
        }
        if let Err(error) = self.append(round) {
            tracing::warn!(spool = %self.dir.display(), %error, "cannot write to the spool");
            self.metrics.lost("samples", "spool_error", count);
            self.writer = None;
        }
        self.show_size();
    }

    /// Adds rounds before everything else: those that were on their way when the agent ended.
    pub(crate) fn put_first(&mut self, rounds: &[Round]) {
        if rounds.is_empty() {
            return;
        }
        let number = self.segments.front().map_or(FIRST, |(first, _)| *first) - 1;
        let written = Writer::create(&self.dir, number).and_then(|mut writer| {
            rounds.iter().try_for_each(|round| writer.append(round))?;
            Ok(writer.bytes())
        });
        match written {
            Ok(bytes) => self.segments.push_front((number, bytes)),
            Err(error) => {
                tracing::warn!(spool = %self.dir.display(), %error, "cannot write to the spool");
                let count: usize = rounds.iter().map(|round| round.samples.len()).sum();
                self.metrics.lost("samples", "spool_error", count as u64);
            }
        }
        self.show_size();
    }

    fn append(&mut self, round: &Round) -> std::io::Result<()> {
        let limit = (self.max_bytes / 8).clamp(4096, MAX_SEGMENT);
        if self.writer.as_ref().is_some_and(|writer| writer.bytes() >= limit) {
            self.writer = None;
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let number = self.segments.back().map_or(FIRST, |(last, _)| last + 1).max(self.read_to + 1);
                let writer = Writer::create(&self.dir, number)?;
                self.segments.push_back((number, writer.bytes()));
                writer
            }
        };
        let written = writer.append(round);
        if let Some((_, bytes)) = self.segments.back_mut() {
            *bytes = writer.bytes();
        }
        if written.is_err() && writer.is_empty() {
            self.segments.pop_back();
            let _ = fs::remove_file(segment::path(&self.dir, writer.number()));
        }
        written?;
        self.writer = Some(writer);
        Ok(())
    }

    /// The oldest record that was not read yet, with the position to [`Spool::release`] when its
    /// rounds are durable. What cannot be read is counted as lost, removed, and passed over.
    pub(crate) fn next(&mut self) -> Option<(Vec<Round>, Position)> {
        while self.ahead.is_none() {
            let number = self.segments.iter().map(|(n, _)| *n).find(|n| *n > self.read_to)?;
            if self.writer.as_ref().is_some_and(|writer| writer.number() == number) {
                // It is read now: what comes next goes to a new one.
                self.writer = None;
            }
            self.read_to = number;
            self.decoder.restart();
            let opened = Reader::open(&self.dir, number);
            let size = self.segments.iter().find(|(n, _)| *n == number).map_or(0, |(_, bytes)| *bytes);
            match opened {
                Ok(reader) if reader.rest() == 0 => self.remove(number),
                Ok(reader) => {
                    self.reader = Some(reader);
                    self.read_ahead();
                }
                Err(problem) => self.corrupt(number, &problem, size, 0),
            }
        }
        let (number, rounds) = self.ahead.take()?;
        // Looking ahead shows whether this is the segment's last record that can be read.
        self.read_ahead();
        Some((rounds, Position { segment: number, last: self.ahead.is_none() }))
    }

    /// Reads the next record of the open segment; none when it has no more, or none that can be read.
    fn read_ahead(&mut self) {
        let Some(reader) = self.reader.as_mut().filter(|reader| reader.rest() > 0) else {
            self.reader = None;
            return;
        };
        let number = reader.number();
        let decoded = reader.next().and_then(|record| {
            let body = self.decoder.body(&record).map_err(|e| e.to_string())?;
            self.decoder.rounds(&body).map_err(|e| e.to_string())
        });
        match decoded {
            Ok(rounds) => self.ahead = Some((number, rounds)),
            Err(problem) => {
                let (rest, good) = (reader.rest(), reader.good());
                self.reader = None;
                self.corrupt(number, &problem, rest, good);
            }
        }
    }

    /// The record is durable at the server: its segment is removed when it was the last one in it.
    /// Records are released in the order in which they were read.
    pub(crate) fn release(&mut self, position: Position) {
        while let Some((number, _)) = self.segments.front().copied() {
            let done = number < position.segment || (number == position.segment && position.last);
            if !done {
                break;
            }
            self.segments.pop_front();
            self.remove(number);
        }
        self.show_size();
    }

    /// The rest of a segment is unreadable: it is cut off, so that it takes no room and is not read again. What is
    /// before it, `good` bytes, stays until it is released; without any the segment goes at once.
    fn corrupt(&mut self, number: u64, problem: &str, rest: u64, good: u64) {
        let path = segment::path(&self.dir, number);
        tracing::error!(path = %path.display(), problem, rest, "a spool segment cannot be read further: the rest is removed");
        self.metrics.lost("spool_bytes", "corrupt", rest.max(1));
        self.metrics.counter("binnacle_agent_spool_segments_corrupt_total", &[]).add(1);
        if good == 0 {
            self.remove(number);
            return;
        }
        let cut = fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(good));
        match cut {
            Ok(()) => {
                if let Some((_, bytes)) = self.segments.iter_mut().find(|(n, _)| *n == number) {
                    *bytes = good;
                }
            }
            // It is removed with its last good record.
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot cut a spool segment"),
        }
        self.show_size();
    }

    /// Removes a segment of which nothing waits for its acknowledgement.
    fn remove(&mut self, number: u64) {
        let path = segment::path(&self.dir, number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                // It keeps its room and is tried again when a later one is released.
                tracing::warn!(path = %path.display(), %error, "cannot remove a spool segment");
            }
            _ => self.segments.retain(|(n, _)| *n != number),
        }
        self.show_size();
    }

    fn show_size(&self) {
        self.bytes_gauge.set(self.bytes() as f64);
    }
}

#[cfg(test)]
mod tests;
