//! Protobuf's JSON mapping, where serde's own differs from it: for `#[serde(deserialize_with = "…")]`.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{AnyValue, ArrayValue, MapValue, Value};

/// The alternatives of [`AnyValue`], each a field of its own.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Kinds {
    string_value: Option<String>,
    bool_value: Option<bool>,
    #[serde(deserialize_with = "signed")]
    int_value: Option<i64>,
    #[serde(deserialize_with = "double")]
    double_value: Option<f64>,
    array_value: Option<ArrayValue>,
    kvlist_value: Option<MapValue>,
    #[serde(deserialize_with = "bytes")]
    bytes_value: Option<Vec<u8>>,
}

impl From<Kinds> for AnyValue {
    fn from(kinds: Kinds) -> Self {
        let value = kinds.string_value.map(Value::Text);
        let value = value.or(kinds.bool_value.map(Value::Bool));
        let value = value.or(kinds.int_value.map(Value::Int));
        let value = value.or(kinds.double_value.map(Value::Double));
        let value = value.or_else(|| kinds.array_value.map(Value::Array));
        let value = value.or_else(|| kinds.kvlist_value.map(Value::Map));
        Self { value: value.or_else(|| kinds.bytes_value.map(Value::Bytes)) }
    }
}

/// A number: 64-bit ones may be texts, as may be what is not finite.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(String),
}

impl Number {
    fn unsigned(self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(number),
            Self::Text(text) => text.parse().ok(),
            Self::Signed(_) | Self::Double(_) => None,
        }
    }

    fn signed(self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Signed(number) => Some(number),
            Self::Text(text) => text.parse().ok(),
            Self::Double(_) => None,
        }
    }

    fn double(self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Double(number) => Some(number),
            Self::Text(text) => match text.as_str() {
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => text.parse().ok(),
            },
        }
    }
}

/// `uint64`, `fixed64`.
///
/// # Errors
/// When it is none.
pub fn unsigned<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Number::deserialize(from)?.unsigned().ok_or_else(|| D::Error::custom("not a whole number of 64 bits"))
}

/// `int64`, `sfixed64` of a `oneof`.
///
/// # Errors
/// When it is none.
pub fn signed<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(from)? else { return Ok(None) };
    number.signed().map(Some).ok_or_else(|| D::Error::custom("not a whole number of 64 bits"))
}

/// `double` of a `oneof`.
///
/// # Errors
/// When it is none.
pub fn double<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(from)? else { return Ok(None) };
    number.double().map(Some).ok_or_else(|| D::Error::custom("not a number"))
}

/// `double`.
///
/// # Errors
/// When it is none.
pub fn plain_double<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Number::deserialize(from)?.double().ok_or_else(|| D::Error::custom("not a number"))
}

/// `repeated fixed64`.
///
/// # Errors
/// When one of them is none.
pub fn unsigned_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    let numbers = Vec::<Number>::deserialize(from)?.into_iter().map(Number::unsigned);
    numbers.collect::<Option<_>>().ok_or_else(|| D::Error::custom("not whole numbers of 64 bits"))
}

/// `repeated double`.
///
/// # Errors
/// When one of them is none.
pub fn double_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let numbers = Vec::<Number>::deserialize(from)?.into_iter().map(Number::double);
    numbers.collect::<Option<_>>().ok_or_else(|| D::Error::custom("not numbers"))
}

/// `bytes` of a `oneof`: base64 of either alphabet, with or without padding.
///
/// # Errors
/// When it is none.
pub fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    const EITHER: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let text = text.replace('-', "+").replace('_', "/");
    EITHER.decode(text).map(Some).map_err(|error| D::Error::custom(format!("not base64: {error}")))
}

/// Ids of traces and spans, which OpenTelemetry writes in hexadecimal.
///
/// # Errors
/// When they are not.
pub fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2));
    let digits = digits.ok_or_else(|| D::Error::custom("ids are written in hexadecimal"))?;
    Ok(digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}
