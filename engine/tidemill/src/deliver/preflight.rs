//! Whether documents fit the mapping that an index has or is to get, as far as types alone tell.
//!
//! Where every value of a field would be refused it is wrong; where the value decides it is a warning. What cannot be told, a
//! JSON column or a field type that is not known here, is passed over: the index itself has the last word.

use arrow_schema::{DataType, Schema};
use serde_json::Value;
use tidemill_change::{EXTENSION_JSON, EXTENSION_NAME, EXTENSION_NUMERIC};

/// A field of the documents that its mapping does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) field: String,
    /// What the documents have there.
    pub(super) value: &'static str,
    /// What the mapping has, as its `type`.
    pub(super) mapped: String,
    pub(super) degree: Degree,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Degree {
    /// Every value is refused.
    All,
    /// Some values may be.
    Some,
}

/// What a field's values are once they are JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Text,
    /// An integer of so many bits.
    Integer(u32),
    Number,
    Boolean,
    Date,
}

impl Class {
    fn of(arrow: &DataType, extension: Option<&str>) -> Option<Class> {
        Some(match (arrow, extension) {
            (_, Some(EXTENSION_JSON)) => return None,
            (_, Some(EXTENSION_NUMERIC)) | (DataType::Float32 | DataType::Float64, _) => Class::Number,
            (DataType::Int16, _) => Class::Integer(16),
            (DataType::Int32, _) => Class::Integer(32),
            (DataType::Int64 | DataType::UInt32, _) => Class::Integer(64),
            (DataType::Boolean, _) => Class::Boolean,
            (DataType::Date32 | DataType::Timestamp(..), _) => Class::Date,
            (DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8, None) => Class::Text,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Class::Text => "text",
            Class::Integer(_) => "an integer",
            Class::Number => "a number",
            Class::Boolean => "a boolean",
            Class::Date => "a date",
        }
    }

    /// How much of it a field of that type refuses.
    fn refused_by(self, mapped: &str) -> Option<Degree> {
        let bits = match mapped {
            "object" | "nested" | "flattened" | "flat_object" => return Some(Degree::All),
            "byte" => 8,
            "short" => 16,
            "integer" => 32,
            "long" | "unsigned_long" | "double" | "float" | "half_float" | "scaled_float" => 64,
            "boolean" => {
                return match self {
                    Class::Boolean => None,
                    Class::Text => Some(Degree::Some),
                    _ => Some(Degree::All),
                };
            }
            "date" | "date_nanos" => {
                return match self {
                    Class::Date => None,
                    Class::Boolean => Some(Degree::All),
                    // Milliseconds since 1970, whatever the column counts.
                    Class::Text | Class::Integer(_) | Class::Number => Some(Degree::Some),
                };
            }
            "ip" => return Some(if self == Class::Text { Degree::Some } else { Degree::All }),
            _ => return None,
        };
        match self {
            Class::Boolean | Class::Date => Some(Degree::All),
            Class::Text => Some(Degree::Some),
            Class::Integer(own) => (own > bits).then_some(Degree::Some),
            Class::Number => None,
        }
    }
}

/// In the order of the documents' fields.
pub(super) fn misfits(documents: &Schema, mappings: &Value) -> Vec<Misfit> {
    let misfit = |field: &arrow_schema::FieldRef| {
        let extension = field.metadata().get(EXTENSION_NAME).map(String::as_str);
        let class = Class::of(field.data_type(), extension)?;
        let (mapped, degree) = match lookup(mappings, field.name()) {
            Found::Field(mapping) => {
                let mapped = mapping["type"].as_str().unwrap_or("object");
                let tolerated = mapping["ignore_malformed"] == true || mapping["enabled"] == false;
                (mapped, class.refused_by(mapped).filter(|_| !tolerated)?)
            }
            Found::Strict => ("nothing (dynamic: strict)", Degree::All),
            Found::Open => return None,
        };
        Some(Misfit { field: field.name().clone(), value: class.word(), mapped: mapped.to_owned(), degree })
    };
    documents.fields().iter().filter_map(misfit).collect()
}

enum Found<'a> {
    Field(&'a Value),
    /// Not mapped, and the server adds no fields by itself.
    Strict,
    /// Not mapped: the server takes what comes.
    Open,
}

/// A name with dots is a path: each part is an object, but for the last.
fn lookup<'a>(mappings: &'a Value, name: &str) -> Found<'a> {
    let mut at = mappings;
    let mut strict = false;
    for part in name.split('.') {
        if at["enabled"] == false {
            return Found::Open;
        }
        strict = match &at["dynamic"] {
            Value::Null => strict,
            dynamic => dynamic == "strict",
        };
        match at["properties"].get(part) {
            Some(found) => at = found,
            None => return if strict { Found::Strict } else { Found::Open },
        }
    }
    Found::Field(at)
}

