//! `split`: makes a document of each element of an array.
//!
//! ```text
//! {"column": "tags"}                                     a document each, with `tags` one element
//! {"column": "lines", "as": "line", "position": "no"}    the element as `line`, its place, from 1, as `no`
//! ```
//!
//! A document's id is the row's key and the element's place: `7-1`, `7-2`. An update that shortens the array has to remove
//! what is no more, so how many there were must be told: by the old image.

mod elements;

use tidemill_sdk::{
    Batch, Buffers, Column, Config, DataType, Error, Failure, Json, MakeBytes, MakeNumbers, Reject, RowError, Rows,
    Setting, Transform, TransformPlan, Transformed,
};

use crate::elements::elements;

struct Settings {
    column: String,
    named: String,
    position: Option<String>,
}

impl Setting for Settings {
    /// `as` is a word of Rust, so the settings are taken one by one.
    fn read(json: Json) -> Result<Settings, Error> {
        let mut settings = tidemill_sdk::Settings::of(json, &["column", "as", "position"])?;
        let column: String = settings.take("column", None)?;
        let named: Option<String> = settings.take("as", None)?;
        let position = settings.take("position", None)?;
        Ok(Settings { named: named.unwrap_or_else(|| column.clone()), column, position })
    }
}

/// A part of the key.
#[derive(Clone, Copy, Debug)]
enum Key {
    Int16(Column<i16>),
    Int32(Column<i32>),
    Int64(Column<i64>),
    /// A text, and whether signs that join parts are escaped in it.
    Text(Column<str>, bool),
}

pub struct Split {
    column: Column<str>,
    key: Vec<Key>,
    /// The elements are texts of Postgres, not JSON of any kind.
    is_text: bool,
    has_position: bool,
}

impl Transform for Split {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Split, Error> {
        let settings: Settings = config.typed()?;
        let column = plan.require(&settings.column)?;
        let schema = plan.schema();
        let field = schema.fields.iter().find(|field| field.name == settings.column).ok_or("it was just found")?;
        if field.extension.as_deref() != Some("arrow.json") {
            return Err(["`", &settings.column, "` is no array and no JSON: there is nothing to split"]
                .concat()
                .into());
        }
        let is_text = field.postgres_type.as_deref().is_some_and(is_text_array);
        for made in [Some(&settings.named), settings.position.as_ref()].into_iter().flatten() {
            if *made != settings.column && schema.fields.iter().any(|field| field.name == *made) {
                return Err(["there is a column called `", made, "` already: call it otherwise"].concat().into());
            }
        }
        if schema.key.is_empty() {
            return Err("the table has no key, of which the documents' ids are made".into());
        }
        let key = schema.key.iter().map(|name| key(plan, name)).collect::<Result<_, _>>()?;
        plan.pass_all_but(&[&settings.column, "_id"]);
        plan.make("_id", DataType::Utf8);
        if is_text {
            plan.make(settings.named, DataType::Utf8);
        } else {
            plan.make_json(settings.named);
        }
        let has_position = settings.position.is_some();
        if let Some(position) = settings.position {
            plan.make(position, DataType::Int64);
        }
        plan.many();
        Ok(Split { column, key, is_text, has_position })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let arrays = batch.column(self.column);
        let mut out = Out::default();
        for row in 0..batch.rows() {
            let Some(array) = arrays.get(row) else { continue };
            if let Err(error) = self.split(batch, row, array, &mut out) {
                out.rejects.push(error.at(row));
            }
        }
        Ok(out.finish(self.has_position))
    }
}

/// What comes out of a batch.
#[derive(Default)]
struct Out {
    rows: Vec<u32>,
    ids: MakeBytes,
    parts: MakeBytes,
    positions: MakeNumbers,
    rejects: Vec<Reject>,
}

impl Out {
    fn finish(self, has_position: bool) -> Transformed {
        let mut columns: Vec<Buffers> = vec![self.ids.finish(), self.parts.finish()];
        if has_position {
            columns.push(self.positions.finish());
        }
        Transformed { rows: Rows::Indices(self.rows), columns, rejects: self.rejects }
    }
}

impl Split {
    fn split(&self, batch: &Batch<'_>, row: usize, array: &str, out: &mut Out) -> Result<(), RowError> {
        if array == "null" {
            return Ok(());
        }
        let parts =
            elements(array).ok_or_else(|| RowError::new("split_no_array", "the value is JSON, but no array"))?;
        let key = self.key(batch, row).ok_or_else(|| RowError::new("split_no_key", "a part of the key is null"))?;
        for (at, part) in parts.into_iter().enumerate() {
            out.rows.push(row as u32);
            out.ids.push(Some(format!("{key}-{}", at + 1)));
            out.positions.push(Some(at as i64 + 1));
            match self.is_text {
                false => out.parts.push((part != "null").then_some(part)),
                true => match Json::parse(part) {
                    Ok(Json::Text(text)) => out.parts.push(Some(text)),
                    // A null, or an array of an array.
                    _ => out.parts.push((part != "null").then_some(part)),
                },
            }
        }
        Ok(())
    }

