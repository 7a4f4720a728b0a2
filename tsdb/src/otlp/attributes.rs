//! Attributes into labels.

use std::collections::BTreeMap;

use binnacle_proto::Labels;
use binnacle_proto::otlp::{AnyValue, KeyValue};

use super::names::label_name;

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
            let value = one.text();
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
    found.value.as_ref().map(AnyValue::text)
}

#[cfg(test)]
mod tests {
    use binnacle_proto::otlp::Value;

    use super::*;

    fn pair(key: &str, text: &str) -> KeyValue {
        let value = AnyValue { value: Some(Value::Text(text.to_owned())) };
        KeyValue { key: key.to_owned(), value: Some(value) }
    }

    #[test]
    fn attributes_that_become_the_same_label_are_joined() {
        let set = LabelSet::of(&[pair("a_b", "2"), pair("a.b", "1")], |_| true);
        assert_eq!(set.named("m", None).unwrap().to_string(), r#"m{a_b="1;2"}"#);
    }
}
