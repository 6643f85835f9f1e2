//! `select`: what a document consists of, and what its parts are called.
//!
//! `{"columns": ["name", "price"]}` lets these columns out, in this order; `{"columns": {"title": "name"}}` lets `name` out as
//! `title`. All of it is said in the plan, so no value of any column ever crosses into this plugin.

use serde_json::Value;
use tidemill_sdk::{Batch, Config, Error, Failure, Schema, Transform, TransformPlan, Transformed};

pub struct Select;

impl Transform for Select {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Select, Error> {
        for (name, column) in columns(config)? {
            check(plan.schema(), &name, &column)?;
            if plan.columns().iter().any(|(known, _)| *known == name) {
                return Err(format!("column `{name}` is named twice").into());
            }
            plan.pass_as(&column, name)?;
        }
        Ok(Select)
    }

    fn process(&mut self, _batch: &Batch<'_>) -> Result<Transformed, Failure> {
        Ok(Transformed::all(Vec::new()))
    }
}

/// The configured columns as (name in the document, column), in order.
fn columns(config: Config<'_>) -> Result<Vec<(String, String)>, Error> {
    let shape = "`columns` is a list of columns, or a map from the document's names to columns";
    let Value::Object(mut config) = config.value()? else { return Err(shape.into()) };
    let columns = match config.remove("columns") {
        Some(Value::Array(names)) => {
            names.into_iter().map(|name| text(name).map(|name| (name.clone(), name)).ok_or(shape)).collect()
        }
        Some(Value::Object(map)) => {
            map.into_iter().map(|(name, column)| text(column).map(|column| (name, column)).ok_or(shape)).collect()
        }
        _ => Err(shape),
    };
    let columns: Vec<_> = columns?;
    if let Some(key) = config.keys().next() {
        return Err(format!("select has no setting `{key}`; the only one is `columns`").into());
    }
    if columns.is_empty() {
        return Err("`columns` is empty: a document needs one column at least".into());
    }
    Ok(columns)
}

fn text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

/// Tells a misspelt column from an expression.
fn check(schema: &Schema, name: &str, column: &str) -> Result<(), Error> {
    let is_known = schema.fields.iter().any(|field| field.name == column);
    let is_name = column.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    if is_known || is_name {
        return Ok(());
    }
    Err(format!("`{name}: {column}`: computed columns are not there yet, only names of columns").into())
}

tidemill_sdk::transform!(Select);

#[cfg(test)]
mod tests {
    use tidemill_sdk::{DataType, Field};

    use super::*;

    fn schema() -> Schema {
        let field = |name: &str| Field {
            name: name.into(),
            data_type: DataType::Utf8,
            extension: None,
            postgres_type: Some("text".into()),
        };
        let fields = vec![field("id"), field("name"), field("first name"), field("price")];
        Schema { namespace: "public".into(), table: "products".into(), key: vec!["id".into()], fields, old: vec![] }
    }

    fn open(config: &str) -> Result<String, String> {
        let schema = schema();
        let mut plan = TransformPlan::new(&schema);
        Select::open(Config::new(config), &mut plan).map_err(|error| error.to_string())?;
        let columns = plan.columns();
        Ok(columns.iter().map(|(name, of)| format!("{name}={}", of.unwrap())).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn columns_come_out_in_the_order_of_the_configuration() {
        assert_eq!(open(r#"{"columns": ["price", "name"]}"#).unwrap(), "price=price name=name");
        assert_eq!(open(r#"{"columns": {"z": "name", "a": "first name"}}"#).unwrap(), "z=name a=first name");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |config, part: &str| {
            let error = open(config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        };
        refused(r#"{"columns": ["nmae"]}"#, "no column `nmae`");
        refused(r#"{"columns": ["name", "name"]}"#, "`name` is named twice");
        refused(r#"{"columns": {"full": "name || price"}}"#, "not there yet");
        refused(r#"{"columns": []}"#, "is empty");
        refused(r#"{"columns": [1]}"#, "is a list of columns");
        refused(r#"{"columns": ["name"], "column": 1}"#, "no setting `column`");
        refused("[]", "is a list of columns");
    }
}
