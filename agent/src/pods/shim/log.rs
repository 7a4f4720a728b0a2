//! Writes output as lines of the CRI log format, `time stream P|F text`, and rotates the file by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;

use crate::pods::state::LogFile;

/// Longest piece of a line; longer lines are cut into pieces with the tag `P` and a last one with `F`.
pub(crate) const MAX_PIECE: usize = 16 * 1024;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout = 0,
    /// Standard error.
    Stderr = 1,
}

impl Stream {
    const NAMES: [&'static str; 2] = ["stdout", "stderr"];
}

/// A log file of one run of a container.
pub(crate) struct CriLog {
    spec: LogFile,
    file: File,
    size: u64,
    /// Begun lines, by stream.
    pending: [Vec<u8>; 2],
    stamp: Stamp,
    lost: u64,
    out: Vec<u8>,
    /// Name of the last renamed file without its number, and the number.
    renamed: (String, u32),
}

impl CriLog {
    /// Opens the file for appending, and makes its directory.
    pub(crate) fn open(spec: LogFile) -> io::Result<Self> {
        if let Some(dir) = spec.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = append(&spec.path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            spec,
            file,
            size,
            pending: Default::default(),
            stamp: Stamp::default(),
            lost: 0,
            out: Vec::new(),
            renamed: Default::default(),
        })
    }

