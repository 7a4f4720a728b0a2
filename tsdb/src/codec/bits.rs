//! Runs of integers of equal width, packed without gaps, lowest bit first.

use super::Corrupt;

/// Widths above this are stored as 64 bits, so that one unaligned load always covers a value.
pub(super) const MAX_PACKED_WIDTH: u32 = 56;

/// The width that [`pack`] really uses for values of `bits` bits.
pub(super) fn stored_width(bits: u32) -> u32 {
    if bits > MAX_PACKED_WIDTH { 64 } else { bits }
}

/// Bytes of `count` values of `width` bits.
pub(super) fn packed_len(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends the low `width` bits of each value.
pub(super) fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    let (mut word, mut used) = (0u128, 0u32);
    for value in values {
        word |= u128::from(value & mask) << used;
        used += width;
        while used >= 64 {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            used -= 64;
        }
    }
    let tail = (word as u64).to_le_bytes();
    out.extend_from_slice(&tail[..used.div_ceil(8) as usize]);
}

/// Appends `count` values of `width` bits.
pub(super) fn unpack(bytes: &[u8], width: u32, count: usize, out: &mut Vec<u64>) -> Result<(), Corrupt> {
    if width == 0 {
        out.resize(out.len() + count, 0);
        return Ok(());
    }
    if width > 64 || (width > MAX_PACKED_WIDTH && width != 64) || bytes.len() < packed_len(count, width) {
        return Err(Corrupt("packed integers are cut short"));
    }
    out.reserve(count);
    if width == 64 {
        out.extend(bytes.chunks_exact(8).take(count).map(|b| load(b, 0)));
        return Ok(());
    }
    let mask = (1u64 << width) - 1;
    // One load covers a value as long as eight bytes remain; the last values come from a padded copy.
    let fast = bytes.len().checked_sub(8).map_or(0, |last| ((last * 8) / width as usize + 1).min(count));
    let mut at = 0usize;
    for _ in 0..fast {
        out.push((load(bytes, at / 8) >> (at % 8)) & mask);
        at += width as usize;
    }
    if fast < count {
        let from = at / 8;
        let mut padded = [0u8; 24];
        let tail = &bytes[from..];
        let len = tail.len().min(16);
        padded[..len].copy_from_slice(&tail[..len]);
        for _ in fast..count {
            let local = at - from * 8;
            out.push((load(&padded, local / 8) >> (local % 8)) & mask);
            at += width as usize;
        }
    }
    Ok(())
}

#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
