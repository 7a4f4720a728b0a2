//! Integers of variable length, and a reader that never runs past its bytes.

use super::Corrupt;

/// Appends `value` in LEB128.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` zigzagged, in LEB128.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag(value));
}

/// Small magnitudes of both signs become small numbers.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Bytes that [`put_unsigned`] writes for a value of so many bits.
pub(crate) fn bytes_of_bits(bits: u32) -> usize {
    bits.max(1).div_ceil(7) as usize
}

/// Takes values off the front of bytes.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.rest.split_first().ok_or(Corrupt("bytes end too early"))?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Corrupt("bytes end too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Eight bytes, little-endian.
    pub(crate) fn fixed(&mut self) -> Result<u64, Corrupt> {
        let (taken, rest) = self.rest.split_first_chunk::<8>().ok_or(Corrupt("bytes end too early"))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*taken))
    }

    #[inline]
    pub(crate) fn unsigned(&mut self) -> Result<u64, Corrupt> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
            if shift > 63 {
                return Err(Corrupt("an integer is too long"));
            }
        }
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, Corrupt> {
        Ok(unzigzag(self.unsigned()?))
    }
}
