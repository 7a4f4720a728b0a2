//! The bytes of an answer: bounded for itself, and together with all others that are being read.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::client::Failure;
use super::room::{Room, Share};

/// Decompressed in pieces of this size, in bytes.
const PIECE: usize = 16 << 10;

/// Bytes of an answer. Its room is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Vec<u8>,
    share: Share,
    /// Most bytes, and the setting that says so.
    most: (u64, &'static str),
}

impl Body {
    /// Nothing yet. `room` is that of all answers.
    pub(super) fn new(room: &Room, most: (u64, &'static str)) -> Self {
        Self { bytes: Vec::new(), share: room.share(), most }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// When they are too many, for this answer or for all together.
    pub(super) fn extend(&mut self, data: &[u8]) -> Result<(), Failure> {
        let (most, setting) = self.most;
        let (len, capacity) = (self.bytes.len() + data.len(), self.bytes.capacity());
        if len as u64 > most {
            let text = format!("the body has more than {most} bytes ({setting})");
            return Err(Failure::new("body_size", text));
        }
        if len > capacity {
            let wanted = len.max(capacity.saturating_mul(2)).min(usize::try_from(most).unwrap_or(usize::MAX));
            if !self.share.grow((wanted - capacity) as u64) {
                let all = self.share.most();
                let text = format!(
                    "the answers of all targets have more than {all} bytes (scrape.max_bodies_bytes)"
                );
                return Err(Failure::new("memory", text));
            }
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// What is in these bytes, which are gzip. The bounds are those of the compressed.
    pub(super) fn decompressed(self, room: &Room) -> Result<Self, Failure> {
        let mut plain = Self::new(room, self.most);
        let mut reader = MultiGzDecoder::new(self.bytes.as_slice());
        let mut piece = vec![0; PIECE];
        loop {
            let read = reader.read(&mut piece);
            match read.map_err(|e| Failure::new("encoding", format!("gzip: {e}")))? {
                0 => return Ok(plain),
                count => plain.extend(&piece[..count])?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_bounded_alone_and_together() {
        let room = Room::new(100);
        let mut first = Body::new(&room, (60, "of the test"));
        first.extend(&[1; 40]).unwrap();
        first.extend(&[1; 20]).unwrap();
        let failure = first.extend(&[1]).unwrap_err();
        assert!(failure.name == "body_size" && failure.text.contains("of the test"), "{failure:?}");
        let mut second = Body::new(&room, (60, "of the test"));
        second.extend(&[1; 40]).unwrap();
        let failure = second.extend(&[1]).unwrap_err();
        assert!(failure.name == "memory" && failure.text.contains("scrape.max_bodies_bytes"), "{failure:?}");
        drop(first);
        second.extend(&[1]).unwrap();
        drop(second);
        assert_eq!(room.used(), 0);
    }
}
