//! What a document shall consist of, as the configuration says it: names in order, with objects in objects.

use serde_json::Value as Json;
use tidemill_sdk::Error;

/// One field of a document or of an object in it.
#[derive(Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) content: Content,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    /// A column by its very name.
    Column(String),
    /// An expression, or a column's name.
    Expression(String),
    Object(Vec<Member>),
}

#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) members: Vec<Member>,
    pub(crate) drop_nulls: bool,
}

const SHAPE: &str =
    "`columns` is a list of columns, or a map from the document's names to columns, expressions and constants";

pub(crate) fn read(config: Json) -> Result<Shape, Error> {
    let Json::Object(mut config) = config else { return Err(SHAPE.into()) };
    let columns = config.remove("columns");
    let drop_nulls = match config.remove("drop_nulls") {
        None => false,
        Some(Json::Bool(is)) => is,
        Some(_) => return Err("`drop_nulls` is true or false".into()),
    };
    if let Some(key) = config.keys().next() {
        return Err(format!("select has no setting `{key}`; there are `columns` and `drop_nulls`").into());
    }
    let mut members = Vec::new();
    match columns {
        Some(Json::Array(names)) => {
            for name in names {
                let Json::String(name) = name else { return Err(SHAPE.into()) };
                add(&mut members, &name, &[name.as_str()], Content::Column(name.clone()))?;
            }
        }
        Some(Json::Object(map)) => {
            for (name, value) in map {
                let path: Vec<&str> = name.split('.').collect();
                add(&mut members, &name, &path, content(&name, value)?)?;
            }
        }
        _ => return Err(SHAPE.into()),
    }
    if members.is_empty() {
        return Err("`columns` is empty: a document needs one column at least".into());
    }
    Ok(Shape { members, drop_nulls })
}

/// Numbers and booleans of the configuration are constants; a text is an expression, in which a constant text has quotes.
fn content(name: &str, value: Json) -> Result<Content, Error> {
    Ok(match value {
        Json::String(text) => Content::Expression(text),
        Json::Number(number) => Content::Expression(number.to_string()),
        Json::Bool(is) => Content::Expression(is.to_string()),
        Json::Null => return Err(format!("`{name}` is null: leave it out").into()),
        Json::Array(_) | Json::Object(_) => {
            return Err(
                format!("`{name}` is a list or a map: {SHAPE}; what is nested is written `{name}.part: …`").into()
            );
        }
    })
}

/// Puts a field to its place, in objects that are made as they are named.
fn add(members: &mut Vec<Member>, whole: &str, path: &[&str], content: Content) -> Result<(), Error> {
    let (first, rest) = path.split_first().expect("a name has a part");
    if first.is_empty() {
        return Err(format!("`{whole}` has an empty part").into());
    }
    let known = members.iter_mut().find(|member| member.name == *first);
    match (known, rest) {
        (None, []) => members.push(Member { name: (*first).to_owned(), content }),
        (None, rest) => {
            let mut inner = Vec::new();
            add(&mut inner, whole, rest, content)?;
            members.push(Member { name: (*first).to_owned(), content: Content::Object(inner) });
        }
        (Some(Member { content: Content::Object(inner), .. }), [_, ..]) => add(inner, whole, rest, content)?,
        (Some(_), []) => return Err(format!("column `{whole}` is named twice").into()),
        (Some(_), _) => return Err(format!("`{whole}` is a part of `{first}`, which is a value itself").into()),
    }
    Ok(())
}
