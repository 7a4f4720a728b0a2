//! Metadata sets as columns, one a label name: what is the same in all sets is kept once, whole numbers as
//! differences. `docs/format-logs.md` draws them.

use std::collections::BTreeMap;

use binnacle_proto::Labels;
use hashbrown::HashMap;

use super::{put_varint, take_bytes, take_varint, unzigzag, zigzag};

/// Most labels that all sets of a block may have together.
const MAX_LABELS: usize = 32 << 20;
/// Most values of a dictionary: a value is one byte then.
const MAX_DICTIONARY: usize = 256;
/// Most digits after the point of a decimal.
const MAX_DIGITS: usize = 9;

/// Which sets have the label.
const IN_ALL: u8 = 0;
const IN_BITMAP: u8 = 1;
const IN_LIST: u8 = 2;

/// What the values are.
const CONSTANT: u8 = 0;
const DICTIONARY: u8 = 1;
const INTEGERS: u8 = 2;
const DECIMALS: u8 = 3;
const TEXTS: u8 = 4;

/// Appends sets, whose number the reader is told elsewhere.
pub(super) fn put_sets(out: &mut Vec<u8>, sets: &[Labels]) {
    let mut columns: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    for (row, set) in sets.iter().enumerate() {
        for (name, value) in set.iter() {
            columns.entry(name).or_default().push((row, value));
        }
    }
    put_varint(out, columns.len() as u64);
    for (name, cells) in &columns {
        put_text(out, name);
        put_presence(out, cells, sets.len());
        let values: Vec<&str> = cells.iter().map(|(_, value)| *value).collect();
        put_values(out, &values);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_presence(out: &mut Vec<u8>, cells: &[(usize, &str)], rows: usize) {
    if cells.len() == rows {
        out.push(IN_ALL);
        return;
    }
    let mut list = vec![IN_LIST];
    put_varint(&mut list, cells.len() as u64);
    let mut next = 0;
    for (row, _) in cells {
        put_varint(&mut list, (row - next) as u64);
        next = row + 1;
    }
    let bytes = rows.div_ceil(8);
    if list.len() <= bytes {
        out.extend_from_slice(&list);
        return;
    }
    out.push(IN_BITMAP);
    let start = out.len();
    out.resize(start + bytes, 0);
    for (row, _) in cells {
        out[start + row / 8] |= 1 << (row % 8);
    }
}

fn put_values(out: &mut Vec<u8>, values: &[&str]) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|value| value == first) {
        out.push(CONSTANT);
        put_text(out, first);
    } else if let Some((dictionary, indexes)) = dictionary(values) {
        out.push(DICTIONARY);
        put_varint(out, dictionary.len() as u64);
        dictionary.iter().for_each(|value| put_text(out, value));
        out.extend_from_slice(&indexes);
    } else if let Some((digits, numbers)) = numbers(values) {
        if digits == 0 {
            out.push(INTEGERS);
        } else {
            out.extend_from_slice(&[DECIMALS, digits as u8]);
        }
        let mut before = 0i64;
        for number in numbers {
            put_varint(out, zigzag(number.wrapping_sub(before)));
            before = number;
        }
    } else {
        out.push(TEXTS);
        values.iter().for_each(|value| put_varint(out, value.len() as u64));
        values.iter().for_each(|value| out.extend_from_slice(value.as_bytes()));
    }
}

/// The different values and which each one is, when there are few. As many of them as values gain nothing.
fn dictionary<'a>(values: &[&'a str]) -> Option<(Vec<&'a str>, Vec<u8>)> {
    let (mut all, mut known) = (Vec::new(), HashMap::new());
    let mut indexes = Vec::with_capacity(values.len());
    for value in values {
        let index = *known.entry(*value).or_insert_with(|| {
            all.push(*value);
            all.len() - 1
        });
        indexes.push(u8::try_from(index).ok()?);
    }
    (all.len() <= MAX_DICTIONARY && all.len() * 2 <= values.len()).then_some((all, indexes))
}

