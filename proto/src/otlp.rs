//! What OpenTelemetry's metrics and logs have in common: resources, attributes and their values, as
//! protobuf and as JSON. Numbers of fields are those of its published protocol.

pub mod mapping;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::Deserialize;

/// How deep values may nest; what is deeper is left out.
const MAX_DEPTH: usize = 16;

/// What metrics or logs are of.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// What is said of it.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// An attribute.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// What it says.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// Any value.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(from = "mapping::Kinds")]
pub struct AnyValue {
    /// `None`: the value that says nothing.
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<Value>,
}

/// What a value is.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// Text.
    #[prost(string, tag = "1")]
    Text(String),
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Int(i64),
    /// Any number.
    #[prost(double, tag = "4")]
    Double(f64),
    /// Values in a row.
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    /// Values by key.
    #[prost(message, tag = "6")]
    Map(MapValue),
    /// Anything else.
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}

/// Values in a row.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub struct ArrayValue {
    /// In their order.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// Values by key.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(default)]
pub struct MapValue {
    /// In the order of the sender.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

impl KeyValue {
    /// What the attribute says, as text; nothing is the empty text.
    pub fn text(&self) -> String {
        self.value.as_ref().map(AnyValue::text).unwrap_or_default()
    }
}

impl AnyValue {
    /// The value as text: lists and maps as JSON, bytes as base64, nothing as the empty text.
    pub fn text(&self) -> String {
        match &self.value {
            // The frequent one, without a copy more.
            Some(Value::Text(text)) => text.clone(),
            _ => match self.json() {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            },
        }
    }

    /// The value as JSON: keys of maps ascending, numbers that are not finite as protobuf's texts for them.
    pub fn json(&self) -> serde_json::Value {
        json(self, 0)
    }
}

fn json(value: &AnyValue, depth: usize) -> serde_json::Value {
    let Some(value) = value.value.as_ref().filter(|_| depth <= MAX_DEPTH) else {
        return serde_json::Value::Null;
    };
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Double(number) => double(*number),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
        Value::Array(array) => array.values.iter().map(|value| json(value, depth + 1)).collect(),
        Value::Map(map) => {
            let pairs: BTreeMap<&str, &KeyValue> =
                map.values.iter().map(|pair| (pair.key.as_str(), pair)).collect();
            let value = |pair: &KeyValue| {
                pair.value.as_ref().map_or(serde_json::Value::Null, |value| json(value, depth + 1))
            };
            let pairs = pairs.into_iter().map(|(key, pair)| (key.to_owned(), value(pair)));
            pairs.collect::<serde_json::Map<_, _>>().into()
        }
    }
}

/// Whole numbers without a fraction, as senders in most languages write them.
fn double(number: f64) -> serde_json::Value {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let whole = number.fract() == 0.0 && number.abs() < 1e15;
    if whole { (number as i64).into() } else { number.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AnyValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn values_are_written_as_text() {
        for (value, want) in [
            (r#"{"stringValue": "a\"b"}"#, "a\"b"),
            (r#"{"boolValue": true}"#, "true"),
            (r#"{"intValue": "-3"}"#, "-3"),
            (r#"{"doubleValue": 1.5}"#, "1.5"),
            (r#"{"doubleValue": 2.0}"#, "2"),
            (r#"{"doubleValue": "-Infinity"}"#, "-Infinity"),
            (r#"{"doubleValue": "NaN"}"#, "NaN"),
            (r#"{"bytesValue": "aGVsbG8="}"#, "aGVsbG8="),
            (r#"{"arrayValue": {"values": [{"stringValue": "a"}, {}, {"intValue": 1}]}}"#, r#"["a",null,1]"#),
            (
                r#"{"kvlistValue": {"values": [{"key": "b", "value": {"intValue": 1}}, {"key": "a"}]}}"#,
                r#"{"a":null,"b":1}"#,
            ),
            (r#"{"stringValue": null, "intValue": 4}"#, "4"),
            (r#"{"newer": 1}"#, ""),
        ] {
            assert_eq!(read(value).text(), want, "{value}");
        }
    }

    #[test]
    fn protobuf_and_json_come_to_the_same() {
        let text = r#"{"key": "k", "value": {"kvlistValue": {"values": [
            {"key": "bytes", "value": {"bytesValue": "_-8"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"doubleValue": 0.5}, {"boolValue": false}]}}}]}}}"#;
        let pair: KeyValue = serde_json::from_str(text).unwrap();
        assert_eq!(KeyValue::decode(&*pair.encode_to_vec()).unwrap(), pair);
        assert_eq!(pair.text(), r#"{"bytes":"/+8=","list":[0.5,false]}"#);
    }

    #[test]
    fn what_nests_too_deep_is_left_out() {
        let mut value = AnyValue { value: Some(Value::Int(1)) };
        for _ in 0..=MAX_DEPTH {
            value = AnyValue { value: Some(Value::Array(ArrayValue { values: vec![value] })) };
        }
        assert!(value.text().contains("[null]"), "{}", value.text());
    }
}
