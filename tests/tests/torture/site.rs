//! One writer and what rotates its file.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use binnacle_tests::random::Random;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Rotated files are kept for so long at least: an agent that was killed must find them.
const KEPT: Duration = Duration::from_secs(12);

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of the CRI format, on stdout and stderr.
    Cri,
    /// Plain lines.
    Raw,
}

/// What was written in the end: how many numbers by selector, and which rotations there were.
pub struct Written {
    pub streams: Vec<(String, u64)>,
    pub history: Vec<String>,
}

/// A writer of numbered lines.
pub struct Site {
    path: PathBuf,
    format: Format,
    selector: &'static str,
    random: Random,
    /// Nothing may be deleted now.
    keep: Arc<AtomicBool>,
    /// The next number of each stream.
    next: [u64; 2],
    /// The file that is written to; after a rename for a while the renamed one.
    file: Option<File>,
    turns_at: Option<Instant>,
    /// Rotated files, oldest first.
    old: VecDeque<(PathBuf, Instant)>,
    history: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "real writers have real clocks")]
fn now() -> (Instant, jiff::Timestamp) {
    (Instant::now(), jiff::Timestamp::now())
}

impl Site {
    pub fn new(
        path: PathBuf,
        format: Format,
        selector: &'static str,
        random: Random,
        keep: Arc<AtomicBool>,
    ) -> Self {
        Self {
            path,
            format,
            selector,
            random,
            keep,
            next: [0; 2],
            file: None,
            turns_at: None,
            old: VecDeque::new(),
            history: Vec::new(),
        }
    }

