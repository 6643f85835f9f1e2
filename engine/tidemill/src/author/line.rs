//! What comes out, a line each: a document as it would be in the index, or what came in its place.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json::{Fields, canonical};

/// A line of `documents.ndjson`.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// A document. `_id`, `_index` and `_routing` stand in it only where the plugin gives them: no document has such fields.
    Document(Fields),
    /// The document of that id leaves the index: `{"delete": "7"}`.
    Delete { id: String },
    /// `{"reject": {"row": 3, "code": …, "message": …}}`. What an expected one leaves out is not compared.
    Reject { row: Option<usize>, code: Option<String>, message: Option<String> },
    /// The plugin takes no row at all: `{"error": …}`.
    Error { message: String },
}

impl Line {
    pub(super) fn parse(text: &str) -> Result<Line, String> {
        let fields: Fields = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let [(name, value)] = fields.0.as_slice() else { return Ok(Line::Document(fields)) };
        let value: Value = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(match (name.as_str(), value) {
            ("delete", Value::String(id)) => Line::Delete { id },
            ("error", Value::String(message)) => Line::Error { message },
            ("reject", Value::Object(reject)) => {
                if let Some(other) = reject.keys().find(|name| !["row", "code", "message"].contains(&name.as_str())) {
                    return Err(format!("a reject has `row`, `code` and `message`, and no `{other}`"));
                }
                let row = reject.get("row").and_then(Value::as_u64).map(|row| row as usize);
                let (code, message) = (reject.get("code").and_then(text), reject.get("message").and_then(text));
                Line::Reject { row, code, message }
            }
            _ => Line::Document(fields),
        })
    }

    /// As it is written into a file.
    pub(super) fn text(&self) -> String {
        match self {
            Line::Document(fields) => {
                let fields =
                    fields.0.iter().map(|(name, value)| format!("{}:{}", super::json::quoted(name), value.get()));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            Line::Delete { id } => json!({ "delete": id }).to_string(),
            Line::Error { message } => json!({ "error": message }).to_string(),
            Line::Reject { row, code, message } => {
                let fields = [("row", json!(row)), ("code", json!(code)), ("message", json!(message))];
                let told: serde_json::Map<String, Value> = fields
                    .into_iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect();
                json!({ "reject": told }).to_string()
            }
        }
    }

    /// Whether `found` is what this line expects.
    pub(super) fn is_met_by(&self, found: &Line) -> bool {
        fn fits<T: PartialEq>(expected: &Option<T>, found: &Option<T>) -> bool {
            expected.is_none() || expected == found
        }
        match (self, found) {
            (Line::Document(expected), Line::Document(found)) => {
                expected.0.len() == found.0.len()
                    && expected.0.iter().all(|(name, value)| {
                        found
                            .get(name)
                            .is_some_and(|found| found.get() == value.get() || canonical(found) == canonical(value))
                    })
            }
            (Line::Delete { id }, Line::Delete { id: other }) => id == other,
            (Line::Error { message }, Line::Error { message: other }) => message == other,
            (Line::Reject { row, code, message }, Line::Reject { row: of, code: with, message: saying }) => {
                fits(row, of) && fits(code, with) && fits(message, saying)
            }
            _ => false,
        }
    }

    /// The fields in which two documents differ, each with what it should be and what it is.
    pub(super) fn field_differences(&self, found: &Line) -> Option<Vec<FieldDifference>> {
        let (Line::Document(expected), Line::Document(found)) = (self, found) else { return None };
        let mut differences = Vec::new();
        for (name, value) in &expected.0 {
            let other = found.get(name);
            if other.is_none_or(|other| other.get() != value.get() && canonical(other) != canonical(value)) {
                differences.push(FieldDifference::new(name, Some(value), other));
            }
        }
        for (name, value) in found.0.iter().filter(|(name, _)| expected.get(name).is_none()) {
            differences.push(FieldDifference::new(name, None, Some(value)));
        }
        Some(differences)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDifference {
    pub field: String,
    /// The values as JSON; none where the document has no such field.
    pub expected: Option<String>,
    pub found: Option<String>,
}

impl FieldDifference {
    fn new(field: &str, expected: Option<&RawValue>, found: Option<&RawValue>) -> FieldDifference {
        let text = |value: Option<&RawValue>| value.map(|value| value.get().to_owned());
        FieldDifference { field: field.to_owned(), expected: text(expected), found: text(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(text).unwrap()
    }

    #[test]
    fn a_line_is_written_as_it_was_read() {
        for text in [
            r#"{"id":1,"price":12.50}"#,
            r#"{"delete":"7"}"#,
            r#"{"reject":{"row":3,"code":"bad"}}"#,
            r#"{"error":"no"}"#,
            r#"{"delete":7}"#,
        ] {
            assert_eq!(line(text).text(), text);
        }
        assert!(matches!(line(r#"{"delete":7}"#), Line::Document(_)));
        assert!(Line::parse(r#"{"reject":{"rwo":3}}"#).unwrap_err().contains("`rwo`"));
    }

    #[test]
    fn what_is_expected_is_met_by_equal_values() {
        let met = |expected: &str, found: &str| line(expected).is_met_by(&line(found));
        assert!(met(r#"{"a":1.0,"b":2}"#, r#"{"b":2,"a":1}"#));
        assert!(!met(r#"{"a":1}"#, r#"{"a":1,"b":null}"#));
        assert!(met(r#"{"reject":{"code":"x"}}"#, r#"{"reject":{"row":1,"code":"x","message":"m"}}"#));
        assert!(!met(r#"{"reject":{"row":2}}"#, r#"{"reject":{"row":1,"code":"x"}}"#));
        let differences = line(r#"{"a":1,"b":2}"#).field_differences(&line(r#"{"a":3,"c":2}"#)).unwrap();
        let told: Vec<_> =
            differences.iter().map(|d| (d.field.as_str(), d.expected.as_deref(), d.found.as_deref())).collect();
        assert_eq!(told, [("a", Some("1"), Some("3")), ("b", Some("2"), None), ("c", None, Some("2"))]);
    }
}
