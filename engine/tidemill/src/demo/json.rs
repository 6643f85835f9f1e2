//! Compares two JSON texts by value: objects without regard to order, numbers by every digit.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Whether two texts are the same JSON value. What does not parse equals nothing.
pub(crate) fn same(left: &str, right: &str) -> bool {
    matches!((canonical(left), canonical(right)), (Some(left), Some(right)) if left == right)
}

#[derive(Debug, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

fn canonical(text: &str) -> Option<Json> {
    let text = text.trim();
    Some(match text.as_bytes().first()? {
        b'n' => serde_json::from_str::<()>(text).map(|()| Json::Null).ok()?,
        b't' | b'f' => Json::Bool(serde_json::from_str(text).ok()?),
        b'"' => Json::Text(serde_json::from_str(text).ok()?),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            Json::Array(items.into_iter().map(|item| canonical(item.get())).collect::<Option<_>>()?)
        }
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            Json::Object(fields.into_iter().map(|(k, v)| Some((k, canonical(v.get())?))).collect::<Option<_>>()?)
        }
        _ => {
            serde_json::from_str::<&RawValue>(text).ok()?;
            Json::Number(Decimal::read(text)?)
        }
    })
}

/// A decimal number as its significant digits and the power of ten of the last of them.
#[derive(Debug, PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Decimal> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_end_matches('0');
        let exponent =
            exponent.parse::<i64>().ok()? - fraction.len() as i64 + (digits.len() - significant.len()) as i64;
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Decimal { negative: false, digits: String::new(), exponent: 0 });
        }
        Some(Decimal { negative, digits: significant.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn what_is_equal() {
        for (left, right) in [
            ("1.50", "15e-1"),
            ("0", "-0.00"),
            ("100", "1E2"),
            (r#"{"a":1,"b":[null,true]}"#, r#"{ "b" : [ null, true ], "a" : 1.0 }"#),
            (r#""é\n""#, "\"\\u00e9\\u000a\""),
            ("12345678901234567890.12345", "12345678901234567890.123450"),
        ] {
            assert!(same(left, right), "{left} {right}");
        }
    }

    #[test]
    fn what_differs() {
        for (left, right) in [
            ("12345678901234567890.12345", "12345678901234567890.12346"),
            ("9007199254740993", "9007199254740992"),
            ("1", "\"1\""),
            ("1", "-1"),
            ("[1,2]", "[2,1]"),
            (r#"{"a":null}"#, "{}"),
            ("{", "{"),
            ("", ""),
        ] {
            assert!(!same(left, right), "{left} {right}");
        }
    }
}