    /// Writes, with so many rotations.
    pub async fn write(mut self, rotations: u64) -> Result<Written> {
        let mut left = rotations;
        while left > 0 {
            for _ in 0..1 + self.random.below(8) {
                self.lines()?;
                // Now and then long enough for a trace to be taken for over.
                let pause = if self.random.chance(8) { (1200, 1800) } else { (5, 120) };
                let pause = self.random.between(pause.0, pause.1);
                tokio::time::sleep(Duration::from_millis(pause as u64)).await;
            }
            if self.turns_at.is_none() {
                self.rotate(rotations - left)?;
                left -= 1;
            }
        }
        // Whoever rotated last, the writer goes on: the file that is written to is there.
        self.lines()?;
        while self.turns_at.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.lines()?;
        }
        let streams = match self.format {
            Format::Cri => vec!["stdout", "stderr"],
            Format::Raw => vec!["file"],
        };
        let named = streams.into_iter().zip(self.next);
        let streams =
            named.map(|(stream, count)| (format!("{{{},stream=\"{stream}\"}}", self.selector), count));
        Ok(Written { streams: streams.collect(), history: self.history })
    }

    /// Writes some lines at once.
    fn lines(&mut self) -> Result<()> {
        if self.turns_at.is_some_and(|at| now().0 >= at) {
            (self.turns_at, self.file) = (None, None);
        }
        let mut text = String::new();
        for slot in 0..if self.format == Format::Cri { 2 } else { 1 } {
            // Frames that may belong to what was written last.
            if self.random.chance(40) {
                self.frames(slot, &mut text);
            }
        }
        for _ in 0..self.random.below(30) {
            let slot = if self.format == Format::Cri { self.random.below(2) } else { 0 };
            match self.random.below(8) {
                0 => self.trace(slot, &mut text),
                1 if self.format == Format::Cri => self.pieces(slot, &mut text),
                _ => {
                    let line = format!("a line seq={}", self.number(slot));
                    self.line(slot, "F", &line, &mut text);
                }
            }
        }
        if self.random.chance(40) {
            self.trace(0, &mut text);
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().append(true).create(true).open(&self.path)?),
        };
        // A rotation may come anywhere.
        let cut = self.random.below(text.len() + 1);
        let at = text[cut..].find('\n').map_or(text.len(), |end| cut + end + 1);
        file.write_all(&text.as_bytes()[..at])?;
        if self.format == Format::Raw && self.turns_at.is_none() && self.random.chance(10) {
            self.rotate(u64::MAX)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().append(true).create(true).open(&self.path)?),
        };
        Ok(file.write_all(&text.as_bytes()[at..])?)
    }

    fn number(&mut self, slot: usize) -> u64 {
        self.next[slot] += 1;
        self.next[slot] - 1
    }

    fn line(&self, slot: usize, tag: &str, line: &str, text: &mut String) {
        if self.format == Format::Cri {
            let time = now().1.strftime("%Y-%m-%dT%H:%M:%S.%9fZ");
            text.push_str(&format!("{time} {} {tag} ", ["stdout", "stderr"][slot]));
        }
        text.push_str(line);
        text.push('\n');
    }

    /// A stack trace, with a number in each of its lines.
    fn trace(&mut self, slot: usize, text: &mut String) {
        let first = format!("java.lang.IllegalStateException: seq={}", self.number(slot));
        self.line(slot, "F", &first, text);
        self.frames(slot, text);
    }

    fn frames(&mut self, slot: usize, text: &mut String) {
        for _ in 0..self.random.below(6) {
            let frame = format!("\tat a.B.c(B.java:1 seq={})", self.number(slot));
            self.line(slot, "F", &frame, text);
            if self.format == Format::Cri && self.random.chance(20) {
                let other = format!("between seq={}", self.number(1 - slot));
                self.line(1 - slot, "F", &other, text);
            }
        }
    }

    /// A line in two or three pieces, lines of the other stream between them.
    fn pieces(&mut self, slot: usize, text: &mut String) {
        self.line(slot, "P", "a long line s", text);
        if self.random.chance(50) {
            let other = format!("between seq={}", self.number(1 - slot));
            self.line(1 - slot, "F", &other, text);
            self.line(slot, "P", "e", text);
        } else {
            self.line(slot, "P", "e", text);
        }
        let end = format!("q={}", self.number(slot));
        self.line(slot, "F", &end, text);
    }

    /// One rotation, of any kind.
    fn rotate(&mut self, n: u64) -> Result<()> {
        if !fs::metadata(&self.path).is_ok_and(|meta| meta.len() > 0) {
            return Ok(());
        }
        let rotated = PathBuf::from(format!("{}.2026{:010}", self.path.display(), self.history.len()));
        let kind = match self.random.below(10) {
            0..=3 => {
                fs::rename(&self.path, &rotated)?;
                // The writer goes on in the renamed file until it is told.
                if n != u64::MAX && self.random.chance(50) {
                    let after = Duration::from_millis(self.random.below(200) as u64);
                    self.turns_at = Some(now().0 + after);
                    File::create(&self.path)?;
                    "late"
                } else {
                    self.file = None;
                    File::create(&self.path)?;
                    "rename"
                }
            }
            4..=6 => {
                fs::copy(&self.path, &rotated)?;
                OpenOptions::new().write(true).open(&self.path)?.set_len(0)?;
                "copytruncate"
            }
            _ => match self.recycled() {
                // The oldest file becomes the new one: its inode comes again.
                Some(oldest) => {
                    fs::rename(&self.path, &rotated)?;
                    self.file = None;
                    OpenOptions::new().write(true).open(&oldest)?.set_len(0)?;
                    fs::rename(&oldest, &self.path)?;
                    "reuse"
                }
                None => {
                    fs::rename(&self.path, &rotated)?;
                    self.file = None;
                    "gone"
                }
            },
        };
        self.history.push(format!("{}@{kind}", self.next[0]));
        self.old.push_back((rotated, now().0));
        if self.random.chance(50) {
            self.compress()?;
        }
        while self.old.len() > 6 && self.may_delete() {
            if let Some((path, _)) = self.old.pop_front() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn may_delete(&self) -> bool {
        let is_old = self.old.front().is_some_and(|(_, since)| now().0.duration_since(*since) >= KEPT);
        is_old && !self.keep.load(Ordering::Relaxed)
    }

    /// The oldest file, if it is plain and may go.
    fn recycled(&mut self) -> Option<PathBuf> {
        let is_plain = self.old.front()?.0.extension().is_some_and(|end| end != "gz");
        if is_plain && self.may_delete() { self.old.pop_front().map(|(path, _)| path) } else { None }
    }

    /// Compresses a file that nobody writes to any more, as log rotation does.
    fn compress(&mut self) -> Result<()> {
        let end = self.old.len() - usize::from(self.turns_at.is_some()).min(self.old.len());
        let plain = self.old.iter_mut().take(end).rev().find(|(path, _)| !is_gzip(path));
        let Some((plain, _)) = plain else { return Ok(()) };
        let packed = PathBuf::from(format!("{}.gz", plain.display()));
        let partial = PathBuf::from(format!("{}.gz.tmp", plain.display()));
        let mut encoder = GzEncoder::new(File::create(&partial)?, Compression::fast());
        std::io::copy(&mut File::open(&*plain)?, &mut encoder)?;
        encoder.finish()?;
        fs::rename(&partial, &packed)?;
        fs::remove_file(&*plain)?;
        *plain = packed;
        Ok(())
    }
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "gz")
}
