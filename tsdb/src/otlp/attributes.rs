//! Attributes into labels.

use std::collections::BTreeMap;

use binnacle_proto::Labels;

use super::message::{AnyValue, KeyValue};
use super::names::label_name;

/// How deep values may nest; what is deeper is left out.
const MAX_DEPTH: usize = 16;

/// Attributes of a resource that say which it is.
pub(super) const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// Labels that several attributes may share: their values are joined in the order of the keys.
#[derive(Debug, Clone, Default)]
pub(super) struct LabelSet(BTreeMap<String, String>);

impl LabelSet {
    /// Labels of attributes, those for which `keep` says so.
    pub(super) fn of<'a>(
        attributes: impl IntoIterator<Item = &'a KeyValue>,
        keep: impl Fn(&str) -> bool,
    ) -> Self {
        let mut sorted: Vec<&KeyValue> = attributes.into_iter().filter(|one| keep(&one.key)).collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let mut labels = BTreeMap::new();
        for one in sorted {
            let value = one.value.as_ref().map(text).unwrap_or_default();
            labels
                .entry(label_name(&one.key))
                .and_modify(|have: &mut String| {
                    have.push(';');
                    have.push_str(&value);
                })
                .or_insert(value);
        }
        Self(labels)
    }

    /// Sets a label, over one that an attribute gave.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Sets a label unless an attribute gave it.
    pub(super) fn set_missing(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// The set under a metric's name, with one label more.
    pub(super) fn named(&self, name: &str, extra: Option<(&str, &str)>) -> Result<Labels, String> {
        let mut pairs: BTreeMap<&str, &str> =
            self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.insert("__name__", name);
        pairs.extend(extra);
        Labels::from_pairs(pairs).map_err(|error| error.to_string())
    }

    /// The set alone.
    pub(super) fn plain(&self) -> Option<Labels> {
        Labels::from_pairs(self.0.iter()).ok()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_empty())
    }
}

/// What an attribute says, as text.
pub(super) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|one| one.key == key)?;
    found.value.as_ref().map(text)
}

/// A value as text: lists and maps as JSON, bytes as base64.
pub(super) fn text(value: &AnyValue) -> String {
    if let Some(text) = &value.string_value {
        return text.clone();
    }
    match json(value, 0) {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn json(value: &AnyValue, depth: usize) -> serde_json::Value {
    if depth > MAX_DEPTH {
        return serde_json::Value::Null;
    }
    if let Some(text) = &value.string_value {
        return text.as_str().into();
    }
    if let Some(flag) = value.bool_value {
        return flag.into();
    }
    if let Some(number) = value.int_value {
        return number.into();
    }
    if let Some(number) = value.double_value {
        let whole = number.fract() == 0.0 && number.abs() < 1e15;
        return if whole { (number as i64).into() } else { number.into() };
    }
    if let Some(array) = &value.array_value {
        return array.values.iter().map(|value| json(value, depth + 1)).collect();
    }
    if let Some(map) = &value.kvlist_value {
        let pairs: BTreeMap<_, _> = map.values.iter().map(|pair| (pair.key.as_str(), pair)).collect();
        let pairs = pairs.into_iter().map(|(key, pair)| {
            let value = pair.value.as_ref().map_or(serde_json::Value::Null, |value| json(value, depth + 1));
            (key.to_owned(), value)
        });
        return pairs.collect::<serde_json::Map<_, _>>().into();
    }
    value.bytes_value.as_deref().map_or(serde_json::Value::Null, |bytes| base64(bytes).into())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for digit in 0..4 {
            if digit <= chunk.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: AnyValue) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(value) }
    }

    fn string(text: &str) -> AnyValue {
        AnyValue { string_value: Some(text.to_owned()), ..AnyValue::default() }
    }

    #[test]
    fn attributes_that_become_the_same_label_are_joined() {
        let set = LabelSet::of(&[pair("a_b", string("2")), pair("a.b", string("1"))], |_| true);
        assert_eq!(set.named("m", None).unwrap().to_string(), r#"m{a_b="1;2"}"#);
    }

    #[test]
    fn values_are_written_as_text() {
        let list = super::super::message::ArrayValue { values: vec![string("a"), string("b")] };
        for (value, want) in [
            (AnyValue { bool_value: Some(true), ..AnyValue::default() }, "true"),
            (AnyValue { int_value: Some(-3), ..AnyValue::default() }, "-3"),
            (AnyValue { double_value: Some(1.5), ..AnyValue::default() }, "1.5"),
            (AnyValue { bytes_value: Some(b"hello".to_vec()), ..AnyValue::default() }, "aGVsbG8="),
            (AnyValue { array_value: Some(list), ..AnyValue::default() }, r#"["a","b"]"#),
            (AnyValue::default(), ""),
        ] {
            assert_eq!(text(&value), want);
        }
    }
}
