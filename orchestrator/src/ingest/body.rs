//! From the bytes of a batch to its decoded body, bounded before anything is allocated.

use binnacle_proto::node::{Batch, BatchBody};
use prost::Message;
use zstd::bulk::Decompressor;

use super::tables::Refusal;

/// Decompresses and decodes bodies; keeps its buffers between batches.
pub(super) struct Bodies {
    decompressor: Decompressor<'static>,
    plain: Vec<u8>,
    max_body_bytes: u32,
}

impl Bodies {
    /// For bodies of at most `max_body_bytes` when decompressed.
    pub(super) fn new(max_body_bytes: u32) -> std::io::Result<Self> {
        Ok(Self { decompressor: Decompressor::new()?, plain: Vec::new(), max_body_bytes })
    }

    /// Checks what is said of the size, before anything of the body is touched.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), Refusal> {
        if batch.body_size > self.max_body_bytes {
            return Err(Refusal::Invalid(format!(
                "batch {} says that its body has {} bytes; at most {} are taken (ingest.max_body_bytes)",
                batch.sequence, batch.body_size, self.max_body_bytes
            )));
        }
        Ok(())
    }

    /// The body of a batch that passed [`Bodies::check`].
    pub(super) fn decode(&mut self, batch: &Batch) -> Result<BatchBody, Refusal> {
        let wrong = |what: String| Refusal::Invalid(format!("batch {}: {what}", batch.sequence));
        let size = batch.body_size as usize;
        self.plain.clear();
        self.plain.reserve_exact(size);
        // Writes at most the capacity: a body that is larger than it says is an error here.
        let got = self
            .decompressor
            .decompress_to_buffer(batch.body.as_slice(), &mut Bounded(&mut self.plain, size))
            .map_err(|error| wrong(format!("the body is not zstd of {size} bytes: {error}")))?;
        if got != size {
            return Err(wrong(format!("the body has {got} bytes, not {size} as it says")));
        }
        BatchBody::decode(self.plain.as_slice())
            .map_err(|error| wrong(format!("the body is not a BatchBody: {error}")))
    }
}

/// A vector that offers only so many bytes, whatever its capacity is.
struct Bounded<'a>(&'a mut Vec<u8>, usize);

// SAFETY: forwards to the vector's own implementation; `capacity` only understates.
unsafe impl zstd::zstd_safe::WriteBuf for Bounded<'_> {
    fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn capacity(&self) -> usize {
        self.1.min(self.0.capacity())
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn filled_until(&mut self, n: usize) {
        // SAFETY: the caller has written `n` bytes, at most the capacity.
        unsafe { self.0.set_len(n) }
    }
}
