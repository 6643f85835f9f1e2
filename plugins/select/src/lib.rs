//! `select`: what a document consists of, and what its parts are called.
//!
//! `{"columns": ["name", "price"]}` lets these columns out, in this order; `{"columns": {"title": "name"}}` lets `name` out as
//! `title`, and `{"columns": {"full": "first || ' ' || last"}}` makes a column. A column that only passes never crosses into this
//! plugin: the plan says all about it. A name with points makes objects, which are columns of JSON that this plugin writes;
//! where nulls are dropped it writes the whole document. Names that an earlier stage gave the documents go through by themselves.

mod json;
mod shape;

use tidemill_expr::{Cell, Cells, Type, Value, fact};
use tidemill_sdk::{
    Batch, Buffers, Config, DataType, Error, Failure, Field, MakeBytes, Reject, Schema, Transform, TransformPlan,
    Transformed,
};

use crate::shape::{Content, Member, Shape};

#[derive(Debug)]
pub struct Select {
    /// The columns that it makes, in the plan's order; one object is the document where it brings whole documents.
    made: Vec<Made>,
    drop_nulls: bool,
}

#[derive(Debug)]
enum Made {
    Value(Value),
    Object(Vec<(String, Made)>),
}

/// Columns that say what a document is called.
const NAMES: [&str; 3] = ["_id", "_index", "_routing"];

impl Transform for Select {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Select, Error> {
        let Shape { members, drop_nulls } = shape::read(config.value()?)?;
        let given = given_names(plan.schema(), &members);
        let mut made = Vec::new();
        let members = match drop_nulls {
            false => members,
            true => {
                let (names, members) = members.into_iter().partition(|member| NAMES.contains(&member.name.as_str()));
                made.push(object(members, plan.schema(), plan)?);
                plan.documents();
                names
            }
        };
        for Member { name, content } in members {
            made.extend(out(name, content, plan)?);
        }
        for name in given {
            plan.pass(&name)?;
        }
        Ok(Select { made, drop_nulls })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let mut rejects = Vec::new();
        let columns = self.made.iter().map(|made| made.column(batch, self.drop_nulls, &mut rejects)).collect();
        // Of a row's faults the first counts.
        rejects.sort_by_key(|reject: &Reject| reject.row);
        rejects.dedup_by_key(|reject| reject.row);
        Ok(Transformed { rejects, ..Transformed::all(columns) })
    }
}

/// What an earlier stage calls the documents, so that no column of the table is meant, unless it is chosen anyway.
fn given_names(schema: &Schema, members: &[Member]) -> Vec<String> {
    let is_given = |field: &&Field| {
        NAMES.contains(&field.name.as_str()) && field.postgres_type.is_none() && field.extension.is_none()
    };
    let names = schema.fields.iter().filter(is_given).map(|field| field.name.clone());
    names.filter(|name| members.iter().all(|member| member.name != *name)).collect()
}

/// Plans a field of the document; what has to be made for it, if anything.
fn out(name: String, content: Content, plan: &mut TransformPlan<'_>) -> Result<Option<Made>, Error> {
    let schema = plan.schema();
    let text = match content {
        Content::Column(column) => return plan.pass_as(&column, name).map(|()| None),
        Content::Object(members) => {
            let made = object(members, schema, plan)?;
            plan.make_as(name, DataType::Utf8, Some("arrow.json"));
            return Ok(Some(made));
        }
        Content::Expression(text) => text,
    };
    match passed(&text, schema) {
        Some(Passed::Column(column)) => plan.pass_as(column, name).map(|()| None),
        Some(Passed::Fact(fact)) => {
            plan.pass_fact(fact, name);
            Ok(None)
        }
        None => {
            let value = bind(&name, &text, schema, plan)?;
            let (data_type, extension) = value.of().out();
            plan.make_as(name, data_type, extension);
            Ok(Some(Made::Value(value)))
        }
    }
}

enum Passed<'a> {
    Column(&'a str),
    Fact(tidemill_sdk::Fact),
}

