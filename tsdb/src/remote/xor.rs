//! Prometheus' XOR chunks, written: what remote read streams.
//!
//! ```text
//! u16 count │ varint t0 │ 64 bit v0 │ uvarint t1−t0 │ xor │ delta of delta │ xor │ …
//! delta of delta: 0 │ 10+14 bit │ 110+17 bit │ 1110+20 bit │ 1111+64 bit
//! xor: 0 same │ 10 bits within the former window │ 11 leading:5 length:6 bits
//! ```

use super::wire::put;

/// Samples of a chunk, as in Prometheus.
pub(super) const MAX_SAMPLES: usize = 120;

struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

impl Bits {
    fn bit(&mut self, bit: bool) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        self.free -= 1;
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << self.free;
        }
    }

    fn bits(&mut self, value: u64, count: u32) {
        for at in (0..count).rev() {
            self.bit((value >> at) & 1 == 1);
        }
    }
}

/// Encodes at most [`MAX_SAMPLES`] samples, timestamps ascending.
pub(super) fn encode(timestamps: &[i64], values: &[f64]) -> Vec<u8> {
    let count = u16::try_from(timestamps.len()).unwrap_or(u16::MAX);
    let mut bits = Bits { bytes: count.to_be_bytes().to_vec(), free: 0 };
    let (mut former_t, mut former_delta, mut former_bits) = (0i64, 0i64, 0u64);
    // Leading and trailing zeros of the latest window.
    let mut window: Option<(u32, u32)> = None;
    for (i, (t_ms, value)) in timestamps.iter().zip(values).enumerate() {
        let value = value.to_bits();
        match i {
            0 => {
                // Zigzag, as Go writes signed varints.
                put::varint(&mut bits.bytes, ((t_ms << 1) ^ (t_ms >> 63)) as u64);
                bits.bits(value, 64);
            }
            1 => {
                former_delta = t_ms.wrapping_sub(former_t);
                let mut delta = Vec::new();
                put::varint(&mut delta, former_delta as u64);
                for byte in delta {
                    bits.bits(u64::from(byte), 8);
                }
                xor(&mut bits, value ^ former_bits, &mut window);
            }
            _ => {
                let delta = t_ms.wrapping_sub(former_t);
                delta_of_delta(&mut bits, delta.wrapping_sub(former_delta));
                former_delta = delta;
                xor(&mut bits, value ^ former_bits, &mut window);
            }
        }
        (former_t, former_bits) = (*t_ms, value);
    }
    bits.bytes
}

fn delta_of_delta(bits: &mut Bits, change: i64) {
    let fits = |count: u32| (-((1i64 << (count - 1)) - 1)..=(1i64 << (count - 1))).contains(&change);
    match change {
        0 => bits.bit(false),
        _ if fits(14) => {
            bits.bits(0b10, 2);
            bits.bits(change as u64, 14);
        }
        _ if fits(17) => {
            bits.bits(0b110, 3);
            bits.bits(change as u64, 17);
        }
        _ if fits(20) => {
            bits.bits(0b1110, 4);
            bits.bits(change as u64, 20);
        }
        _ => {
            bits.bits(0b1111, 4);
            bits.bits(change as u64, 64);
        }
    }
}

fn xor(bits: &mut Bits, difference: u64, window: &mut Option<(u32, u32)>) {
    if difference == 0 {
        return bits.bit(false);
    }
    bits.bit(true);
    // Five bits hold the leading zeros.
    let (leading, trailing) = (difference.leading_zeros().min(31), difference.trailing_zeros());
    match *window {
        Some((wide_leading, wide_trailing)) if leading >= wide_leading && trailing >= wide_trailing => {
            bits.bit(false);
            bits.bits(difference >> wide_trailing, 64 - wide_leading - wide_trailing);
        }
        _ => {
            *window = Some((leading, trailing));
            let length = 64 - leading - trailing;
            bits.bit(true);
            bits.bits(u64::from(leading), 5);
            // 64 does not fit into six bits and is written as 0, which cannot be.
            bits.bits(u64::from(length), 6);
            bits.bits(difference >> trailing, length);
        }
    }
}

/// CRC-32 with Castagnoli's polynomial, over each frame of the stream.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let mut crc = u32::MAX;
    for byte in bytes {
        crc = TABLE[usize::from((crc as u8) ^ byte)] ^ (crc >> 8);
    }
    !crc
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = (at as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn repeated_values_at_even_steps_take_two_bits() {
        let timestamps: Vec<i64> = (0..100).map(|i| 1_700_000_000_000 + i * 15_000).collect();
        let chunk = encode(&timestamps, &[1.5; 100]);
        assert_eq!(&chunk[..2], &[0, 100]);
        // Count, first time (6 bytes), first value, first delta (2 bytes), 1 bit, 98 times 2 bits.
        assert_eq!(chunk.len(), 2 + 6 + 8 + 2 + (1 + 98 * 2usize).div_ceil(8));
    }
}
