//! Unit tests of plugins without wasm: rows in as JSON, documents out, natively by `cargo test`.
//!
//! ```
//! use tidemill_sdk::testing::Table;
//! use tidemill_sdk::{Config, Row, RowError};
//!
//! #[derive(Config)]
//! struct Settings {
//!     word: String,
//! }
//!
//! #[derive(Row)]
//! struct Product<'a> {
//!     name: &'a str,
//! }
//!
//! fn has_word(product: Product<'_>, settings: &Settings) -> bool {
//!     product.name.contains(&settings.word)
//! }
//!
//! tidemill_sdk::filter!(rows: has_word);
//!
//! # fn main() {
//! let rows = r#"
//!     {"id": 1, "name": "red shoe"}
//!     {"id": 2, "name": "chair"}
//!     {"id": 3, "name": null}
//! "#;
//! let out = Table::of(rows).filter::<Plugin>(r#"{"word": "shoe"}"#).unwrap();
//! assert_eq!(out.documents, [r#"{"id":1,"name":"red shoe"}"#]);
//! assert_eq!(out.rejects, [(3, "null: column `name` is null")]);
//! # }
//! ```
//!
//! Rows tell their columns' types as the cases of `tidemill plugin test` do: whole numbers are bigint, others numeric, texts text,
//! lists and maps jsonb; [`Table::column`] says otherwise. What a plugin answers is looked at as the engine looks at it, and rows
//! that come one by one must give what they give together. What the engine's own decoder and encoder make of types that are
//! rare here, `tidemill plugin test` shows.

mod check;
mod types;

use serde_json::{Map, Value};

use crate::plan::{Parts, columns as columns_of};
use crate::{
    Batch, Buffers, Config, Fact, Field, Filter, FilterPlan, Keep, MakeBytes, MakeNumbers, Naming, Rows, Schema,
    Source, Transform, TransformPlan,
};
use types::Type;

/// Rows of a table, and what is known of their change.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Map<String, Value>>,
    old: Vec<Map<String, Value>>,
    columns: Vec<(String, Type)>,
    name: String,
    key: Vec<String>,
    op: &'static str,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Each as JSON, in order, with `_id`, `_index` and `_routing` in it where the plugin gives them.
    pub documents: Vec<String>,
    /// For each document the row that it is made from, counted from 1.
    pub sources: Vec<usize>,
    /// Rows, counted from 1, with `code: message`.
    pub rejects: Vec<Refused>,
    pub many: bool,
    pub naming: Naming,
}

/// A refused row: its number, from 1, and `code: message`. It compares with a pair of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub usize, pub String);

impl PartialEq<(usize, &str)> for Refused {
    fn eq(&self, (row, what): &(usize, &str)) -> bool {
        self.0 == *row && self.1 == *what
    }
}

