//! Label sets: sorted, without duplicates, without empty values, cheap to clone and to compare.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use twox_hash::XxHash3_64;

/// The label that holds a metric's name.
const METRIC_NAME: &str = "__name__";

/// An immutable label set.
///
/// Invariants: names strictly ascending by bytes, no empty name, no empty value (an empty value means
/// that the label is absent, as in Prometheus).
///
/// One allocation holds everything: for each label the length of its name (LEB128), the name, the
/// length of its value, the value. Clones share it; equality compares bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<[u8]>);

/// Why a label set was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelsError {
    /// The same name twice.
    #[error("label {0:?} is given twice")]
    Duplicate(String),
    /// A label without a name.
    #[error("a label has an empty name (its value is {0:?})")]
    EmptyName(String),
}

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// Builds a set from pairs in any order. Pairs with an empty value are left out.
    ///
    /// # Errors
    /// When a name is empty or given twice.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, LabelsError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut previous: Option<&str> = None;
        for (name, value) in &pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.is_empty() {
                return Err(LabelsError::EmptyName(value.to_owned()));
            }
            if previous == Some(name) {
                return Err(LabelsError::Duplicate(name.to_owned()));
            }
            previous = Some(name);
        }
        Ok(Self::from_sorted(pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))))
    }

    /// Builds a set from pairs whose names already ascend strictly; empty values are left out.
    fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut bytes = Vec::with_capacity(128);
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            push_str(&mut bytes, name);
            push_str(&mut bytes, value);
        }
        Self(Arc::from(bytes))
    }

    /// The value of label `name`, or `None` when it is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        for (have, value) in self.iter() {
            match have.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(value),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric's name (label `__name__`), or `None`.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// All labels, names ascending.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0 }
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Size of the encoded set in bytes, for memory accounts.
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// A hash that is the same in every process and release (XXH3 of the encoded set).
    pub fn stable_hash(&self) -> u64 {
        XxHash3_64::oneshot(&self.0)
    }

    /// Starts a changed copy.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// The set without the labels for which `keep` says no.
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        Self::from_sorted(self.iter().filter(|(name, _)| keep(name)))
    }
}

/// Iterator over `(name, value)`.
#[derive(Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_str(&mut self.rest);
        let value = take_str(&mut self.rest);
        Some((name, value))
    }
}

fn push_str(bytes: &mut Vec<u8>, text: &str) {
    let mut len = text.len();
    while len >= 0x80 {
        bytes.push((len as u8) | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(text.as_bytes());
}

#[inline]
fn take_str<'a>(rest: &mut &'a [u8]) -> &'a str {
    let (mut len, mut shift, mut at) = (0usize, 0, 0);
    loop {
        let byte = rest[at];
        at += 1;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    let (text, tail) = rest[at..].split_at(len);
    *rest = tail;
    // SAFETY: only `push_str` writes these bytes, from a `&str` of exactly this length.
    unsafe { std::str::from_utf8_unchecked(text) }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// By names and values in order, as Prometheus sorts label sets; a prefix comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

/// As PromQL writes a series: `name{a="b"}`. Label names that are not classic ones are quoted.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name().filter(|name| is_classic_name(name, true));
        f.write_str(name.unwrap_or_default())?;
        if name.is_some() && self.len() == 1 {
            return Ok(());
        }
        f.write_str("{")?;
        let shown = self.iter().filter(|(label, _)| name.is_none() || *label != METRIC_NAME);
        for (i, (label, value)) in shown.enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_classic_name(label, false) {
                write!(f, "{label}={value:?}")?;
            } else {
                write!(f, "{label:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether PromQL and the text format take a name without quotes: letters, digits and underscores, no
/// digit first, for names of metrics colons as well.
pub fn is_classic_name(name: &str, colon: bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':'))
}

/// A label set under construction; see [`Labels::to_builder`].
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, names unique.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets label `name`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        match self.pairs.binary_search_by(|(have, _)| have.as_str().cmp(name)) {
            Ok(at) => self.pairs[at].1 = value,
            Err(at) => self.pairs.insert(at, (name.to_owned(), value)),
        }
        self
    }

    /// Removes label `name` when it is there.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(have, _)| have != name);
        self
    }

    /// The value of label `name` so far.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.pairs.binary_search_by(|(have, _)| have.as_str().cmp(name));
        at.ok().map(|at| self.pairs[at].1.as_str()).filter(|v| !v.is_empty())
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_pairs_does_not_matter_and_empty_values_are_absent() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]).unwrap();
        let b = Labels::from_pairs([("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.stable_hash(), b.stable_hash());
        assert_eq!(a.get("c"), None);
        assert_eq!(a.len(), 2);
    }

    #[test]
    fn duplicate_and_empty_names_are_refused() {
        let twice = Labels::from_pairs([("a", "1"), ("a", "2")]);
        assert_eq!(twice, Err(LabelsError::Duplicate("a".into())));
        let nameless = Labels::from_pairs([("", "x")]);
        assert_eq!(nameless, Err(LabelsError::EmptyName("x".into())));
    }

    #[test]
    fn long_values_survive() {
        let long = "x".repeat(100_000);
        let labels = Labels::from_pairs([("a", long.as_str()), ("b", "é")]).unwrap();
        assert_eq!(labels.get("a"), Some(long.as_str()));
        assert_eq!(labels.get("b"), Some("é"));
    }

    #[test]
    fn sets_sort_by_name_then_value_then_length() {
        let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        assert!(of(&[("a", "1")]) < of(&[("a", "1"), ("b", "1")]));
        assert!(of(&[("a", "1"), ("b", "1")]) < of(&[("a", "2")]));
        assert!(of(&[("a", "9")]) < of(&[("b", "1")]));
    }

    #[test]
    fn builder_sets_and_removes() {
        let mut builder = Labels::from_pairs([("a", "1"), ("b", "2")]).unwrap().to_builder();
        builder.set("c", "3").remove("a").set("b", "");
        assert_eq!(builder.get("b"), None);
        assert_eq!(builder.build().to_string(), r#"{c="3"}"#);
    }

    #[test]
    fn classic_names_are_not_empty_and_colons_are_for_metrics() {
        for (name, label, metric) in [
            ("a_1", true, true),
            ("a:b", false, true),
            ("", false, false),
            ("1a", false, false),
            ("a.b", false, false),
            ("é", false, false),
        ] {
            let is = (is_classic_name(name, false), is_classic_name(name, true));
            assert_eq!(is, (label, metric), "{name}");
        }
    }

    #[test]
    fn display_quotes_what_is_not_a_classic_name() {
        let labels = Labels::from_pairs([("__name__", "a b"), ("x.y", "q\"")]).unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="a b", "x.y"="q\""}"#);
    }
}
