//! The mapping that Tidemill proposes for an index that it makes.
//!
//! Only what a type says for certain is mapped; the rest is left to the server's dynamic mapping.

use arrow_schema::{DataType, Schema};
use serde_json::{Map, Value, json};
use tidemill_change::{EXTENSION_JSON, EXTENSION_NAME, EXTENSION_NUMERIC, FACT};

/// Who made an index, kept in its mapping so that a lost state finds it again.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    pub stream: &'a str,
    /// The source cluster's system identifier.
    pub system: u64,
    pub epoch: u8,
}

impl Origin<'_> {
    pub(crate) fn meta(&self) -> Value {
        json!({ "stream": self.stream, "system": self.system.to_string(), "epoch": self.epoch })
    }
}

pub fn propose(documents: &Schema, origin: &Origin<'_>) -> Value {
    let mut properties = Map::new();
    for field in documents.fields() {
        let extension = field.metadata().get(EXTENSION_NAME).map(String::as_str);
        if field.metadata().contains_key(FACT) && *field.data_type() == DataType::Utf8View {
            // A name or a position: nobody looks for words in it.
            properties.insert(field.name().clone(), json!({ "type": "keyword" }));
            continue;
        }
        if let Some(mapping) = field_mapping(field.data_type(), extension) {
            properties.insert(field.name().clone(), mapping);
        }
    }
    json!({
        "_meta": { "tidemill": origin.meta() },
        "properties": properties,
    })
}

fn field_mapping(arrow: &DataType, extension: Option<&str>) -> Option<Value> {
    Some(match (arrow, extension) {
        // Several values are mapped as one is.
        (DataType::List(element), _) => {
            let extension = element.metadata().get(EXTENSION_NAME).map(String::as_str);
            return field_mapping(element.data_type(), extension);
        }
        // What a JSON column holds is known only row by row.
        (_, Some(EXTENSION_JSON)) => return None,
        // What is not finite is a string by policy: it stays in the document and is not searchable as a number.
        (_, Some(EXTENSION_NUMERIC)) | (DataType::Float64, _) => json!({ "type": "double", "ignore_malformed": true }),
        (DataType::Float32, _) => json!({ "type": "float", "ignore_malformed": true }),
        (DataType::Boolean, _) => json!({ "type": "boolean" }),
        (DataType::Int16, _) => json!({ "type": "short" }),
        (DataType::Int32, _) => json!({ "type": "integer" }),
        (DataType::Int64 | DataType::UInt32, _) => json!({ "type": "long" }),
        // The same of infinite dates.
        (DataType::Date32 | DataType::Timestamp(..), _) => json!({ "type": "date", "ignore_malformed": true }),
        (DataType::Binary | DataType::BinaryView, _) => json!({ "type": "binary" }),
        (DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8, _) => {
            json!({ "type": "text", "fields": { "keyword": { "type": "keyword", "ignore_above": 256 } } })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{Field, TimeUnit};
    use std::collections::HashMap;

    #[test]
    fn types_that_are_certain_are_mapped() {
        let numeric = Field::new("price", DataType::Utf8View, true)
            .with_metadata(HashMap::from([(EXTENSION_NAME.to_owned(), EXTENSION_NUMERIC.to_owned())]));
        let attributes = Field::new("attributes", DataType::Utf8View, true)
            .with_metadata(HashMap::from([(EXTENSION_NAME.to_owned(), EXTENSION_JSON.to_owned())]));
        let fact = |name: &str, of: DataType| {
            Field::new(name, of, true).with_metadata(HashMap::from([(FACT.to_owned(), name.to_owned())]))
        };
        let facts = [fact("lsn", DataType::Utf8View), fact("time", DataType::Timestamp(TimeUnit::Microsecond, None))];
        let fields = [Field::new("id", DataType::Int64, true), numeric, attributes].into_iter().chain(facts);
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let mapping = propose(&schema, &Origin { stream: "products", system: 7, epoch: 0 });
        assert_eq!(
            mapping["properties"],
            json!({
                "id": { "type": "long" },
                "price": { "type": "double", "ignore_malformed": true },
                "lsn": { "type": "keyword" },
                "time": { "type": "date", "ignore_malformed": true },
            })
        );
        assert_eq!(mapping["_meta"]["tidemill"]["system"], "7");
    }
}
