//! What a table's columns are, as a case's `schema.json` and a capture's first line say it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidemill_change::{ElementKind, Kind};

/// The first oid that no built-in type has: what is not built in gets one from here on.
const FIRST_OWN_OID: u32 = 16_384;

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `schema.name`, or the name of a table in `public`.
    pub table: String,
    pub columns: Vec<Column>,
    /// The columns of its key, by name; where it is not said: the column `id`, else the first one.
    #[serde(default)]
    pub key: Vec<String>,
    #[serde(default)]
    pub identity: Identity,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// As SQL or the catalog calls it: `bigint`, `int8`, `text[]`, `numeric(10,2)`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How it crosses, for a type that is not built in: an enum is `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oid: Option<u32>,
}

/// What an old image tells: the replica identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    #[default]
    Key,
    Full,
}

/// Names of the built-in types, SQL's and the catalog's, with their oids.
const TYPES: &[(&str, u32)] = &[
    ("bool", 16),
    ("boolean", 16),
    ("bytea", 17),
    ("char", 18),
    ("name", 19),
    ("int8", 20),
    ("bigint", 20),
    ("int2", 21),
    ("smallint", 21),
    ("int4", 23),
    ("integer", 23),
    ("int", 23),
    ("text", 25),
    ("oid", 26),
    ("json", 114),
    ("xml", 142),
    ("point", 600),
    ("cidr", 650),
    ("float4", 700),
    ("real", 700),
    ("float8", 701),
    ("double precision", 701),
    ("money", 790),
    ("macaddr", 829),
    ("inet", 869),
    ("bpchar", 1042),
    ("character", 1042),
    ("varchar", 1043),
    ("character varying", 1043),
    ("date", 1082),
    ("time", 1083),
    ("time without time zone", 1083),
    ("timestamp", 1114),
    ("timestamp without time zone", 1114),
    ("timestamptz", 1184),
    ("timestamp with time zone", 1184),
    ("interval", 1186),
    ("timetz", 1266),
    ("time with time zone", 1266),
    ("bit", 1560),
    ("varbit", 1562),
    ("numeric", 1700),
    ("decimal", 1700),
    ("uuid", 2950),
    ("tsvector", 3614),
    ("jsonb", 3802),
    ("int4range", 3904),
    ("numrange", 3906),
    ("tsrange", 3908),
    ("tstzrange", 3910),
    ("daterange", 3912),
    ("int8range", 3926),
];

/// Arrays of them: the oid of the element, and of the array.
const ARRAYS: &[(u32, u32)] = &[
    (16, 1000),
    (18, 1002),
    (19, 1003),
    (21, 1005),
    (23, 1007),
    (25, 1009),
    (1042, 1014),
    (1043, 1015),
    (20, 1016),
    (700, 1021),
    (701, 1022),
    (26, 1028),
    (1700, 1231),
    (114, 199),
    (3802, 3807),
    (2950, 2951),
];

/// The kinds by the names that files have for them.
const KINDS: &[(&str, Kind)] = &[
    ("bool", Kind::Bool),
    ("int2", Kind::Int2),
    ("int4", Kind::Int4),
    ("int8", Kind::Int8),
    ("oid", Kind::Oid),
    ("float4", Kind::Float4),
    ("float8", Kind::Float8),
    ("numeric", Kind::Numeric),
    ("text", Kind::Text),
    ("uuid", Kind::Uuid),
    ("json", Kind::Json),
    ("jsonb", Kind::Jsonb),
    ("bytea", Kind::Bytea),
    ("date", Kind::Date),
    ("timestamp", Kind::Timestamp),
    ("timestamptz", Kind::TimestampTz),
    ("time", Kind::Time),
    ("other", Kind::Other),
    ("bool[]", Kind::Array(ElementKind::Bool)),
    ("numeric[]", Kind::Array(ElementKind::Number)),
    ("json[]", Kind::Array(ElementKind::Json)),
    ("text[]", Kind::Array(ElementKind::Text)),
];