    /// As ids are made of keys where nothing else says what they are.
    fn key(&self, batch: &Batch<'_>, row: usize) -> Option<String> {
        let mut key = String::new();
        for (at, part) in self.key.iter().enumerate() {
            if at > 0 {
                key.push('-');
            }
            match part {
                Key::Int16(column) => key.push_str(&batch.column(*column).get(row)?.to_string()),
                Key::Int32(column) => key.push_str(&batch.column(*column).get(row)?.to_string()),
                Key::Int64(column) => key.push_str(&batch.column(*column).get(row)?.to_string()),
                Key::Text(column, false) => key.push_str(batch.column(*column).get(row)?),
                Key::Text(column, true) => {
                    key.push_str(&batch.column(*column).get(row)?.replace('%', "%25").replace('-', "%2D"));
                }
            }
        }
        Some(key)
    }
}

/// By the name that the catalog has for it, or the type's own with brackets.
fn is_text_array(postgres_type: &str) -> bool {
    ["_text", "_varchar", "_bpchar", "_name", "_uuid", "text[]", "varchar[]", "uuid[]"].contains(&postgres_type)
}

fn key(plan: &mut TransformPlan<'_>, name: &str) -> Result<Key, Error> {
    let field = plan.schema().fields.iter().find(|field| field.name == name);
    let (of, is_plain) = match field {
        Some(field) => {
            let is_number = field.extension.as_deref() == Some("tidemill.numeric");
            (field.data_type, is_number || field.postgres_type.as_deref() == Some("uuid"))
        }
        None => {
            let why = "` is part of the key, of which ids are made, and an earlier stage has left it out";
            return Err(["`", name, why].concat().into());
        }
    };
    match of {
        DataType::Int16 => plan.require(name).map(Key::Int16),
        DataType::Int32 => plan.require(name).map(Key::Int32),
        DataType::Int64 => plan.require(name).map(Key::Int64),
        DataType::Utf8 => plan.require(name).map(|column| Key::Text(column, !is_plain)),
        _ => {
            let why = "` is part of the key, of which ids are made: that is done with whole numbers, texts and uuids";
            Err(["`", name, why].concat().into())
        }
    }
}

tidemill_sdk::transform!(Split);

#[cfg(test)]
mod tests {
    use tidemill_sdk::Naming;
    use tidemill_sdk::testing::Table;

    use super::*;

    #[test]
    fn each_element_is_a_document() {
        let rows = r#"{"id": 7, "lines": [{"a": [1, "]"]}, null, 1.50], "n": "x"} {"id": 8, "lines": [], "n": "y"}
                      {"id": 9, "lines": null, "n": "z"} {"id": 10, "lines": {"a": 1}, "n": "q"}"#;
        let out = Table::of(rows).transform::<Split>(r#"{"column": "lines", "as": "line", "position": "no"}"#).unwrap();
        assert_eq!(
            out.documents,
            [
                r#"{"id":7,"n":"x","_id":"7-1","line":{"a":[1,"]"]},"no":1}"#,
                r#"{"id":7,"n":"x","_id":"7-2","line":null,"no":2}"#,
                r#"{"id":7,"n":"x","_id":"7-3","line":1.5,"no":3}"#,
            ]
        );
        assert_eq!(out.rejects, [(4, "split_no_array: the value is JSON, but no array")]);
        assert_eq!((out.many, out.naming), (true, Naming::Row));
    }

    #[test]
    fn texts_come_out_as_texts() {
        let table = Table::of(r#"{"a": "x-1", "b": 2, "tags": ["r\"ed", null, "blü"]}"#).column("tags", "text[]");
        let out = table.key(&["a", "b"]).transform::<Split>(r#"{"column": "tags"}"#).unwrap();
        assert_eq!(
            out.documents,
            [
                r#"{"a":"x-1","b":2,"_id":"x%2D1-2-1","tags":"r\"ed"}"#,
                r#"{"a":"x-1","b":2,"_id":"x%2D1-2-2","tags":null}"#,
                r#"{"a":"x-1","b":2,"_id":"x%2D1-2-3","tags":"blü"}"#,
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = Table::of(r#"{"id": 1, "n": 1, "tags": [1]}"#);
        let refused = |table: &Table, config: &str, part: &str| {
            let error = table.transform::<Split>(config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        };
        refused(&table, "{}", "`column` is missing");
        refused(&table, r#"{"column": "n"}"#, "column `n` is int64");
        refused(&table, r#"{"column": "tags", "as": "n"}"#, "called `n` already");
        refused(&table.clone().key(&["gone"]), r#"{"column": "tags"}"#, "has left it out");
        refused(&table.column("id", "float8"), r#"{"column": "tags"}"#, "`id` is part of the key");
        refused(&Table::of(r#"{"id": 1, "t": "a"}"#), r#"{"column": "t"}"#, "nothing to split");
    }
}
