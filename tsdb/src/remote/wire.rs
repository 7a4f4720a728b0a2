//! Protobuf's wire format, read in place: no copies, no allocation.

/// Why bytes are not a protobuf message; positions count from the start of the message read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A number runs past the end or past ten bytes.
    #[error("byte {0}: a varint is cut off or longer than ten bytes")]
    Varint(usize),
    /// A field says it is longer than what is left.
    #[error("byte {at}: a field of {len} bytes in a message with {left} left")]
    Length {
        /// Where the field's content would start.
        at: usize,
        /// What it says.
        len: u64,
        /// What there is.
        left: usize,
    },
    /// A field number or wire type that cannot be.
    #[error("byte {at}: tag {tag} is not a protobuf field")]
    Tag {
        /// Where.
        at: usize,
        /// The tag.
        tag: u64,
    },
    /// A known field of another type than the schema says.
    #[error("field {field} of {message} has the wrong type")]
    Type {
        /// The message's name.
        message: &'static str,
        /// The field's number.
        field: u32,
    },
    /// Text that is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    Text(&'static str),
    /// A reference into the symbol table that has no such entry.
    #[error("symbol {index} of {len}")]
    Symbol {
        /// The reference.
        index: u64,
        /// Entries of the table.
        len: usize,
    },
}

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Content<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Goes through the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next field, or `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Content<'a>)>, WireError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let tag_at = self.at;
        let tag = self.varint()?;
        let wrong = WireError::Tag { at: tag_at, tag };
        let field = u32::try_from(tag >> 3).ok().filter(|field| *field > 0).ok_or(wrong)?;
        let content = match tag & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let len = self.varint()?;
                Content::Bytes(self.take(len)?)
            }
            5 => Content::Fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => return Err(wrong),
        };
        Ok(Some((field, content)))
    }

    /// One LEB128 number.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        let start = self.at;
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(WireError::Varint(start))?;
            self.at += 1;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(WireError::Varint(start))
    }

    /// Whether all is read.
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], WireError> {
        let left = self.bytes.len() - self.at;
        let fits = usize::try_from(len).ok().filter(|len| *len <= left);
        let len = fits.ok_or(WireError::Length { at: self.at, len, left })?;
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let at = self.at;
        let left = self.bytes.len() - at;
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| WireError::Length { at, len: N as u64, left })
    }
}

impl<'a> Content<'a> {
    pub(crate) fn bytes(self, message: &'static str, field: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Type { message, field }),
        }
    }

    pub(crate) fn text(self, message: &'static str, field: u32) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(message, field)?).map_err(|_| WireError::Text(message))
    }

    pub(crate) fn varint(self, message: &'static str, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(WireError::Type { message, field }),
        }
    }

    pub(crate) fn double(self, message: &'static str, field: u32) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::Type { message, field }),
        }
    }
}

/// Appends fields to a message; the counterpart of [`Reader`] for answers and tests.
pub(crate) mod put {
    /// A varint.
    pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            out.push((number as u8) | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }

    /// A field of wire type 0.
    pub(crate) fn number(out: &mut Vec<u8>, field: u32, number: u64) {
        varint(out, u64::from(field) << 3);
        varint(out, number);
    }

    /// A field of wire type 1.
    pub(crate) fn double(out: &mut Vec<u8>, field: u32, value: f64) {
        varint(out, (u64::from(field) << 3) | 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// A field of wire type 2.
    pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, content: &[u8]) {
        varint(out, (u64::from(field) << 3) | 2);
        varint(out, content.len() as u64);
        out.extend_from_slice(content);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_back() {
        let mut message = Vec::new();
        put::number(&mut message, 1, u64::MAX);
        put::double(&mut message, 2, 0.5);
        put::bytes(&mut message, 300, b"abc");
        let mut reader = Reader::new(&message);
        assert_eq!(reader.next(), Ok(Some((1, Content::Varint(u64::MAX)))));
        assert_eq!(reader.next(), Ok(Some((2, Content::Fixed64(0.5f64.to_bits())))));
        assert_eq!(reader.next(), Ok(Some((300, Content::Bytes(b"abc")))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn what_is_cut_off_is_an_error_with_its_position() {
        let mut reader = Reader::new(&[0x0a, 5, b'a']);
        assert_eq!(reader.next(), Err(WireError::Length { at: 2, len: 5, left: 1 }));
        assert_eq!(Reader::new(&[0xff; 11]).next(), Err(WireError::Varint(0)));
        assert_eq!(Reader::new(&[0x03]).next(), Err(WireError::Tag { at: 0, tag: 3 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while let Ok(Some(_)) = reader.next() {}
            prop_assert!(reader.position() <= bytes.len());
        }
    }
}