/// A column's type as the engine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) oid: u32,
    pub(super) kind: Kind,
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(_, of)| *of == kind).map_or("other", |(name, _)| name)
}

#[cfg(test)]
pub(super) fn kind_names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

impl Table {
    /// Reads what a file says, and holds it together: types that there are, columns that are named once.
    pub(super) fn parse(text: &str) -> Result<Table, String> {
        let table: Table = serde_json::from_str(text).map_err(|error| error.to_string())?;
        table.completed()
    }

    pub(super) fn completed(mut self) -> Result<Table, String> {
        if self.columns.is_empty() {
            return Err("`columns` is empty: a table has one column at least".to_owned());
        }
        for (at, column) in self.columns.iter().enumerate() {
            if self.columns[..at].iter().any(|other| other.name == column.name) {
                return Err(format!("column `{}` is there twice", column.name));
            }
            column.resolve(at)?;
        }
        if self.key.is_empty() {
            let first = &self.columns[0].name;
            self.key = vec![if self.place("id").is_some() { "id".to_owned() } else { first.clone() }];
        }
        match self.key.iter().find(|name| self.place(name).is_none()) {
            Some(name) => Err(format!("`key` names `{name}`, and there is no such column")),
            None => Ok(self),
        }
    }

    /// What rows that somebody wrote down look like, where nobody said it: whole numbers are bigint, others numeric, and so on.
    pub(super) fn inferred<'a>(rows: impl Iterator<Item = &'a Map<String, Value>>) -> Result<Table, String> {
        let mut columns: Vec<(String, Option<&str>)> = Vec::new();
        for (name, value) in rows.flatten() {
            let seen = match value {
                Value::Null => None,
                Value::Bool(_) => Some("boolean"),
                Value::Number(number) if number.is_i64() => Some("bigint"),
                Value::Number(_) => Some("numeric"),
                Value::String(_) => Some("text"),
                Value::Array(_) | Value::Object(_) => Some("jsonb"),
            };
            let column = match columns.iter_mut().find(|(known, _)| known == name) {
                Some(column) => column,
                None => columns.push_mut((name.clone(), None)),
            };
            column.1 = match (column.1, seen) {
                (known, None) => known,
                (None, seen) => seen,
                (Some("bigint"), Some("numeric")) => Some("numeric"),
                (Some("numeric"), Some("bigint")) => Some("numeric"),
                (Some(known), Some(seen)) if known == seen => Some(known),
                (Some(known), Some(seen)) => {
                    let message = format!(
                        "column `{name}` is {known} in one row and {seen} in another: say its type in schema.json"
                    );
                    return Err(message);
                }
            };
        }
        let column = |(name, type_name): (String, Option<&str>)| Column {
            name,
            type_name: type_name.unwrap_or("text").to_owned(),
            kind: None,
            oid: None,
        };
        let columns = columns.into_iter().map(column).collect();
        Table { table: "public.rows".to_owned(), columns, key: Vec::new(), identity: Identity::Key }.completed()
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub(super) fn types(&self) -> Vec<Type> {
        let resolve = |(at, column): (usize, &Column)| column.resolve(at).expect("held together when it was read");
        self.columns.iter().enumerate().map(resolve).collect()
    }

    /// The places of the key's columns.
    pub(super) fn key_places(&self) -> Vec<usize> {
        self.key.iter().filter_map(|name| self.place(name)).collect()
    }

    /// Its schema and its name.
    pub(super) fn names(&self) -> (&str, &str) {
        self.table.split_once('.').unwrap_or(("public", &self.table))
    }
}

