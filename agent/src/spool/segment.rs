//! One file of the spool: `BNSP`, a version byte, then records `u32 length, u64 XXH3, body`, all
//! little-endian.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use crate::sample::Round;
use crate::uplink::{Dictionary, MAX_BODY};

const MAGIC: [u8; 5] = *b"BNSP\x01";
/// Length and checksum before each record.
const RECORD_HEADER: usize = 12;

/// The file of segment `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.seg"))
}

/// The number in a segment's file name.
pub(super) fn number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()
}

/// Appends to a new segment.
pub(super) struct Writer {
    file: File,
    number: u64,
    bytes: u64,
    dictionary: Dictionary,
}

impl Writer {
    pub(super) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let path = path(dir, number);
        let mut file = File::create_new(&path)?;
        if let Err(error) = file.write_all(&MAGIC) {
            // Its number is used again.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self { file, number, bytes: MAGIC.len() as u64, dictionary: Dictionary::default() })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is no record in it.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == MAGIC.len() as u64
    }

    /// Writes one record, whole or, after an error, not at all. It survives the end of the process; that of the machine only when the
    /// kernel has written it back.
    pub(super) fn append(&mut self, round: &Round) -> io::Result<()> {
        let body = self.dictionary.encode(std::slice::from_ref(round), std::iter::empty())?.body;
        let mut record = Vec::with_capacity(RECORD_HEADER + body.len());
        record.extend_from_slice(&(body.len() as u32).to_le_bytes());
        record.extend_from_slice(&XxHash3_64::oneshot(&body).to_le_bytes());
        record.extend_from_slice(&body);
        if let Err(error) = self.file.write_all(&record) {
            // Half a record would end the segment for the reader before its last whole one is known as that.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += record.len() as u64;
        Ok(())
    }
}

/// Reads a segment from its beginning.
pub(super) struct Reader {
    file: BufReader<File>,
    number: u64,
    len: u64,
    /// Bytes that were not read yet.
    rest: u64,
}

impl Reader {
    pub(super) fn open(dir: &Path, number: u64) -> Result<Self, String> {
        let file = File::open(path(dir, number)).map_err(|e| e.to_string())?;
        let len = file.metadata().map_err(|e| e.to_string())?.len();
        let mut file = BufReader::new(file);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(|e| format!("header: {e}"))?;
        if magic != MAGIC {
            return Err("the header is not that of a spool segment of this version".into());
        }
        Ok(Self { file, number, len, rest: len - MAGIC.len() as u64 })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn rest(&self) -> u64 {
        self.rest
    }

    /// Bytes up to the end of the last record that could be read; 0 when there was none.
    pub(super) fn good(&self) -> u64 {
        let header = MAGIC.len() as u64;
        let read = self.len - self.rest;
        if read > header { read } else { 0 }
    }

    /// The next body, its checksum verified.
    pub(super) fn next(&mut self) -> Result<Vec<u8>, String> {
        let mut header = [0; RECORD_HEADER];
        self.file.read_exact(&mut header).map_err(|e| format!("record header: {e}"))?;
        let [a, b, c, d, sum @ ..] = header;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > MAX_BODY || (len + RECORD_HEADER) as u64 > self.rest {
            return Err(format!("record of {len} bytes, {} are left", self.rest));
        }
        let mut body = vec![0; len];
        self.file.read_exact(&mut body).map_err(|e| format!("record: {e}"))?;
        if XxHash3_64::oneshot(&body) != u64::from_le_bytes(sum) {
            return Err("wrong checksum".into());
        }
        self.rest -= (RECORD_HEADER + len) as u64;
        Ok(body)
    }
}