    /// Takes output of a stream as it came; lines that are complete are written.
    pub(crate) fn feed(&mut self, stream: Stream, mut bytes: &[u8], now_ns: i64) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.piece(stream, line, now_ns);
            self.emit(stream, b'F', now_ns);
            bytes = &rest[1..];
        }
        self.piece(stream, bytes, now_ns);
        self.flush(now_ns);
    }

    /// Ends a stream: a line that was begun is written as if it had ended.
    pub(crate) fn end(&mut self, stream: Stream, now_ns: i64) {
        if !self.pending[stream as usize].is_empty() {
            self.emit(stream, b'F', now_ns);
        }
        self.flush(now_ns);
    }

    /// Bytes of lines that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Adds to the begun line; what is longer than a piece is written.
    fn piece(&mut self, stream: Stream, mut bytes: &[u8], now_ns: i64) {
        loop {
            let pending = &mut self.pending[stream as usize];
            let room = MAX_PIECE - pending.len();
            if bytes.len() <= room {
                pending.extend_from_slice(bytes);
                return;
            }
            let (head, tail) = bytes.split_at(room);
            pending.extend_from_slice(head);
            bytes = tail;
            self.emit(stream, b'P', now_ns);
        }
    }

    fn emit(&mut self, stream: Stream, tag: u8, now_ns: i64) {
        self.stamp.write(now_ns, &mut self.out);
        self.out.push(b' ');
        self.out.extend_from_slice(Stream::NAMES[stream as usize].as_bytes());
        self.out.extend_from_slice(&[b' ', tag, b' ']);
        self.out.append(&mut self.pending[stream as usize]);
        self.out.push(b'\n');
    }

    fn flush(&mut self, now_ns: i64) {
        if self.out.is_empty() {
            return;
        }
        if self.size > 0
            && self.size + self.out.len() as u64 > self.spec.max_bytes
            && let Err(e) = self.rotate(now_ns)
        {
            eprintln!("{}: not rotated: {e}", self.spec.path.display());
        }
        match self.file.write_all(&self.out) {
            Ok(()) => self.size += self.out.len() as u64,
            Err(e) => {
                // A torn line must not run into the next one.
                if self.file.set_len(self.size).is_err() {
                    self.size = self.file.metadata().map_or(self.size, |meta| meta.len());
                }
                if self.lost == 0 {
                    eprintln!("{}: output is lost: {e}", self.spec.path.display());
                }
                self.lost += self.out.len() as u64;
            }
        }
        self.out.clear();
    }

    /// Renames the file as the kubelet does (`0.log` → `0.log.20260131-235959`) and begins a new one.
    fn rotate(&mut self, now_ns: i64) -> io::Result<()> {
        let time = Timestamp::from_nanosecond(i128::from(now_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        let base = format!("{}.{}", self.spec.path.display(), time.strftime("%Y%m%d-%H%M%S"));
        let taken = |name: &str| Path::new(name).exists() || Path::new(&format!("{name}.gz")).exists();
        // Within a second names are numbered, and no number comes back: by name they stay in order.
        let mut number = if self.renamed.0 == base { self.renamed.1 + 1 } else { 0 };
        let name = loop {
            let name = if number == 0 { base.clone() } else { format!("{base}-{number:03}") };
            if !taken(&name) {
                break name;
            }
            number += 1;
        };
        self.renamed = (base, number);
        fs::rename(&self.spec.path, &name)?;
        self.file = append(&self.spec.path)?;
        self.size = 0;
        let mut old = rotated(&self.spec.path)?;
        let keep = self.spec.max_files.saturating_sub(1);
        while old.len() > keep {
            fs::remove_file(old.remove(0))?;
        }
        if self.spec.gzip {
            old.pop();
            for path in old.iter().filter(|path| path.extension().is_none_or(|end| end != "gz")) {
                compress(path)?;
            }
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Files that were renamed from `path`, oldest first.
fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut found: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(&prefix) && !name.ends_with(".partial")
        })
        .map(|entry| entry.path())
        .collect();
    found.sort_by_key(|path| path.to_string_lossy().trim_end_matches(".gz").to_owned());
    Ok(found)
}

fn compress(path: &Path) -> io::Result<()> {
    let partial = PathBuf::from(format!("{}.gz.partial", path.display()));
    let mut encoder = GzEncoder::new(File::create(&partial)?, Compression::fast());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.flush()?;
    fs::rename(&partial, format!("{}.gz", path.display()))?;
    fs::remove_file(path)
}

/// Times in RFC 3339 with nanoseconds, strictly ascending, the second formatted once.
#[derive(Default)]
struct Stamp {
    last_ns: i64,
    second: Option<i64>,
    text: String,
}

impl Stamp {
    fn write(&mut self, now_ns: i64, out: &mut Vec<u8>) {
        let ns = now_ns.max(self.last_ns + 1);
        self.last_ns = ns;
        let (second, fraction) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
        if self.second != Some(second) {
            let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
            self.text = time.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
            self.second = Some(second);
        }
        out.extend_from_slice(self.text.as_bytes());
        let mut digits = [b'0'; 9];
        let mut rest = fraction;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_599_000_000_007;

    fn log(dir: &Path, max_bytes: u64, gzip: bool) -> CriLog {
        CriLog::open(LogFile { path: dir.join("c/0.log"), max_bytes, max_files: 3, gzip }).unwrap()
    }

    #[test]
    fn lines_carry_time_stream_and_tag() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 20, false);
        log.feed(Stream::Stdout, b"one\ntw", NOW);
        log.feed(Stream::Stderr, b"oops\n", NOW);
        log.feed(Stream::Stdout, b"o\n\nthree", NOW);
        log.end(Stream::Stdout, NOW);
        let text = fs::read_to_string(dir.path().join("c/0.log")).unwrap();
        let expect = "2025-12-31T23:59:59.000000007Z stdout F one\n\
                      2025-12-31T23:59:59.000000008Z stderr F oops\n\
                      2025-12-31T23:59:59.000000009Z stdout F two\n\
                      2025-12-31T23:59:59.000000010Z stdout F \n\
                      2025-12-31T23:59:59.000000011Z stdout F three\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_long_line_is_cut_into_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 20, false);
        let mut line = vec![b'x'; 2 * MAX_PIECE + 5];
        line.push(b'\n');
        for part in line.chunks(1000) {
            log.feed(Stream::Stdout, part, NOW);
        }
        let text = fs::read_to_string(dir.path().join("c/0.log")).unwrap();
        let pieces: Vec<(&str, usize)> = text
            .lines()
            .map(|line| {
                let mut parts = line.splitn(4, ' ').skip(2);
                (parts.next().unwrap(), parts.next().unwrap().len())
            })
            .collect();
        assert_eq!(pieces, [("P", MAX_PIECE), ("P", MAX_PIECE), ("F", 5)]);
    }

    #[test]
    fn files_rotate_within_one_second_and_the_oldest_go() {
        for gzip in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut log = log(dir.path(), 200, gzip);
            for n in 0..40 {
                log.feed(Stream::Stdout, format!("line {n:03}\n").as_bytes(), NOW);
            }
            let old = rotated(&dir.path().join("c/0.log")).unwrap();
            assert_eq!(old.len(), 2, "{old:?}");
            let packed = old.iter().filter(|path| path.extension().is_some_and(|end| end == "gz")).count();
            assert_eq!(packed, usize::from(gzip), "{old:?}");
            let newest = fs::read_to_string(dir.path().join("c/0.log")).unwrap();
            assert!(newest.ends_with("line 039\n"), "{newest}");
        }
    }

    #[test]
    fn output_that_cannot_be_written_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 20, false);
        log.file = File::open(dir.path().join("c/0.log")).unwrap();
        log.feed(Stream::Stdout, b"gone\n", NOW);
        assert!(log.lost() > 5, "{}", log.lost());
    }
}