impl Column {
    fn resolve(&self, at: usize) -> Result<Type, String> {
        let built_in = built_in(&self.type_name);
        let own = self.oid.unwrap_or(FIRST_OWN_OID + at as u32);
        match (&self.kind, built_in) {
            (None, Some(oid)) => Ok(Type { oid, kind: Kind::from_oid(oid) }),
            (Some(kind), _) => match KINDS.iter().find(|(name, _)| name == kind) {
                Some((_, kind)) => Ok(Type { oid: self.oid.or(built_in).unwrap_or(own), kind: *kind }),
                None => {
                    let known: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
                    Err(format!("column `{}`: there is no kind `{kind}`: there are {}", self.name, known.join(", ")))
                }
            },
            (None, None) => {
                let names = TYPES.iter().map(|(name, _)| (strsim::jaro_winkler(name, &self.type_name), *name));
                let near = names.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.8);
                let near = near.map_or(String::new(), |(_, name)| format!("did you mean `{name}`? "));
                Err(format!(
                    "column `{}`: no built-in type is called `{}`: {near}A type of your own needs its kind beside it, an enum \
                     for instance `\"kind\": \"text\"`",
                    self.name, self.type_name
                ))
            }
        }
    }
}

/// The oid of a built-in type, whatever stands in parentheses.
fn built_in(name: &str) -> Option<u32> {
    let name = name.trim().to_ascii_lowercase();
    let element = name.strip_suffix("[]").or_else(|| name.strip_prefix('_'));
    let plain = without_modifier(element.unwrap_or(&name));
    let oid = TYPES.iter().find(|(known, _)| *known == plain)?.1;
    match element {
        None => Some(oid),
        Some(_) => ARRAYS.iter().find(|(of, _)| *of == oid).map(|(_, array)| *array),
    }
}

/// `numeric(10,2)` is `numeric`, `timestamp(3) with time zone` is `timestamp with time zone`.
fn without_modifier(name: &str) -> String {
    match (name.find('('), name.find(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", name[..open].trim_end(), &name[close + 1..]),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_by_all_their_names() {
        let oids = |names: &[&str]| names.iter().map(|name| built_in(name).unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(oids(&["bigint", "int8", "BIGINT"]), [20; 3]);
        assert_eq!(oids(&["numeric(10,2)", "decimal", "timestamp(3) with time zone"]), [1700, 1700, 1184]);
        assert_eq!(oids(&["text[]", "_text", "numeric(4,1)[]", "character varying(20)[]"]), [1009, 1009, 1231, 1015]);
        assert_eq!(built_in("mood"), None);
    }

    #[test]
    fn what_is_wrong_in_a_schema_is_named() {
        let refused = |text: &str, words: &[&str]| {
            let error = Table::parse(text).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        };
        refused(r#"{"table": "t", "columns": []}"#, &["columns"]);
        refused(r#"{"table": "t", "columns": [{"name": "a", "type": "bigin"}]}"#, &["`a`", "bigin", "bigint"]);
        refused(r#"{"table": "t", "columns": [{"name": "a", "type": "mood"}]}"#, &["mood", "kind"]);
        refused(r#"{"table": "t", "columns": [{"name": "a", "type": "mood", "kind": "txt"}]}"#, &["txt", "text"]);
        let twice = r#"{"table": "t", "columns": [{"name": "a", "type": "text"}, {"name": "a", "type": "text"}]}"#;
        refused(twice, &["`a`", "twice"]);
        refused(r#"{"table": "t", "key": ["b"], "columns": [{"name": "a", "type": "text"}]}"#, &["key", "`b`"]);
        refused(r#"{"table": "t", "colums": []}"#, &["colums"]);
    }

    #[test]
    fn rows_tell_their_types() {
        let rows: Vec<Map<String, Value>> =
            [r#"{"n": 1, "x": 1, "s": null, "tags": ["a"]}"#, r#"{"n": 2, "x": 1.5, "s": "t", "b": true, "z": null}"#]
                .iter()
                .map(|row| serde_json::from_str(row).unwrap())
                .collect();
        let table = Table::inferred(rows.iter()).unwrap();
        let told: Vec<_> = table.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
        assert_eq!(told, ["n bigint", "x numeric", "s text", "tags jsonb", "b boolean", "z text"]);
        assert_eq!(table.key, ["n"]);
        let mixed: Map<String, Value> = serde_json::from_str(r#"{"n": "one"}"#).unwrap();
        assert!(Table::inferred(rows.iter().chain([&mixed])).unwrap_err().contains("`n` is bigint in one row"));
    }
}
