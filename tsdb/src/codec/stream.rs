//! Open chunks in memory: samples are appended one by one, a few bytes each. Never on disk.

use super::Corrupt;
use super::varint::{Reader, unzigzag, zigzag};
use crate::select::Points;

/// Bytes of the time part for each code in the low three bits of a control byte.
const TIME_BYTES: [usize; 5] = [0, 1, 2, 4, 8];
/// Value codes in the high five bits: the same bits as before.
const SAME: u8 = 0;
/// Codes 1 to 7: that many bytes of a zigzagged integer difference.
const INTEGER: u8 = 0;
/// Codes 8 to 15: one to eight low bytes of the XOR.
const LOW: u8 = 7;
/// Codes 16 to 23: one to eight high bytes of the XOR.
const HIGH: u8 = 15;
/// Integers up to this differ by something that is exact.
const EXACT: i64 = 1 << 53;

/// An open chunk of samples in ascending order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    bytes: Vec<u8>,
    count: u32,
    first_ms: i64,
    last_ms: i64,
    step_ms: i64,
    last_bits: u64,
}

impl Stream {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// First timestamp; meaningless when empty.
    pub(crate) fn first_ms(&self) -> i64 {
        self.first_ms
    }

    /// Last timestamp; meaningless when empty.
    pub(crate) fn last_ms(&self) -> i64 {
        self.last_ms
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Heap memory in use.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends a sample that is newer than the last.
    #[inline]
    pub(crate) fn push(&mut self, t_ms: i64, value: f64) {
        let bits = value.to_bits();
        // Grow by an eighth: doubling would leave a third of the head's memory unused.
        if self.bytes.capacity() - self.bytes.len() < 17 {
            self.bytes.reserve_exact(32 + self.bytes.len() / 8);
        }
        if self.count == 0 {
            self.bytes.extend_from_slice(&t_ms.to_le_bytes());
            self.bytes.extend_from_slice(&bits.to_le_bytes());
            self.first_ms = t_ms;
            self.step_ms = 0;
        } else {
            let step = t_ms.wrapping_sub(self.last_ms);
            let drift = step.wrapping_sub(self.step_ms);
            let at = self.bytes.len();
            self.bytes.push(0);
            let code = time_code(drift);
            let time = TIME_BYTES[usize::from(code)];
            self.bytes.extend_from_slice(&drift.to_le_bytes()[..time]);
            let (value_code, word, len) = value_code(self.last_bits, bits);
            self.bytes.extend_from_slice(&word.to_le_bytes()[..len]);
            self.bytes[at] = code | value_code << 3;
            self.step_ms = step;
        }
        self.last_ms = t_ms;
        self.last_bits = bits;
        self.count += 1;
    }
}

fn time_code(drift: i64) -> u8 {
    if drift == 0 {
        0
    } else if i8::try_from(drift).is_ok() {
        1
    } else if i16::try_from(drift).is_ok() {
        2
    } else if i32::try_from(drift).is_ok() {
        3
    } else {
        4
    }
}

/// Code, word and number of low bytes of it for `bits` after `previous`.
#[inline]
fn value_code(previous: u64, bits: u64) -> (u8, u64, usize) {
    let xor = previous ^ bits;
    if xor == 0 {
        return (SAME, 0, 0);
    }
    let low = 8 - xor.leading_zeros() as usize / 8;
    let high = 8 - xor.trailing_zeros() as usize / 8;
    if let (Some(a), Some(b)) = (as_integer(previous), as_integer(bits)) {
        let word = zigzag(b - a);
        let len = (8 - word.leading_zeros() as usize / 8).max(1);
        if len <= 7 && len <= low.min(high) {
            return (INTEGER + len as u8, word, len);
        }
    }
    if low <= high { (LOW + low as u8, xor, low) } else { (HIGH + high as u8, xor >> (64 - 8 * high), high) }
}

#[inline]
fn as_integer(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    let integer = value as i64;
    ((integer as f64).to_bits() == bits && integer.abs() <= EXACT).then_some(integer)
}

/// Appends the samples of an open chunk within `start_ms..=end_ms` to `out`.
pub(crate) fn decode_stream(
    bytes: &[u8],
    start_ms: i64,
    end_ms: i64,
    out: &mut Points,
) -> Result<(), Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.is_empty() {
        return Ok(());
    }
    let mut t_ms = reader.fixed()? as i64;
    let mut bits = reader.fixed()?;
    let mut step = 0i64;
    loop {
        if t_ms > end_ms {
            return Ok(());
        }
        if t_ms >= start_ms {
            out.push(t_ms, f64::from_bits(bits));
        }
        if reader.is_empty() {
            return Ok(());
        }
        let control = reader.byte()?;
        let time = *TIME_BYTES.get(usize::from(control & 7)).ok_or(Corrupt("unknown time code"))?;
        if time > 0 {
            let unused = 64 - 8 * time as u32;
            let drift = (word(reader.bytes(time)?) << unused) as i64 >> unused;
            step = step.wrapping_add(drift);
        }
        t_ms = t_ms.wrapping_add(step);
        match control >> 3 {
            SAME => {}
            code @ 1..=7 => {
                let difference = unzigzag(word(reader.bytes(usize::from(code))?));
                bits = ((f64::from_bits(bits) as i64).wrapping_add(difference) as f64).to_bits();
            }
            code @ 8..=15 => bits ^= word(reader.bytes(usize::from(code - LOW))?),
            code @ 16..=23 => {
                let len = usize::from(code - HIGH);
                bits ^= word(reader.bytes(len)?) << (64 - 8 * len as u32);
            }
            _ => return Err(Corrupt("unknown value code")),
        }
    }
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