impl Table {
    /// Rows, a JSON object each, with any white space between them.
    ///
    /// # Panics
    ///
    /// Where that is no JSON: a test is wrong then.
    pub fn of(rows: &str) -> Table {
        let rows = read(rows);
        let mut columns: Vec<(String, Type)> = Vec::new();
        for (name, value) in rows.iter().flatten() {
            let seen = Type::of(value);
            match columns.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = known.and(seen),
                None => columns.push((name.clone(), seen)),
            }
        }
        let name = "public.rows".to_owned();
        let key = columns.iter().find(|(name, _)| name == "id").or(columns.first());
        let key = key.map(|(name, _)| name.clone()).into_iter().collect();
        Table { rows, old: Vec::new(), columns, name, key, op: "insert" }
    }

    /// Says a column's Postgres type, `timestamptz` for instance.
    pub fn column(mut self, name: &str, postgres_type: &str) -> Table {
        let of = Type::named(postgres_type);
        match self.columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = of,
            None => self.columns.push((name.to_owned(), of)),
        }
        self
    }

    /// Says that a column is of lists, as an earlier stage makes them: `int8[]`, `text[][]`. In the rows they are JSON arrays. Arrays of
    /// Postgres cross as JSON, which [`column`](Table::column) says.
    #[track_caller]
    pub fn lists(mut self, name: &str, of: &str) -> Table {
        let of = Type::lists(of);
        match self.columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = of,
            None => self.columns.push((name.to_owned(), of)),
        }
        self
    }

    /// `schema.name`; `public.rows` where it is not said.
    pub fn named(mut self, name: &str) -> Table {
        self.name = name.to_owned();
        self
    }

    /// The key's columns; `id`, else the first column, where it is not said.
    pub fn key(mut self, key: &[&str]) -> Table {
        self.key = key.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// The rows as they were before, as under REPLICA IDENTITY FULL; they are updates then.
    pub fn old(mut self, rows: &str) -> Table {
        (self.old, self.op) = (read(rows), "update");
        self
    }

    /// The fact `op` of all rows: `read`, `insert`, `update` or `remove`.
    pub fn op(mut self, op: &'static str) -> Table {
        self.op = op;
        self
    }

    /// Runs the rows through a filter. An error is what `open` said.
    ///
    /// # Panics
    ///
    /// Where the engine would not take the filter's answer, or where it depends on how rows are cut into batches.
    #[track_caller]
    pub fn filter<F: Filter>(&self, config: &str) -> Result<Outcome, String> {
        let schema = self.schema();
        let run = |from: usize, to: usize| {
            let mut plan = FilterPlan::new(&schema);
            let mut plugin = F::open(Config::new(config), &mut plan).map_err(|error| error.to_string())?;
            let push = |source: Source| self.pushed(&schema, source, from, to);
            let columns: Vec<_> = plan.sources().iter().flat_map(|source| push(*source)).collect();
            let rows = to - from;
            let verdict = plugin.process(&Batch::new(rows, &columns)).unwrap_or_else(|failure| panic!("{failure:?}"));
            let kept = match verdict.keep {
                Keep::All => Rows::All,
                Keep::None => Rows::None,
                Keep::Bitmap(bits) => Rows::Bitmap(bits),
            };
            let out = check::picked(&kept, rows, false);
            let rejects = check::rejects(&verdict.rejects, rows);
            let cells: Vec<_> = columns_of(&schema.fields)
                .map(|(at, _)| (&schema.fields[at as usize..], push(Source::Field(at))))
                .collect();
            let document =
                |row: &usize| object(cells.iter().map(|(fields, column)| types::entry(fields, column, *row)));
            Ok(collect(out, rejects, from, (false, Naming::Row), |_, row| document(&row)))
        };
        self.twice(run)
    }

    /// Runs the rows through a transform. An error is what `open` said.
    ///
    /// # Panics
    ///
    /// Where the engine would not take the transform's answer, or where it depends on how rows are cut into batches.
    #[track_caller]
    pub fn transform<T: Transform>(&self, config: &str) -> Result<Outcome, String> {
        let schema = self.schema();
        let run = |from: usize, to: usize| {
            let mut plan = TransformPlan::new(&schema);
            let mut plugin = T::open(Config::new(config), &mut plan).map_err(|error| error.to_string())?;
            let parts = plan.parts();
            check::plan(&parts);
            let push = |source: Source| self.pushed(&schema, source, from, to);
            let columns: Vec<_> = parts.sources.iter().flat_map(|source| push(*source)).collect();
            let rows = to - from;
            let answer = plugin.process(&Batch::new(rows, &columns)).unwrap_or_else(|failure| panic!("{failure:?}"));
            let out = check::picked(&answer.rows, rows, parts.many);
            let rejects = check::rejects(&answer.rejects, rows);
            let made = check::made(&parts, &answer.columns, out.len());
            let passed: Vec<Option<Passed>> = parts.outputs.iter().map(|output| output.passed(&schema, push)).collect();
            let many = (parts.many, parts.naming);
            Ok(collect(out, rejects, from, many, |at, row| document(&parts, &passed, &made, at, row)))
        };
        self.twice(run)
    }

    /// All rows at once and one by one: both must give the same.
    #[track_caller]
    fn twice(&self, run: impl Fn(usize, usize) -> Result<Outcome, String>) -> Result<Outcome, String> {
        let whole = run(0, self.rows.len())?;
        let mut pieces = Outcome { documents: vec![], sources: vec![], rejects: vec![], ..whole.clone() };
        for row in 0..self.rows.len() {
            let piece = run(row, row + 1)?;
            pieces.documents.extend(piece.documents);
            pieces.sources.extend(piece.sources);
            pieces.rejects.extend(piece.rejects);
        }
        let mut sorted = whole.clone();
        let mut order: Vec<usize> = (0..whole.sources.len()).collect();
        order.sort_by_key(|at| whole.sources[*at]);
        sorted.documents = order.iter().map(|at| whole.documents[*at].clone()).collect();
        sorted.sources.sort_unstable();
        sorted.rejects.sort_by_key(|refused| refused.0);
        assert_eq!(sorted, pieces, "rows that come one by one give other documents than together");
        Ok(whole)
    }

    fn schema(&self) -> Schema {
        let (namespace, table) = self.name.split_once('.').unwrap_or(("public", &self.name));
        let is_old = |(name, _): &&(String, Type)| !self.old.is_empty() || self.key.contains(name);
        let fields = |(name, of): &(String, Type)| of.fields(name);
        Schema {
            namespace: namespace.to_owned(),
            table: table.to_owned(),
            key: self.key.clone(),
            old: self.columns.iter().filter(is_old).flat_map(fields).collect(),
            fields: self.columns.iter().flat_map(fields).collect(),
        }
    }

    /// A column as it crosses, of these rows, and behind it a list's elements.
    #[track_caller]
    fn pushed(&self, schema: &Schema, source: Source, from: usize, to: usize) -> Vec<Buffers> {
        let of = |rows: &[Map<String, Value>], name: &str| {
            let (_, of) = self.columns.iter().find(|(known, _)| known == name).expect("a column of the schema");
            let values = (from..to).map(|row| rows.get(row).and_then(|row| row.get(name)).unwrap_or(&Value::Null));
            types::column(name, of, values)
        };
        match source {
            Source::Field(place) => of(&self.rows, &schema.fields[place as usize].name),
            Source::Old(place) => of(&self.old, &schema.old[place as usize].name),
            Source::Fact(Fact::Time) => vec![MakeNumbers::of((from..to).map(|_| Some(0i64)))],
            Source::Fact(fact) => {
                let text = match fact {
                    Fact::Op => self.op,
                    Fact::Namespace => &schema.namespace,
                    Fact::Table => &schema.table,
                    Fact::Lsn | Fact::Time => "0/1",
                };
                vec![MakeBytes::of((from..to).map(|_| Some(text)))]
            }
        }
    }
}