/// Digits after the point, and the values without it, when all are written the one way that numbers with
/// so many digits are.
fn numbers(values: &[&str]) -> Option<(usize, Vec<i64>)> {
    let digits = values.first()?.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if digits > MAX_DIGITS {
        return None;
    }
    let mut out = Vec::with_capacity(values.len());
    let mut text = String::new();
    for value in values {
        let number = match digits {
            0 => value.parse().ok()?,
            _ => value.replacen('.', "", 1).parse().ok()?,
        };
        text.clear();
        write_number(&mut text, number, digits);
        if text != *value {
            return None;
        }
        out.push(number);
    }
    Some((digits, out))
}

/// Writes a number with so many digits after the point.
fn write_number(out: &mut String, number: i64, digits: usize) {
    use std::fmt::Write;
    // Writing to a string cannot fail.
    if digits == 0 {
        let _ = write!(out, "{number}");
        return;
    }
    let scale = 10u64.pow(digits as u32);
    let (whole, fraction) = (number.unsigned_abs() / scale, number.unsigned_abs() % scale);
    let sign = if number < 0 { "-" } else { "" };
    let _ = write!(out, "{sign}{whole}.{fraction:0digits$}");
}

/// Takes so many sets off the front of `bytes`; `None` when they are not there.
pub(super) fn take_sets(bytes: &mut &[u8], sets: usize) -> Option<Vec<Labels>> {
    // Where in `texts` the label of each set stands: name, value.
    let mut pairs: Vec<Vec<(&str, Text)>> = Vec::new();
    pairs.resize_with(sets, Vec::new);
    let mut texts = String::new();
    let mut labels = 0usize;
    let columns = take_varint(bytes)?;
    for _ in 0..columns {
        let name = take_text(bytes)?;
        let rows = take_presence(bytes, sets)?;
        labels = labels.checked_add(rows.len()).filter(|labels| *labels <= MAX_LABELS)?;
        take_values(bytes, rows.len(), &mut texts, |at, text| pairs[rows[at]].push((name, text)))?;
    }
    let labels = pairs.into_iter().map(|pairs| {
        let pairs = pairs.into_iter().map(|(name, text)| (name, text.of(&texts)));
        Labels::from_pairs(pairs).ok()
    });
    labels.collect()
}

/// A value: in the block, or made of a number.
#[derive(Clone, Copy)]
enum Text<'a> {
    Stored(&'a str),
    Made(usize, usize),
}

