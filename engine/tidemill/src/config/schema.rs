//! The JSON Schema of the configuration, for editors. It is made from the types that read the file, so it cannot fall
//! behind; `schema/tidemill.schema.json` is its published copy.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Value, json};

use super::raw;

/// The schema as pretty JSON.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<raw::Config>();
    AllowVariables.transform(&mut schema);
    schema.to_value()
}

struct AllowVariables;

impl Transform for AllowVariables {
    fn transform(&mut self, schema: &mut Schema) {
        // From the leaves up: what is put around a schema is not visited again.
        transform_subschemas(self, schema);
        allow_variables(schema);
    }
}

/// Where a number, a truth value or one of several words is asked for, a variable may stand.
fn allow_variables(schema: &mut Schema) {
    // Words that each have a description stand in a `oneOf`, of which a variable would fit all.
    if let Some(words) = schema.remove("oneOf") {
        schema.insert("anyOf".to_owned(), words);
    }
    let typed = |kind: &Value| matches!(kind.as_str(), Some("integer" | "number" | "boolean"));
    let is_typed = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(typed),
        Some(kind) => typed(kind),
        None => false,
    };
    let is_word = schema.get("enum").is_some() || schema.get("const").is_some();
    if !is_typed && !is_word {
        return;
    }
    let Some(object) = schema.as_object_mut() else { return };
    let description = object.remove("description");
    let inner = Value::Object(std::mem::take(object));
    if let Some(description) = description {
        object.insert("description".to_owned(), description);
    }
    object.insert("anyOf".to_owned(), json!([inner, { "type": "string", "pattern": r"\$\{" }]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_the_true_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/tidemill.schema.json");
        let published = std::fs::read_to_string(path).unwrap_or_default();
        let current = format!("{:#}\n", schema());
        assert!(published == current, "make it anew: tidemill schema > schema/tidemill.schema.json");
    }
}
