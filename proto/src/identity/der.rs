//! As much of DER as certificates and requests need: one element after the other, nothing copied.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// Elements that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) raw: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element; `None` at the end and where it does not parse.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let (tag, first) = (*self.0.first()?, *self.0.get(1)?);
        // Tags of several bytes occur nowhere in these structures.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (header, len) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x83 => {
                let count = usize::from(first & 0x7f);
                let bytes = self.0.get(2..2 + count)?;
                (2 + count, bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
            }
            _ => return None,
        };
        let raw = self.0.get(..header + len)?;
        self.0 = &self.0[raw.len()..];
        Some(Element { tag, content: &raw[header..], raw })
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// The next element when it has this tag; else it stays.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        (self.0.first() == Some(&tag)).then(|| self.next()).flatten()
    }
}

impl<'a> Element<'a> {
    /// What is inside.
    pub(super) fn inside(&self) -> Reader<'a> {
        Reader(self.content)
    }

    /// The bytes of a bit string, which must be whole ones.
    pub(super) fn bits(&self) -> Option<&'a [u8]> {
        self.content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_one_after_the_other() {
        let mut reader = Reader::new(&[0x30, 3, 2, 1, 5, 4, 0x81, 1, 9]);
        let sequence = reader.expect(SEQUENCE).unwrap();
        assert_eq!(sequence.inside().expect(INTEGER).unwrap().content, [5]);
        assert!(reader.optional(INTEGER).is_none());
        assert_eq!(reader.optional(OCTET_STRING).unwrap().raw, [4, 0x81, 1, 9]);
        assert!(reader.is_empty() && reader.next().is_none());
    }

    #[test]
    fn what_is_cut_or_endless_is_refused() {
        for bad in [&[0x30][..], &[0x30, 5, 1], &[0x30, 0x80, 0, 0], &[0x30, 0x84, 0, 0, 0, 0], &[0x1f, 1, 0]]
        {
            assert!(Reader::new(bad).next().is_none(), "{bad:?}");
        }
    }
}