/// What needs no evaluation: a column, as its name stands in the table or as SQL writes it, or a fact of the change.
fn passed<'a>(text: &str, schema: &'a Schema) -> Option<Passed<'a>> {
    let field = |name: &str| schema.fields.iter().map(|field| field.name.as_str()).find(|known| *known == name);
    let is_word = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|text| !text.contains('"'));
    if let Some(name) =
        field(text).or_else(|| field(&text.to_ascii_lowercase()).filter(|_| is_word)).or_else(|| field(quoted?))
    {
        return Some(Passed::Column(name));
    }
    let name = text.strip_prefix("change.").filter(|_| schema.table != "change")?;
    fact(name).map(Passed::Fact)
}

fn bind(name: &str, text: &str, schema: &Schema, plan: &mut TransformPlan<'_>) -> Result<Value, Error> {
    Value::bind(text, schema, plan).map_err(|refused| refused.of(&format!("column `{name}`:"), text))
}

/// An object whose parts are all read here.
fn object(members: Vec<Member>, schema: &Schema, plan: &mut TransformPlan<'_>) -> Result<Made, Error> {
    let mut parts = Vec::with_capacity(members.len());
    for Member { name, content } in members {
        let made = match content {
            Content::Object(inner) => object(inner, schema, plan)?,
            Content::Column(text) => Made::Value(column(&name, &text, schema, plan)?),
            Content::Expression(text) => match passed(&text, schema) {
                Some(Passed::Column(text)) => Made::Value(column(&name, text, schema, plan)?),
                _ => Made::Value(bind(&name, &text, schema, plan)?),
            },
        };
        parts.push((name, made));
    }
    Ok(Made::Object(parts))
}

fn column(name: &str, text: &str, schema: &Schema, plan: &mut TransformPlan<'_>) -> Result<Value, Error> {
    bind(name, &format!("\"{}\"", text.replace('"', "\"\"")), schema, plan)
}

/// A part of an object with its batch's values.
enum Part<'b> {
    Value(Cells<'b>, Type),
    Object(Vec<(&'b str, Part<'b>)>),
}

impl Made {
    fn column(&self, batch: &Batch<'_>, drop_nulls: bool, rejects: &mut Vec<Reject>) -> Buffers {
        if let Made::Value(value) = self {
            let (buffers, mut faults) = value.make(batch);
            rejects.append(&mut faults);
            return buffers;
        }
        let part = self.part(batch, rejects);
        let (mut column, mut json) = (MakeBytes::default(), Vec::new());
        for row in 0..batch.rows() {
            json.clear();
            if !part.put(row, drop_nulls, &mut json) {
                json.extend_from_slice(b"{}");
            }
            column.push(Some(&json));
        }
        column.finish()
    }

    fn part<'b>(&'b self, batch: &'b Batch<'b>, rejects: &mut Vec<Reject>) -> Part<'b> {
        match self {
            Made::Value(value) => {
                let (cells, mut faults) = value.cells(batch);
                rejects.append(&mut faults);
                Part::Value(cells, value.of())
            }
            Made::Object(parts) => {
                Part::Object(parts.iter().map(|(name, made)| (name.as_str(), made.part(batch, rejects))).collect())
            }
        }
    }
}

impl Part<'_> {
    /// Writes it; says whether there was anything to write, which a null is not where nulls are dropped.
    fn put(&self, row: usize, drop_nulls: bool, into: &mut Vec<u8>) -> bool {
        match self {
            Part::Value(cells, of) => {
                let cell = cells.get(row);
                let is_null =
                    cell == Cell::Null || matches!((cell, of), (Cell::Bytes(b"null"), Type::Json | Type::Jsonb));
                if is_null && drop_nulls {
                    return false;
                }
                json::put(cell, *of, into);
                true
            }
            Part::Object(parts) => {
                let start = into.len();
                into.push(b'{');
                for (name, part) in parts {
                    let before = into.len();
                    if before > start + 1 {
                        into.push(b',');
                    }
                    json::put_text(name, into);
                    into.push(b':');
                    if !part.put(row, drop_nulls, into) {
                        into.truncate(before);
                    }
                }
                let is_empty = into.len() == start + 1;
                into.push(b'}');
                if is_empty && drop_nulls {
                    into.truncate(start);
                }
                !(is_empty && drop_nulls)
            }
        }
    }
}

tidemill_sdk::transform!(Select);

#[cfg(test)]
mod tests;