fn read(rows: &str) -> Vec<Map<String, Value>> {
    let rows = serde_json::Deserializer::from_str(rows).into_iter();
    rows.map(|row| row.unwrap_or_else(|error| panic!("rows are JSON objects: {error}"))).collect()
}

fn object(entries: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
}

/// What comes out of rows that are not refused.
fn collect(
    out: Vec<usize>,
    rejects: Vec<Refused>,
    from: usize,
    (many, naming): (bool, Naming),
    document: impl Fn(usize, usize) -> String,
) -> Outcome {
    let is_refused = |row: usize| rejects.iter().any(|refused| refused.0 == row + 1);
    let left = || out.iter().enumerate().filter(|(_, row)| !is_refused(**row));
    Outcome {
        documents: left().map(|(at, row)| document(at, *row)).collect(),
        sources: left().map(|(_, row)| from + row + 1).collect(),
        rejects: rejects.iter().map(|refused| Refused(from + refused.0, refused.1.clone())).collect(),
        many,
        naming,
    }
}

/// A passed column: its field and buffers, and behind them those of a list's elements.
type Passed = (Vec<Field>, Vec<Buffers>);

/// The document that comes out at a place, made from a row.
fn document(parts: &Parts<'_>, passed: &[Option<Passed>], made: &[&[Buffers]], at: usize, row: usize) -> String {
    let mut made = made.iter();
    let whole = parts.documents.then(|| types::text(made.next().expect("checked"), at));
    let entries = parts.outputs.iter().zip(passed).map(|(output, passed)| match passed {
        Some((fields, column)) => types::entry(fields, column, row),
        None => types::entry(output.fields(), made.next().expect("checked"), at),
    });
    match whole {
        None => object(entries),
        Some(whole) => {
            let inner = whole.trim().trim_start_matches('{').trim_end_matches('}').to_owned();
            let inner = (!inner.trim().is_empty()).then_some(inner);
            object(entries.collect::<Vec<_>>().into_iter().chain(inner))
        }
    }
}
