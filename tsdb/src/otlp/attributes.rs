//! Attributes into labels.

use binnacle_proto::otlp::{AnyValue, KeyValue};
use binnacle_proto::{Labels, LabelsBuilder};

use super::names::label_name;

/// Attributes of a resource that say which it is.
pub(super) const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// Labels that several attributes may share: their values are joined in the order of the keys. An attribute
/// without a name is left out.
#[derive(Debug, Clone, Default)]
pub(super) struct LabelSet(LabelsBuilder);

impl LabelSet {
    /// Labels of attributes, those for which `keep` says so.
    pub(super) fn of<'a>(
        attributes: impl IntoIterator<Item = &'a KeyValue>,
        keep: impl Fn(&str) -> bool,
    ) -> Self {
        let kept = attributes.into_iter().filter(|one| keep(&one.key));
        let mut named: Vec<(String, &KeyValue)> = kept.map(|one| (label_name(&one.key), one)).collect();
        named.retain(|(name, _)| !name.is_empty());
        named.sort_by(|a, b| (&a.0, &a.1.key).cmp(&(&b.0, &b.1.key)));
        let mut labels = LabelsBuilder::new();
        for same in named.chunk_by(|a, b| a.0 == b.0) {
            let values: Vec<String> = same.iter().map(|(_, one)| one.text()).collect();
            labels.set(&same[0].0, values.join(";"));
        }
        Self(labels)
    }

    /// Sets a label, over one that an attribute gave.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.set(name, value);
    }

    /// Sets a label unless an attribute gave it.
    pub(super) fn set_missing(&mut self, name: &str, value: &str) {
        if !self.contains(name) {
            self.0.set(name, value);
        }
    }

    /// The set under a metric's name, with one label more.
    pub(super) fn named(&self, name: &str, extra: Option<(&str, &str)>) -> Labels {
        let mut labels = self.0.clone();
        labels.set("__name__", name);
        if let Some((name, value)) = extra {
            labels.set(name, value);
        }
        labels.build()
    }

    /// The set alone.
    pub(super) fn plain(&self) -> Labels {
        self.0.build()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.get(name).is_some()
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
        let set = LabelSet::of(&[pair("a_b", "2"), pair("x", "3"), pair("a.b", "1")], |_| true);
        assert_eq!(set.named("m", None).to_string(), r#"m{a_b="1;2", x="3"}"#);
    }

    #[test]
    fn attributes_without_a_name_are_left_out() {
        let set = LabelSet::of(&[pair("", "long"), pair("a", "1")], |_| true);
        assert_eq!(set.named("m", None).to_string(), r#"m{a="1"}"#);
    }
}