/// What in a mapping no server takes, as far as its shape tells.
pub(super) fn malformed(mappings: &Value) -> Option<String> {
    const KEYS: [&str; 9] = [
        "properties",
        "dynamic",
        "dynamic_templates",
        "dynamic_date_formats",
        "date_detection",
        "numeric_detection",
        "runtime",
        "subobjects",
        "enabled",
    ];
    let keys = mappings.as_object()?.keys();
    if let Some(key) = keys.into_iter().find(|key| !key.starts_with('_') && !KEYS.contains(&key.as_str())) {
        return Some(format!("has `{key}` where `properties` are expected: fields stand below `properties`"));
    }
    malformed_properties(mappings, "")
}

fn malformed_properties(mapping: &Value, path: &str) -> Option<String> {
    let properties = mapping.get("properties")?;
    let Some(properties) = properties.as_object() else {
        return Some(format!("`{path}properties` is no object of fields"));
    };
    properties.iter().find_map(|(name, field)| {
        let path = format!("{path}properties.{name}");
        let typed = match field.get("type") {
            None => {
                field.get("properties").is_some() || field.get("enabled").is_some() || field.get("dynamic").is_some()
            }
            Some(of) => of.is_string(),
        };
        match typed {
            true => malformed_properties(field, &format!("{path}.")),
            false => Some(format!("`{path}` has no `type`, as in {{ \"type\": \"keyword\" }}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::Field;
    use serde_json::json;
    use std::collections::HashMap;

    #[test]
    fn what_a_mapping_refuses_is_told() {
        let json = HashMap::from([(EXTENSION_NAME.to_owned(), EXTENSION_JSON.to_owned())]);
        let of = |kind: &str| match kind {
            "text" => Field::new("a", DataType::Utf8View, true),
            "json" => Field::new("a", DataType::Utf8View, true).with_metadata(json.clone()),
            "int8" => Field::new("a", DataType::Int64, true),
            "int2" => Field::new("a", DataType::Int16, true),
            "float" => Field::new("a", DataType::Float64, true),
            "bool" => Field::new("a", DataType::Boolean, true),
            _ => Field::new("a", DataType::Date32, true),
        };
        for (kind, mapped, expected) in [
            ("text", "text", None),
            ("text", "keyword", None),
            ("text", "geo_point", None),
            ("text", "long", Some(Degree::Some)),
            ("text", "date", Some(Degree::Some)),
            ("text", "boolean", Some(Degree::Some)),
            ("text", "nested", Some(Degree::All)),
            ("json", "long", None),
            ("int8", "long", None),
            ("int8", "integer", Some(Degree::Some)),
            ("int2", "short", None),
            ("int2", "byte", Some(Degree::Some)),
            ("int8", "boolean", Some(Degree::All)),
            ("int8", "text", None),
            ("float", "object", Some(Degree::All)),
            ("bool", "boolean", None),
            ("bool", "long", Some(Degree::All)),
            ("date", "date", None),
            ("date", "double", Some(Degree::All)),
        ] {
            let found = misfits(&Schema::new(vec![of(kind)]), &json!({ "properties": { "a": { "type": mapped } } }));
            assert_eq!(found.first().map(|misfit| misfit.degree), expected, "{kind} into {mapped}");
        }
    }

    #[test]
    fn a_field_is_found_where_the_server_would() {
        let schema = Schema::new(vec![Field::new("a.b", DataType::Utf8View, true)]);
        let degree = |mappings: Value| misfits(&schema, &mappings).first().map(|misfit| misfit.degree);
        assert_eq!(degree(json!({})), None);
        assert_eq!(degree(json!({ "dynamic": "strict" })), Some(Degree::All));
        assert_eq!(degree(json!({ "dynamic": "strict", "properties": { "a": { "dynamic": true } } })), None);
        assert_eq!(
            degree(json!({ "properties": { "a": { "properties": { "b": { "type": "long" } } } } })),
            Some(Degree::Some)
        );
        assert_eq!(degree(json!({ "dynamic": "strict", "properties": { "a": { "enabled": false } } })), None);
        let lenient = json!({ "type": "long", "ignore_malformed": true });
        assert_eq!(degree(json!({ "properties": { "a": { "properties": { "b": lenient } } } })), None);
    }

    #[test]
    fn a_mapping_has_a_shape() {
        for good in [
            json!({}),
            json!({ "_meta": {}, "dynamic": false, "properties": { "a": { "type": "long" }, "b": { "properties": {} } } }),
            json!({ "properties": { "a": { "enabled": false }, "b": { "type": "nested", "properties": {} } } }),
        ] {
            assert_eq!(malformed(&good), None, "{good}");
        }
        for (bad, names) in [
            (json!({ "name": { "type": "text" } }), "`name`"),
            (json!({ "properties": [] }), "`properties`"),
            (json!({ "properties": { "a": "long" } }), "`properties.a`"),
            (json!({ "properties": { "a": { "properties": { "b": { "type": 1 } } } } }), "`properties.a.properties.b`"),
        ] {
            assert!(malformed(&bad).is_some_and(|said| said.contains(names)), "{bad}");
        }
    }
}
