//! `split`: makes a document of each element of an array.
//!
//! ```text
//! {"column": "tags"}                                     a document each, with `tags` one element
//! {"column": "lines", "as": "line", "position": "no"}    the element as `line`, its place, from 1, as `no`
//! ```
//!
//! An array of Postgres, or JSON that holds one, comes as JSON; what an earlier stage makes of lists comes as such, and its elements
//! keep their type.
//!
//! A document's id is the row's key and the element's place: `7-1`, `7-2`. An update that shortens the array has to remove
//! what is no more, so how many there were must be told: by the old image.

mod elements;

use tidemill_sdk::{
    Batch, Buffers, Column, Config, DataType, Error, Failure, Field, Json, List, MakeBytes, MakeNumbers, Reject,
    RowError, Rows, Setting, Transform, TransformPlan, Transformed, take,
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

/// What is split.
#[derive(Clone, Debug)]
enum Arrays {
    Json {
        column: Column<str>,
        /// The elements are texts of Postgres, not JSON of any kind.
        is_text: bool,
    },
    Lists {
        column: Column<List<()>>,
        /// The elements' type, and behind it, of lists, those of theirs.
        types: Vec<DataType>,
    },
}

pub struct Split {
    arrays: Arrays,
    key: Vec<Key>,
    has_position: bool,
}

impl Transform for Split {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Split, Error> {
        let settings: Settings = config.typed()?;
        let schema = plan.schema();
        let (arrays, elements) = arrays(plan, &settings.column)?;
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
        match elements.split_last() {
            Some((field, [])) => plan.make_as(settings.named, field.data_type, field.extension.as_deref()),
            Some((field, lists)) => {
                plan.make_lists(settings.named, lists.len(), field.data_type, field.extension.as_deref());
            }
            None => return Err("it was just found".into()),
        }
        let has_position = settings.position.is_some();
        if let Some(position) = settings.position {
            plan.make(position, DataType::Int64);
        }
        plan.many();
        Ok(Split { arrays, key, has_position })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let mut out = Out::default();
        let parts = match &self.arrays {
            Arrays::Json { column, is_text } => vec![self.of_json(batch, *column, *is_text, &mut out)],
            Arrays::Lists { column, types } => self.of_lists(batch, *column, types, &mut out),
        };
        Ok(out.finish(parts, self.has_position))
    }
}

/// What comes out of a batch.
#[derive(Default)]
struct Out {
    rows: Vec<u32>,
    ids: MakeBytes,
    positions: MakeNumbers,
    rejects: Vec<Reject>,
}

impl Out {
    /// So many documents of a row, of which the key is this.
    fn push(&mut self, row: usize, key: &str, count: usize) {
        for at in 1..=count {
            self.rows.push(row as u32);
            self.ids.push(Some(format!("{key}-{at}")));
            self.positions.push(Some(at as i64));
        }
    }

    fn finish(self, parts: Vec<Buffers>, has_position: bool) -> Transformed {
        let mut columns: Vec<Buffers> = vec![self.ids.finish()];
        columns.extend(parts);
        if has_position {
            columns.push(self.positions.finish());
        }
        Transformed { rows: Rows::Indices(self.rows), columns, rejects: self.rejects }
    }
}

impl Split {
    fn of_json(&self, batch: &Batch<'_>, column: Column<str>, is_text: bool, out: &mut Out) -> Buffers {
        let arrays = batch.column(column);
        let mut made = MakeBytes::default();
        for row in 0..batch.rows() {
            let Some(array) = arrays.get(row).filter(|array| *array != "null") else { continue };
            let parts =
                elements(array).ok_or_else(|| RowError::new("split_no_array", "the value is JSON, but no array"));
            let (parts, key) = match parts.and_then(|parts| Ok((parts, self.key(batch, row)?))) {
                Ok(both) => both,
                Err(error) => {
                    out.rejects.push(error.at(row));
                    continue;
                }
            };
            out.push(row, &key, parts.len());
            for part in parts {
                match is_text.then(|| Json::parse(part)) {
                    Some(Ok(Json::Text(text))) => made.push(Some(text)),
                    // JSON of any kind; of texts a null, or an array of an array.
                    _ => made.push((part != "null").then_some(part)),
                }
            }
        }
        made.finish()
    }

    fn of_lists(&self, batch: &Batch<'_>, column: Column<List<()>>, types: &[DataType], out: &mut Out) -> Vec<Buffers> {
        let lists = batch.column(column);
        let mut elements = Vec::new();
        for row in 0..batch.rows() {
            let Some(list) = lists.get(row) else { continue };
            match self.key(batch, row) {
                Ok(key) => {
                    out.push(row, &key, list.len());
                    elements.extend(list);
                }
                Err(error) => out.rejects.push(error.at(row)),
            }
        }
        take(types, &batch.raw(column)[1..], &elements)
    }

    /// As ids are made of keys where nothing else says what they are.
    fn key(&self, batch: &Batch<'_>, row: usize) -> Result<String, RowError> {
        let mut key = String::new();
        for (at, part) in self.key.iter().enumerate() {
            if at > 0 {
                key.push('-');
            }
            let part = match part {
                Key::Int16(column) => batch.column(*column).get(row).map(|part| part.to_string()),
                Key::Int32(column) => batch.column(*column).get(row).map(|part| part.to_string()),
                Key::Int64(column) => batch.column(*column).get(row).map(|part| part.to_string()),
                Key::Text(column, false) => batch.column(*column).get(row).map(str::to_owned),
                Key::Text(column, true) => {
                    batch.column(*column).get(row).map(|part| part.replace('%', "%25").replace('-', "%2D"))
                }
            };
            key.push_str(&part.ok_or_else(|| RowError::new("split_no_key", "a part of the key is null"))?);
        }
        Ok(key)
    }
}

/// The column that is split, and the field of its elements, with those of theirs before it where these are lists.
fn arrays(plan: &mut TransformPlan<'_>, name: &str) -> Result<(Arrays, Vec<Field>), Error> {
    let fields = &plan.schema().fields;
    let Some(place) = fields.iter().position(|field| field.name == name) else {
        return Err(plan.require::<()>(name).err().unwrap_or_else(|| "it is no column".into()));
    };
    let field = &fields[place];
    if field.data_type == DataType::List {
        let lists = fields[place + 1..].iter().take_while(|field| field.data_type == DataType::List).count();
        let elements = fields[place + 1..][..=lists].to_vec();
        let types = elements.iter().map(|element| element.data_type).collect();
        return Ok((Arrays::Lists { column: plan.require(name)?, types }, elements));
    }
    if field.extension.as_deref() != Some("arrow.json") {
        let why = "` is no array and no JSON: there is nothing to split; of Postgres' arrays those of booleans, numbers, texts, \
                   uuids and JSON come as such";
        return Err(["`", name, why].concat().into());
    }
    let is_text = field.postgres_type.as_deref().is_some_and(is_text_array);
    let mut element = field.clone();
    if is_text {
        element.extension = None;
    }
    Ok((Arrays::Json { column: plan.require(name)?, is_text }, vec![element]))
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
    fn elements_of_lists_keep_their_types() {
        let rows = r#"{"id": 1, "name": "a", "lists": [2, null, 3], "grid": [["1.50", null], null, []]}
                      {"id": 2, "name": null, "lists": null, "grid": null} {"id": 3, "name": "c", "lists": [], "grid": [["2"]]}"#;
        let table = Table::of(rows).lists("lists", "int2[]").lists("grid", "numeric[][]");
        let split = |config: &str| table.transform::<Split>(config).unwrap().documents;
        assert_eq!(
            split(r#"{"column": "grid", "as": "line", "position": "no"}"#),
            [
                r#"{"id":1,"name":"a","lists":[2,null,3],"_id":"1-1","line":[1.50,null],"no":1}"#,
                r#"{"id":1,"name":"a","lists":[2,null,3],"_id":"1-2","line":null,"no":2}"#,
                r#"{"id":1,"name":"a","lists":[2,null,3],"_id":"1-3","line":[],"no":3}"#,
                r#"{"id":3,"name":"c","lists":[],"_id":"3-1","line":[2],"no":1}"#,
            ]
        );
        assert_eq!(
            split(r#"{"column": "lists"}"#),
            [
                r#"{"id":1,"name":"a","grid":[[1.50,null],null,[]],"_id":"1-1","lists":2}"#,
                r#"{"id":1,"name":"a","grid":[[1.50,null],null,[]],"_id":"1-2","lists":null}"#,
                r#"{"id":1,"name":"a","grid":[[1.50,null],null,[]],"_id":"1-3","lists":3}"#,
            ]
        );
    }

    #[test]
    fn every_type_is_taken() {
        for (of, values) in [
            ("bool[]", "true, null, false"),
            ("int4[]", "1, null, -3"),
            ("int8[]", "9007199254740993"),
            ("float8[]", "1.5, null"),
            ("date[]", r#""2024-02-29", null"#),
            ("timestamptz[]", r#""2024-02-29T00:00:00Z""#),
            ("bytea[]", r#""\\x00ff", null"#),
            ("text[]", r#""ü", null, """#),
            ("jsonb[]", r#"{"a":[1]}, null"#),
        ] {
            let rows = format!(r#"{{"id": 1, "list": [{values}]}}"#);
            let table = Table::of(&rows).lists("list", of);
            let whole = table.clone().transform::<Split>(r#"{"column": "list"}"#).unwrap().documents;
            let parts: Vec<_> = whole
                .iter()
                .enumerate()
                .map(|(at, line)| line.strip_prefix(&format!(r#"{{"id":1,"_id":"1-{}","list":"#, at + 1)).unwrap())
                .map(|line| line.strip_suffix('}').unwrap())
                .collect();
            // Bytes are written in another way than they are read.
            assert_eq!(parts.join(", "), values.replace("\\\\x", ""), "{of}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = Table::of(r#"{"id": 1, "n": 1, "tags": [1]}"#);
        let refused = |table: &Table, config: &str, part: &str| {
            let error = table.transform::<Split>(config).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        };
        refused(&table, "{}", "`column` is missing");
        refused(&table, r#"{"column": "n"}"#, "`n` is no array and no JSON");
        refused(&table, r#"{"column": "tgas"}"#, "no column `tgas`");
        refused(&table, r#"{"column": "tags", "as": "n"}"#, "called `n` already");
        refused(&table.clone().key(&["gone"]), r#"{"column": "tags"}"#, "has left it out");
        refused(&table.column("id", "float8"), r#"{"column": "tags"}"#, "`id` is part of the key");
        refused(&Table::of(r#"{"id": 1, "t": "a"}"#), r#"{"column": "t"}"#, "nothing to split");
    }
}
