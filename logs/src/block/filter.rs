//! Which text a block cannot hold: a bitmap of the three-byte sequences of its lines and a binary fuse
//! filter of its whole tokens. Both see ASCII letters in lower case.
//!
//! A needle can only be in the block when each of its three-byte sequences is in the bitmap and each
//! token that stands whole *inside* the needle (with a non-token byte on both sides) is in the fuse
//! filter; a token at an edge of the needle may be a part of a longer one and is not looked up. So a
//! "no" is always right, and substring search stays exact.

use twox_hash::XxHash3_64;
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter as _, FilterRef as _};

use super::Segment;

/// Version byte of the encoding.
const VERSION: u8 = 1;
/// log2 of the bits of the bitmap while it is built.
const BUILD_BITS: u32 = 18;
/// log2 of the smallest bitmap.
const MIN_BITS: u32 = 9;
/// The bitmap is folded until so many of 100 bits would be set.
const MAX_DENSITY_PERCENT: usize = 30;
/// Shorter tokens are left to the bitmap.
const MIN_TOKEN: usize = 4;
/// Slots that remember tokens seen lately, so that most repeats are dropped before sorting.
const RECENT: usize = 8192;

/// Lower case for ASCII letters; other bytes as they are.
const LOWER: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = (i as u8).to_ascii_lowercase();
        i += 1;
    }
    table
};

/// Whether a byte belongs to a token.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        table[i] = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        i += 1;
    }
    table
};

#[inline]
fn gram_slot(gram: u32) -> u32 {
    gram.wrapping_mul(0x9e37_79b1) >> (32 - BUILD_BITS)
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

#[inline]
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

#[inline]
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

/// Builds the filter of a segment.
pub(crate) fn build(segment: &Segment) -> Vec<u8> {
    let mut bitmap = vec![0u64; 1 << (BUILD_BITS - 6)];
    let mut recent = vec![0u64; RECENT];
    let mut tokens: Vec<u64> = Vec::new();
    let (mut hash, mut len, mut gram) = (SEED, 0usize, 0u32);
    let mut since_line = 0u32;
    for &raw in &segment.lines {
        let byte = LOWER[raw as usize];
        if TOKEN[raw as usize] {
            hash = step(hash, byte);
            len += 1;
        } else if len > 0 {
            if len >= MIN_TOKEN {
                let key = finish(hash);
                let slot = &mut recent[key as usize & (RECENT - 1)];
                if *slot != key {
                    *slot = key;
                    tokens.push(key);
                }
            }
            (hash, len) = (SEED, 0);
        }
        gram = (gram << 8 | u32::from(byte)) & 0xff_ffff;
        since_line = if raw == b'\n' { 0 } else { since_line + 1 };
        if since_line >= 3 {
            let slot = gram_slot(gram);
            bitmap[(slot >> 6) as usize] |= 1 << (slot & 63);
        }
    }
    tokens.sort_unstable();
    tokens.dedup();
    encode(bitmap, &tokens)
}

fn encode(bitmap: Vec<u64>, tokens: &[u64]) -> Vec<u8> {
    let (bitmap, bits) = fold(bitmap);
    let mut out = vec![VERSION, bits as u8];
    out.extend(bitmap.iter().flat_map(|word| word.to_le_bytes()));
    // Construction fails only on repeated keys, of which there are none; without the fuse filter the
    // bitmap alone decides, which is still right.
    if let Ok(fuse) = BinaryFuse8::try_from(tokens)
        && !tokens.is_empty()
    {
        let mut descriptor = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        fuse.dma_copy_descriptor_to(&mut descriptor);
        out.extend_from_slice(&descriptor);
        out.extend_from_slice(fuse.dma_fingerprints());
    }
    let sum = XxHash3_64::oneshot(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Halves the bitmap while it stays sparse; bit `i` becomes bit `i / 2`.
fn fold(mut bitmap: Vec<u64>) -> (Vec<u64>, u32) {
    let mut bits = BUILD_BITS;
    while bits > MIN_BITS {
        let half: Vec<u64> =
            bitmap.chunks_exact(2).map(|pair| squeeze(pair[0]) | squeeze(pair[1]) << 32).collect();
        let set: usize = half.iter().map(|word| word.count_ones() as usize).sum();
        if set * 100 > (1usize << (bits - 1)) * MAX_DENSITY_PERCENT {
            break;
        }
        bitmap = half;
        bits -= 1;
    }
    (bitmap, bits)
}

/// Joins neighbouring bits with "or" into the low half of the word.
fn squeeze(word: u64) -> u64 {
    let mut x = (word | word >> 1) & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) & 0x0000_0000_ffff_ffff
}

/// A filter over its encoded bytes.
pub(crate) struct Filter<'a> {
    bits: u32,
    bitmap: &'a [u8],
    fuse: Option<BinaryFuse8Ref<'a>>,
}

impl<'a> Filter<'a> {
    /// Reads an encoded filter; `None` when it is damaged, which means that nothing can be ruled out.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        if XxHash3_64::oneshot(body).to_le_bytes() != *sum {
            return None;
        }
        let (&[version, bits], rest) = body.split_first_chunk::<2>()?;
        let bits = u32::from(bits);
        if version != VERSION || !(MIN_BITS..=BUILD_BITS).contains(&bits) || rest.len() < 1 << (bits - 3) {
            return None;
        }
        let (bitmap, rest) = rest.split_at(1 << (bits - 3));
        let fuse = if rest.len() > BinaryFuse8::DESCRIPTOR_LEN {
            let (descriptor, fingerprints) = rest.split_at(BinaryFuse8::DESCRIPTOR_LEN);
            Some(BinaryFuse8Ref::from_dma(descriptor, fingerprints))
        } else {
            None
        };
        Some(Self { bits, bitmap, fuse })
    }

    /// Whether the block may hold `needle`; a "no" is certain. ASCII case is ignored.
    pub fn may_hold(&self, needle: &[u8]) -> bool {
        for window in needle.windows(3) {
            if window.contains(&b'\n') {
                continue;
            }
            let gram = window.iter().fold(0, |gram, byte| gram << 8 | u32::from(LOWER[*byte as usize]));
            let slot = gram_slot(gram) >> (BUILD_BITS - self.bits);
            if self.bitmap[(slot >> 3) as usize] & (1 << (slot & 7)) == 0 {
                return false;
            }
        }
        let Some(fuse) = &self.fuse else { return true };
        inner_tokens(needle).all(|token| fuse.contains(&token))
    }
}

