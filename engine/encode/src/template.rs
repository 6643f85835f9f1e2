//! Templates of names: `logs-{tenant_id}`, `{schema}-{table}`, `{id}`.
//!
//! Between braces stands a column of the table, or `schema` or `table`, which mean the table itself and no column of
//! that name. `{{` and `}}` are braces.

use std::fmt;
use std::str::FromStr;

use tidemill_change::Relation;

use crate::Error;

/// A name with columns in it; parsed, and not yet held against a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Literal(String),
    Schema,
    Table,
    Column(String),
}

impl Template {
    /// The names of the columns that stand in it, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The text, where it is the same for every row of every table.
    pub fn constant(&self) -> Option<String> {
        self.pieces.iter().try_fold(String::new(), |text, piece| match piece {
            Piece::Literal(literal) => Some(text + literal),
            _ => None,
        })
    }

    /// Whether two tables cannot share a text, as far as the template can tell: it holds `{table}`.
    pub fn tells_table(&self) -> bool {
        self.pieces.contains(&Piece::Table)
    }

    /// Whether the table has every column that the template names.
    pub fn check(&self, relation: &Relation) -> Result<(), Error> {
        self.columns().try_for_each(|name| column(&self.text, name, relation).map(drop))
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

/// A template's column in the table, or the error that lists those it has.
pub(crate) fn column(template: &str, name: &str, relation: &Relation) -> Result<usize, Error> {
    relation.column(name).ok_or_else(|| {
        let known: Vec<_> = relation.columns.iter().map(|column| format!("`{}`", column.name)).collect();
        Error::template(format!(
            "`{template}` names the column `{name}`, which {relation} does not have: it has {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ))
    })
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Template, Error> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                literal.push_str(&brace[..1]);
                rest = after;
                continue;
            }
            let Some((name, after)) = brace.strip_prefix('{').and_then(|open| open.split_once('}')) else {
                return Err(unbalanced(text, brace.starts_with('{')));
            };
            if name.is_empty() || name.contains('{') {
                return Err(Error::template(format!("`{text}` has braces without a column's name: `{{{{` is a brace")));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(match name {
                "schema" => Piece::Schema,
                "table" => Piece::Table,
                _ => Piece::Column(name.to_owned()),
            });
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        if pieces.is_empty() {
            return Err(Error::template("a template cannot be empty"));
        }
        Ok(Template { text: text.to_owned(), pieces })
    }
}

fn unbalanced(text: &str, open: bool) -> Error {
    let message = match open {
        true => format!("`{text}` has a `{{` that no `}}` closes: `{{{{` is a brace"),
        false => format!("`{text}` has a `}}` that no `{{` opens: `}}}}` is a brace"),
    };
    Error::template(message)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_change::{Column, Kind, ReplicaIdentity, TableId};

    use super::*;

    fn parse(text: &str) -> Result<Vec<Piece>, String> {
        text.parse::<Template>().map(|template| template.pieces).map_err(|error| error.to_string())
    }

    #[test]
    fn templates() {
        let literal = |text: &str| Piece::Literal(text.into());
        let column = |name: &str| Piece::Column(name.into());
        for (text, pieces) in [
            ("products", vec![literal("products")]),
            ("{id}", vec![column("id")]),
            ("logs-{tenant_id}", vec![literal("logs-"), column("tenant_id")]),
            ("{schema}-{table}", vec![Piece::Schema, literal("-"), Piece::Table]),
            ("a{{b}}{c d}{{", vec![literal("a{b}"), column("c d"), literal("{")]),
        ] {
            assert_eq!(parse(text), Ok(pieces));
        }
    }

    #[test]
    fn what_is_no_template_is_named() {
        for (text, error) in [
            ("", "a template cannot be empty"),
            ("a{b", "`a{b` has a `{` that no `}` closes: `{{` is a brace"),
            ("a}b", "`a}b` has a `}` that no `{` opens: `}}` is a brace"),
            ("{}", "`{}` has braces without a column's name: `{{` is a brace"),
            ("{a{b}", "`{a{b}` has braces without a column's name: `{{` is a brace"),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()));
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let columns = ["id", "name"].map(|name| Column {
            name: name.into(),
            type_oid: 25,
            type_modifier: -1,
            kind: Kind::Text,
            identity: false,
        });
        let relation = Relation::new(TableId(1), "public", "p", ReplicaIdentity::Default, columns.into());
        let check = |text: &str| text.parse::<Template>().unwrap().check(&relation);
        assert!(check("{schema}-{table}-{id}").is_ok());
        let error = check("t-{tenant}").unwrap_err();
        assert!(error.is_template());
        assert_eq!(
            error.to_string(),
            "`t-{tenant}` names the column `tenant`, which public.p does not have: it has `id`, `name`"
        );
    }
}
