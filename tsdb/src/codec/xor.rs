//! Values XORed with the one before: the fallback for values that are nothing special.
//!
//! For each value after the first: a 0 bit when it repeats; else 1, five bits of leading zeros, six
//! bits of length less one, and the bits in between. A set bit after the 1 says that the window of
//! the value before is used again.

use super::Corrupt;
use super::varint::Reader;

const LEADING_BITS: u32 = 5;
const LENGTH_BITS: u32 = 6;
const MAX_LEADING: u32 = (1 << LEADING_BITS) - 1;

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    word: u64,
    used: u32,
}

impl Writer<'_> {
    /// Appends the low `bits` bits of `value`, highest first.
    fn put(&mut self, value: u64, bits: u32) {
        let free = 64 - self.used;
        if bits < free {
            self.word |= value << (free - bits);
            self.used += bits;
            return;
        }
        let over = bits - free;
        self.word |= value >> over;
        self.out.extend_from_slice(&self.word.to_be_bytes());
        self.used = over;
        self.word = if over == 0 { 0 } else { value << (64 - over) };
    }

    fn finish(self) {
        let len = self.used.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.word.to_be_bytes()[..len]);
    }
}

/// Encodes `values`, of which there is at least one.
pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) {
    out.extend_from_slice(&values[0].to_bits().to_le_bytes());
    let mut writer = Writer { out, word: 0, used: 0 };
    let mut previous = values[0].to_bits();
    let mut window: Option<(u32, u32)> = None;
    for value in &values[1..] {
        let bits = value.to_bits();
        let xor = bits ^ previous;
        previous = bits;
        if xor == 0 {
            writer.put(0, 1);
            continue;
        }
        let leading = xor.leading_zeros().min(MAX_LEADING);
        let trailing = xor.trailing_zeros();
        let own = 64 - leading - trailing;
        match window {
            Some((lead, trail))
                if leading >= lead
                    && trailing >= trail
                    && 64 - lead - trail < own + LEADING_BITS + LENGTH_BITS =>
            {
                writer.put(0b11, 2);
                writer.put(xor >> trail, 64 - lead - trail);
            }
            _ => {
                writer.put(0b10, 2);
                writer.put(u64::from(leading), LEADING_BITS);
                writer.put(u64::from(own - 1), LENGTH_BITS);
                writer.put(xor >> trailing, own);
                window = Some((leading, trailing));
            }
        }
    }
    writer.finish();
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn take(&mut self, bits: u32) -> Result<u64, Corrupt> {
        let end = self.at + bits as usize;
        if end > self.bytes.len() * 8 {
            return Err(Corrupt("bits end too early"));
        }
        let from = self.at / 8;
        let mut wide = [0u8; 16];
        let len = (self.bytes.len() - from).min(9);
        wide[..len].copy_from_slice(&self.bytes[from..from + len]);
        let word = u128::from_be_bytes(wide) << (self.at % 8);
        self.at = end;
        Ok(if bits == 0 { 0 } else { (word >> (128 - bits)) as u64 })
    }
}

/// Appends `count` values and takes all that `reader` still has.
pub(super) fn decode(reader: &mut Reader, count: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    let mut previous = reader.fixed()?;
    out.push(f64::from_bits(previous));
    let rest = reader.len();
    let mut bits = BitReader { bytes: reader.bytes(rest)?, at: 0 };
    let mut window: Option<(u32, u32)> = None;
    for _ in 1..count {
        if bits.take(1)? == 1 {
            let (leading, length) = if bits.take(1)? == 1 {
                window.ok_or(Corrupt("a window is used before it is set"))?
            } else {
                (bits.take(LEADING_BITS)? as u32, bits.take(LENGTH_BITS)? as u32 + 1)
            };
            if leading + length > 64 {
                return Err(Corrupt("a window is wider than a value"));
            }
            window = Some((leading, length));
            previous ^= bits.take(length)? << (64 - leading - length);
        }
        out.push(f64::from_bits(previous));
    }
    Ok(())
}
