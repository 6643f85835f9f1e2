//! JSON as it was written: the text of numbers is kept, since a document's numeric has every digit.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's fields in order, each value as its text.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(String, Box<RawValue>)>);

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct AsFields;
        impl<'de> Visitor<'de> for AsFields {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut fields = Fields::default();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if fields.get(&name).is_some() {
                        return Err(serde::de::Error::custom(format!("field `{name}` is there twice")));
                    }
                    fields.0.push((name, value));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(AsFields)
    }
}

/// The one text that equal values have: fields in order of their names, no white space, numbers without needless zeros.
pub(super) fn canonical(value: &RawValue) -> String {
    let text = value.get();
    let parsed = match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text).ok().map(|fields| {
            let fields = fields.iter().map(|(name, value)| format!("{}:{}", quoted(name), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }),
        Some(b'[') => serde_json::from_str::<Vec<Box<RawValue>>>(text).ok().map(|items| {
            let items = items.iter().map(|item| canonical(item));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }),
        Some(b'"') => serde_json::from_str::<String>(text).ok().map(|text| quoted(&text)),
        Some(b'-' | b'0'..=b'9') => number(text),
        _ => None,
    };
    parsed.unwrap_or_else(|| text.to_owned())
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A number as its digits without zeros around them, and the power of ten behind the last: `12.50` and `1.25e1` are `125e-1`.
fn number(text: &str) -> Option<String> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent = exponent.parse::<i64>().ok()?.checked_sub(fraction.len() as i64)?;
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    if short.is_empty() {
        return Some("0".to_owned());
    }
    Some(format!("{sign}{short}e{}", exponent.checked_add((digits.len() - short.len()) as i64)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_text() {
        let text = |json: &str| canonical(&serde_json::from_str::<Box<RawValue>>(json).unwrap());
        for (one, other) in [
            ("12.50", "1.25e1"),
            ("0", "-0.000"),
            ("100", "1E2"),
            (r#"{"b": 1, "a": [1.0, "é"]}"#, r#"{"a":[1,"\u00e9"],"b":1}"#),
        ] {
            assert_eq!(text(one), text(other));
        }
        for (one, other) in [
            ("12345678901234567890.1", "12345678901234567890.2"),
            ("1", "\"1\""),
            ("[1]", "[1,1]"),
            ("1", "-1"),
            ("10", "1"),
        ] {
            assert_ne!(text(one), text(other));
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        assert!(serde_json::from_str::<Fields>(r#"{"a": 1, "a": 2}"#).unwrap_err().to_string().contains("`a`"));
    }
}
