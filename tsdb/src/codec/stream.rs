//! Open chunks in memory: samples are appended one by one, a few bytes each. Never on disk.

use super::Corrupt;
use super::varint::{unzigzag, zigzag};
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
///
/// It is a stack: the newest sample is held as it is, and the bytes say, from their end to their
/// start, how each sample differs from the one before. Queries mostly want the newest samples, and
/// read no more than these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    bytes: Vec<u8>,
    count: u32,
    first_ms: i64,
    newest: Newest,
}

/// The newest sample, and how far it is from the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Newest {
    t_ms: i64,
    step_ms: i64,
    bits: u64,
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
        self.newest.t_ms
    }

    /// Heap memory in use.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Roughly how many samples are not older than `start_ms`.
    pub(crate) fn samples_since(&self, start_ms: i64) -> i64 {
        let span = self.newest.t_ms.saturating_sub(self.first_ms.max(start_ms)).max(0);
        let step = self.newest.t_ms.saturating_sub(self.first_ms) / i64::from(self.count.max(1));
        span / step.max(1)
    }

    /// Appends a sample that is newer than the last.
    #[inline]
    pub(crate) fn push(&mut self, t_ms: i64, value: f64) {
        let bits = value.to_bits();
        if self.count == 0 {
            self.first_ms = t_ms;
            self.newest = Newest { t_ms, step_ms: 0, bits };
            self.count = 1;
            return;
        }
        // Grow by an eighth: doubling would leave a third of the head's memory unused.
        if self.bytes.capacity() - self.bytes.len() < 17 {
            self.bytes.reserve_exact(32 + self.bytes.len() / 8);
        }
        let step_ms = t_ms.wrapping_sub(self.newest.t_ms);
        let drift = step_ms.wrapping_sub(self.newest.step_ms);
        let time = time_code(drift);
        self.bytes.extend_from_slice(&drift.to_le_bytes()[..TIME_BYTES[usize::from(time)]]);
        let (value, word, len) = value_code(self.newest.bits, bits);
        self.bytes.extend_from_slice(&word.to_le_bytes()[..len]);
        self.bytes.push(time | value << 3);
        self.newest = Newest { t_ms, step_ms, bits };
        self.count += 1;
    }

    /// Appends the samples within `start_ms..=end_ms` to `out`.
    pub(crate) fn read(&self, start_ms: i64, end_ms: i64, out: &mut Points) -> Result<(), Corrupt> {
        self.view().read(start_ms, end_ms, out)
    }

    /// The same samples, borrowed.
    pub(crate) fn view(&self) -> StreamView<'_> {
        StreamView { bytes: &self.bytes, newest: (self.count > 0).then_some(self.newest) }
    }
}

/// An open chunk, wherever its bytes are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamView<'a> {
    pub(crate) bytes: &'a [u8],
    /// `None` when there is no sample.
    pub(crate) newest: Option<Newest>,
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

impl StreamView<'_> {
    /// Appends the samples within `start_ms..=end_ms` to `out`.
    pub(crate) fn read(&self, start_ms: i64, end_ms: i64, out: &mut Points) -> Result<(), Corrupt> {
        let Some(Newest { mut t_ms, step_ms: mut step, mut bits }) = self.newest else { return Ok(()) };
        let before = out.len();
        let mut rest = self.bytes;
        while t_ms >= start_ms {
            if t_ms <= end_ms {
                out.push(t_ms, f64::from_bits(bits));
            }
            let Some((control, bytes)) = rest.split_last() else { break };
            let code = control >> 3;
            let (len, time) = (value_bytes(code)?, time_bytes(control & 7)?);
            let Some((bytes, word)) = split_word(bytes, len) else {
                return Err(Corrupt("an open chunk ends too early"));
            };
            bits = match code {
                SAME => bits,
                1..=7 => ((f64::from_bits(bits) as i64).wrapping_sub(unzigzag(word)) as f64).to_bits(),
                8..=15 => bits ^ word,
                _ => bits ^ word << (64 - 8 * len as u32),
            };
            let Some((bytes, word)) = split_word(bytes, time) else {
                return Err(Corrupt("an open chunk ends too early"));
            };
            t_ms = t_ms.wrapping_sub(step);
            if time > 0 {
                let unused = 64 - 8 * time as u32;
                step = step.wrapping_sub((word << unused) as i64 >> unused);
            }
            rest = bytes;
        }
        out.timestamps[before..].reverse();
        out.values[before..].reverse();
        Ok(())
    }
}

#[inline]
fn time_bytes(code: u8) -> Result<usize, Corrupt> {
    TIME_BYTES.get(usize::from(code)).copied().ok_or(Corrupt("unknown time code"))
}

/// Bytes of a value by its code: a table, because lengths of noise cannot be predicted.
const VALUE_BYTES: [u8; 24] = [0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

#[inline]
fn value_bytes(code: u8) -> Result<usize, Corrupt> {
    VALUE_BYTES.get(usize::from(code)).copied().map(usize::from).ok_or(Corrupt("unknown value code"))
}

/// Takes `len` bytes off the end, as a little-endian word.
#[inline]
fn split_word(bytes: &[u8], len: usize) -> Option<(&[u8], u64)> {
    if let Some(eight) = bytes.last_chunk::<8>() {
        // The usual case: one load, and what is too much shifted out.
        let word = if len == 0 { 0 } else { u64::from_le_bytes(*eight) >> (64 - 8 * len as u32) };
        return Some((&bytes[..bytes.len() - len], word));
    }
    let (rest, tail) = bytes.split_at_checked(bytes.len().checked_sub(len)?)?;
    let mut word = [0u8; 8];
    word[..len].copy_from_slice(tail);
    Some((rest, u64::from_le_bytes(word)))
}
