//! What a log file holds, whether it is plain or compressed, and by what it is known again.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// How many bytes of a file's beginning tell it from others, when it has so many.
pub(super) const HEAD_BYTES: usize = 1024;

/// How many bytes before a position tell whether the file still is the one that was read up to there.
pub(super) const TAIL_BYTES: usize = 64;

/// A hash of some bytes and how many they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Print {
    pub(super) len: usize,
    pub(super) hash: u64,
}

impl Print {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len(), hash: XxHash3_64::oneshot(bytes) }
    }
}

/// Device and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Inode {
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl Inode {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self { dev: meta.dev(), ino: meta.ino() }
    }
}

/// An open log file.
pub(super) enum Content {
    Plain(File),
    /// Decompressed as it is read, in one direction; where it is, in decompressed bytes.
    Gzip(Box<MultiGzDecoder<File>>, u64),
}

impl Content {
    pub(super) fn new(file: File, gzip: bool) -> Self {
        if gzip { Self::Gzip(Box::new(MultiGzDecoder::new(file)), 0) } else { Self::Plain(file) }
    }

    /// Which file it is.
    pub(super) fn inode(&self) -> io::Result<Inode> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(decoder, _) => decoder.get_ref(),
        };
        Ok(Inode::of(&file.metadata()?))
    }

    /// Size in bytes and when it was last written, in ns; `None` for a compressed file.
    pub(super) fn looks(&self) -> io::Result<Option<(u64, i64)>> {
        match self {
            Self::Plain(file) => {
                let meta = file.metadata()?;
                Ok(Some((meta.len(), meta.mtime() * 1_000_000_000 + meta.mtime_nsec())))
            }
            Self::Gzip(..) => Ok(None),
        }
    }

    /// Reads at `offset`; 0 at the end. A compressed file is only read forward.
    pub(super) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read_at(buffer, offset),
            Self::Gzip(decoder, at) => {
                if *at > offset {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "a compressed file goes forward only",
                    ));
                }
                let skipped = io::copy(&mut decoder.by_ref().take(offset - *at), &mut io::sink())?;
                *at += skipped;
                if *at < offset {
                    return Ok(0);
                }
                let count = decoder.read(buffer)?;
                *at += count as u64;
                Ok(count)
            }
        }
    }

    /// Fills the buffer from `offset`, or up to the end of the file.
    pub(super) fn fill_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut have = 0;
        while have < buffer.len() {
            match self.read_at(offset + have as u64, &mut buffer[have..])? {
                0 => break,
                count => have += count,
            }
        }
        Ok(have)
    }

    /// Print of the first `len` bytes, or of what there is.
    pub(super) fn head(&mut self, len: usize) -> io::Result<Print> {
        let mut bytes = vec![0; len];
        let have = self.fill_at(0, &mut bytes)?;
        Ok(Print::of(&bytes[..have]))
    }

    /// A longer print of the beginning that `known` is of; `None` when the file does not begin so any more.
    pub(super) fn longer_head(&mut self, known: Print) -> io::Result<Option<Print>> {
        let mut bytes = vec![0; HEAD_BYTES];
        let have = self.fill_at(0, &mut bytes)?;
        // In one reading: the file may be truncated and written anew at any time.
        let is_same = have >= known.len && Print::of(&bytes[..known.len]) == known;
        Ok(is_same.then(|| Print::of(&bytes[..have])))
    }

    /// Print of the bytes just before `offset`.
    pub(super) fn tail(&mut self, offset: u64) -> io::Result<Print> {
        let len = offset.min(TAIL_BYTES as u64);
        let mut bytes = vec![0; len as usize];
        let have = self.fill_at(offset - len, &mut bytes)?;
        Ok(Print::of(&bytes[..have]))
    }
}

/// Whether a file begins with `head` and has `tail` before `offset`. Opened anew for each part, since a compressed file
/// goes forward only.
pub(super) fn is_same(open: impl Fn() -> io::Result<Content>, head: Print, offset: u64, tail: Print) -> bool {
    let check = || -> io::Result<bool> {
        if open()?.head(head.len)? != head {
            return Ok(false);
        }
        Ok(offset == 0 || tail.len == 0 || open()?.tail(offset)? == tail)
    };
    check().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_compressed_copy_is_known_again_and_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..500).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let (plain, packed) = (dir.path().join("a.log"), dir.path().join("a.log.1.gz"));
        std::fs::write(&plain, &text).unwrap();
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap();
        let open_plain = || Ok(Content::new(File::open(&plain)?, false));
        let open_packed = || Ok(Content::new(File::open(&packed)?, true));
        let mut content = open_plain().unwrap();
        let (head, tail) = (content.head(HEAD_BYTES).unwrap(), content.tail(2000).unwrap());
        assert!(is_same(open_packed, head, 2000, tail) && is_same(open_plain, head, 2000, tail));
        assert!(!is_same(open_packed, head, 2001, tail));
        let mut rest = vec![0; 10_000];
        let have = open_packed().unwrap().fill_at(2000, &mut rest).unwrap();
        assert_eq!(&rest[..have], &text[2000..]);
    }
}