/// Hashes of the tokens that stand whole inside the needle.
fn inner_tokens(needle: &[u8]) -> impl Iterator<Item = u64> {
    let first = needle.iter().position(|b| !TOKEN[*b as usize]).unwrap_or(needle.len());
    let last = needle.iter().rposition(|b| !TOKEN[*b as usize]).unwrap_or(first);
    let inner = needle.get(first..last).unwrap_or_default();
    inner
        .split(|b| !TOKEN[*b as usize])
        .filter(|token| token.len() >= MIN_TOKEN)
        .map(|token| finish(token.iter().fold(SEED, |hash, byte| step(hash, LOWER[*byte as usize]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(lines: &[&str]) -> Vec<u8> {
        let mut segment = Segment::default();
        for line in lines {
            segment.push(0, line.as_bytes(), None);
        }
        build(&segment)
    }

    #[test]
    fn absent_text_is_ruled_out() {
        let bytes = of(&["GET /index.html status=200", "trace_id=4bf92f3577b34da6 done"]);
        let filter = Filter::parse(&bytes).unwrap();
        assert!(filter.may_hold(b"index"));
        assert!(filter.may_hold(b"INDEX.html"));
        assert!(filter.may_hold(b"ace_id=4bf92f3577b34da6 d"));
        assert!(!filter.may_hold(b"needle"));
        assert!(!filter.may_hold(b"=4bf92f3577b34da7 "));
    }

    #[test]
    fn damaged_filter_rules_nothing_out() {
        let mut bytes = of(&["some text here"]);
        bytes[5] ^= 1;
        assert!(Filter::parse(&bytes).is_none());
    }

    proptest! {
        #[test]
        fn every_substring_may_be_held(lines in prop::collection::vec("[ -~]{0,60}", 1..20), pick in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), len in 1usize..30) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let bytes = of(&lines);
            let filter = Filter::parse(&bytes).unwrap();
            let line = lines[pick.index(lines.len())];
            if !line.is_empty() {
                let from = from.index(line.len());
                let needle = &line[from..line.len().min(from + len)];
                prop_assert!(filter.may_hold(needle.as_bytes()));
                prop_assert!(filter.may_hold(needle.to_uppercase().as_bytes()));
            }
        }
    }
}