impl<'a> Text<'a> {
    fn of(self, made: &'a str) -> &'a str {
        match self {
            Self::Stored(text) => text,
            Self::Made(from, to) => &made[from..to],
        }
    }
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let len = take_varint(bytes)?;
    std::str::from_utf8(take_bytes(bytes, len)?).ok()
}

/// The rows that have a label, ascending.
fn take_presence(bytes: &mut &[u8], rows: usize) -> Option<Vec<usize>> {
    match take_bytes(bytes, 1)?[0] {
        IN_ALL => (rows <= MAX_LABELS).then(|| (0..rows).collect()),
        IN_BITMAP => {
            let bitmap = take_bytes(bytes, rows.div_ceil(8) as u64)?;
            let set = |row: &usize| bitmap[row / 8] & (1 << (row % 8)) != 0;
            Some((0..rows).filter(set).collect())
        }
        IN_LIST => {
            let count = take_varint(bytes)?;
            let (mut found, mut next) = (Vec::new(), 0usize);
            for _ in 0..count {
                let row = next.checked_add(usize::try_from(take_varint(bytes)?).ok()?)?;
                if row >= rows {
                    return None;
                }
                found.push(row);
                next = row + 1;
            }
            Some(found)
        }
        _ => None,
    }
}

/// Calls `each` with the number of a value and the value; text that is made is added to `made`.
fn take_values<'a>(
    bytes: &mut &'a [u8],
    count: usize,
    made: &mut String,
    mut each: impl FnMut(usize, Text<'a>),
) -> Option<()> {
    if count == 0 {
        return None;
    }
    let kind = take_bytes(bytes, 1)?[0];
    match kind {
        CONSTANT => {
            let value = take_text(bytes)?;
            (0..count).for_each(|at| each(at, Text::Stored(value)));
        }
        DICTIONARY => {
            let len = usize::try_from(take_varint(bytes)?).ok().filter(|len| *len <= MAX_DICTIONARY)?;
            let values: Vec<&str> = (0..len).map(|_| take_text(bytes)).collect::<Option<_>>()?;
            for (at, index) in take_bytes(bytes, count as u64)?.iter().enumerate() {
                each(at, Text::Stored(values.get(usize::from(*index))?));
            }
        }
        INTEGERS | DECIMALS => {
            let digits = if kind == DECIMALS { usize::from(take_bytes(bytes, 1)?[0]) } else { 0 };
            if digits > MAX_DIGITS {
                return None;
            }
            let mut number = 0i64;
            for at in 0..count {
                number = number.wrapping_add(unzigzag(take_varint(bytes)?));
                let from = made.len();
                write_number(made, number, digits);
                each(at, Text::Made(from, made.len()));
            }
        }
        TEXTS => {
            let mut lengths = Vec::new();
            for _ in 0..count {
                lengths.push(take_varint(bytes)?);
            }
            for (at, len) in lengths.into_iter().enumerate() {
                each(at, Text::Stored(std::str::from_utf8(take_bytes(bytes, len)?).ok()?));
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(sets: &[Labels]) -> Vec<u8> {
        let mut out = Vec::new();
        put_sets(&mut out, sets);
        out
    }

    /// The bytes of one label's column over these values.
    fn column(values: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        put_values(&mut out, values);
        out
    }

    #[test]
    fn each_kind_of_values_has_its_column() {
        let words: Vec<&str> = (0..40).map(|i| ["a", "b", "c"][i % 3]).collect();
        let numbers: Vec<String> = (1000..1400).map(|i| i.to_string()).collect();
        let decimals: Vec<String> = (0..400).map(|i| format!("{}.{:02}", i - 7, i % 100)).collect();
        let ids: Vec<String> =
            (0..400u64).map(|i| format!("{:016x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let of = |texts: &[String]| column(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(column(&["same", "same"])[0], CONSTANT);
        assert_eq!(column(&words)[0], DICTIONARY);
        assert_eq!((of(&numbers)[0], of(&numbers).len()), (INTEGERS, 402));
        assert_eq!(of(&decimals)[..2], [DECIMALS, 2]);
        assert_eq!(of(&ids)[0], TEXTS);
        // Whatever would not come back as it was is text.
        for odd in ["007", "+1", "1e5", "-0", "1.", ".5", "9223372036854775808", "-0.00", "0x1"] {
            let values: Vec<String> = (0..300).map(|i| format!("{i}.25")).chain([odd.to_owned()]).collect();
            assert_eq!(of(&values)[0], TEXTS, "{odd}");
            assert_eq!(column(&[odd, "17"])[0], TEXTS, "{odd}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c]",
            any::<i64>().prop_map(|number| number.to_string()),
            (-1000i64..1000, 0u32..100).prop_map(|(whole, part)| format!("{whole}.{part:02}")),
            "\\PC{1,12}",
        ]
    }

    proptest! {
        #[test]
        fn sets_come_back(
            sets in prop::collection::vec(prop::collection::btree_map("[a-f]", value(), 0..5), 0..80),
            names in prop::collection::vec("[a-z]{3}", 0..3),
        ) {
            let of = |(at, set): (usize, BTreeMap<String, String>)| {
                let more = names.iter().map(|name| (name.clone(), at.to_string()));
                Labels::from_pairs(set.into_iter().chain(more).collect::<BTreeMap<_, _>>()).unwrap()
            };
            let sets: Vec<Labels> = sets.into_iter().enumerate().map(of).collect();
            let bytes = encoded(&sets);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_sets(&mut rest, sets.len()), Some(sets));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_or_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100), sets in 0usize..50
        ) {
            let _ = take_sets(&mut bytes.as_slice(), sets);
        }
    }
}
