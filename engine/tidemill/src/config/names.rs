//! Names that other systems set rules for, parsed once: slots, indices, tables and their patterns, and the templates that
//! make names out of rows.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The longest name of a Postgres object, in bytes (`NAMEDATALEN - 1`).
const POSTGRES_NAME_BYTES_MAX: usize = 63;
/// The longest name of an index, in bytes, as Elasticsearch and OpenSearch have it.
const INDEX_BYTES_MAX: usize = 255;
/// Long enough for people, short enough for labels and file names.
const STREAM_NAME_BYTES_MAX: usize = 63;

/// A replication slot's name, legal for Postgres.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotName(String);

impl SlotName {
    pub fn parse(name: &str) -> Result<SlotName, String> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > POSTGRES_NAME_BYTES_MAX || !name.bytes().all(legal) {
            return Err(format!(
                "`{name}` is no name for a slot: Postgres takes a-z, 0-9 and _, up to {POSTGRES_NAME_BYTES_MAX} of them"
            ));
        }
        Ok(SlotName(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SlotName {
    type Err = Error;

    fn from_str(name: &str) -> Result<SlotName, Error> {
        SlotName::parse(name).map_err(Error::usage)
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A publication may have any name that a Postgres object may have.
pub(super) fn check_publication(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > POSTGRES_NAME_BYTES_MAX || name.contains('\0') {
        return Err(format!("`{name}` is no name for a publication: 1 to {POSTGRES_NAME_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// The name of a stream or a sink: it stands in labels, commands and the state.
pub(super) fn check_own_name(what: &str, name: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts || name.len() > STREAM_NAME_BYTES_MAX || !name.bytes().all(legal) {
        return Err(format!(
            "`{name}` is no name for a {what}: letters, digits, `_`, `-` and `.`, beginning with a letter or digit, up to {STREAM_NAME_BYTES_MAX}"
        ));
    }
    Ok(())
}

/// What the servers forbid in an index's name. A template's literal parts obey it too, wherever they stand.
fn check_index_part(part: &str) -> Result<(), String> {
    if let Some(bad) = part.chars().find(|c| r#"\/*?"<>| ,#:"#.contains(*c) || c.is_control()) {
        return Err(format!("the server forbids {bad:?} in an index's name: leave it out"));
    }
    if part.chars().any(char::is_uppercase) {
        return Err(format!("an index's name must be lowercase: write `{}`", part.to_lowercase()));
    }
    Ok(())
}

/// Whether the servers take this as the name of an index. For templates it is asked again when the name is known.
pub fn check_index_name(name: &str) -> Result<(), String> {
    check_index_part(name)?;
    if name.is_empty() {
        return Err("an index needs a name".to_owned());
    }
    if name.starts_with(['-', '_', '+']) {
        return Err(format!(
            "`{name}` begins with `-`, `_` or `+`, which the server forbids for an index: begin with a letter"
        ));
    }
    if name == "." || name == ".." {
        return Err(format!("`{name}` is no name for an index"));
    }
    if name.len() > INDEX_BYTES_MAX {
        return Err(format!("an index's name has at most {INDEX_BYTES_MAX} bytes, this one has {}", name.len()));
    }
    Ok(())
}

/// Whether indices can be granted by this: a name in which `*` stands for any text, but not at its beginning, where it would
/// be of other people's indices too.
pub fn check_index_pattern(pattern: &str) -> Result<(), String> {
    if pattern.starts_with('*') {
        return Err(format!("`{pattern}` is of everybody's indices: let it begin with letters, for instance `logs-*`"));
    }
    check_index_name(&pattern.replace('*', ""))
}

/// Text with `{name}` where a value goes in; `{{` and `}}` stand for the braces themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    source: String,
    parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TemplatePart {
    Literal(String),
    /// A column, or for an index `schema` or `table`.
    Field(String),
}

impl Template {
    pub fn parse(source: &str) -> Result<Template, String> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(doubled) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = doubled;
                continue;
            }
            let Some((name, after)) = after.split_once('}').filter(|_| brace == "{") else {
                return Err(format!(
                    "`{brace}` stands alone: a value is written {{name}}, the brace itself {brace}{brace}"
                ));
            };
            if name.is_empty() || name.contains('{') {
                return Err("a value in a template is written {name}".to_owned());
            }
            if !literal.is_empty() {
                parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
            }
            parts.push(TemplatePart::Field(name.to_owned()));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(literal));
        }
        Ok(Template { source: source.to_owned(), parts })
    }

    pub(super) fn parse_index(source: &str) -> Result<Template, String> {
        let template = Template::parse(source)?;
        for part in &template.parts {
            match part {
                TemplatePart::Literal(literal) => check_index_part(literal)?,
                TemplatePart::Field(name) if name == "schema" || name == "table" => {}
                TemplatePart::Field(name) => {
                    return Err(format!(
                        "an index is named by {{schema}} and {{table}} alone, not by {{{name}}}: \
                         an index by the row's values is not there yet"
                    ));
                }
            }
        }
        // With the shortest names that tables can have, what remains wrong is wrong for all.
        check_index_name(&template.render(|_| "t".to_owned()))?;
        Ok(template)
    }

    /// One that gives each row an id of its own: values are escaped by what stands between them.
    pub(super) fn parse_id(source: &str) -> Result<Template, String> {
        let template = Template::parse(source)?;
        for parts in template.parts.windows(2) {
            if let [TemplatePart::Field(a), TemplatePart::Field(b)] = parts {
                return Err(format!(
                    "two rows could have one id, since nothing tells where {{{a}}} ends and {{{b}}} begins: put a sign between \
                     them, as in \"{{{a}}}-{{{b}}}\""
                ));
            }
        }
        for parts in template.parts.windows(3) {
            if let [TemplatePart::Field(a), TemplatePart::Literal(joint), TemplatePart::Field(b)] = parts
                && joint.starts_with('%')
            {
                return Err(format!(
                    "a `%` behind {{{a}}} could be taken for an escaped sign of its value: begin with another sign what stands \
                     between {{{a}}} and {{{b}}}"
                ));
            }
        }
        Ok(template)
    }

    pub fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Field(name) => Some(name.as_str()),
            TemplatePart::Literal(_) => None,
        })
    }

    pub fn render(&self, value: impl Fn(&str) -> String) -> String {
        let part = |part: &TemplatePart| match part {
            TemplatePart::Literal(literal) => literal.clone(),
            TemplatePart::Field(name) => value(name),
        };
        self.parts.iter().map(part).collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// A table by name, or several by a pattern in which `*` stands for any characters. Names are taken as they are in the
/// catalog, letter case included; a name that holds a dot, a star or a quote is put in double quotes as in SQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TablePattern {
    source: String,
    schema: NamePattern,
    table: NamePattern,
}

/// The pieces between the stars; one piece is a name.
type NamePattern = Vec<String>;

impl TablePattern {
    /// Without a schema it is `public`.
    pub fn parse(source: &str) -> Result<TablePattern, String> {
        let refuse = |why: &str| {
            format!("`{source}` names no table: {why}; write it as public.products, sales.* or \"My Schema\".\"a.b\"")
        };
        let mut names = Vec::new();
        let mut rest = source;
        loop {
            let (name, after) = parse_name(rest).map_err(refuse)?;
            names.push(name);
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
        let mut names = names.into_iter();
        match (names.next(), names.next(), names.next()) {
            (Some(table), None, None) => {
                Ok(TablePattern { source: source.to_owned(), schema: vec!["public".to_owned()], table })
            }
            (Some(schema), Some(table), None) => Ok(TablePattern { source: source.to_owned(), schema, table }),
            _ => Err(refuse("there is a schema and a table, no more")),
        }
    }

    pub fn matches(&self, schema: &str, table: &str) -> bool {
        matches(&self.schema, schema) && matches(&self.table, table)
    }

    /// Schema and table, where it is no pattern but a name.
    pub fn name(&self) -> Option<(&str, &str)> {
        match (self.schema.as_slice(), self.table.as_slice()) {
            ([schema], [table]) => Some((schema, table)),
            _ => None,
        }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Reads one name, and what follows its dot.
fn parse_name(text: &str) -> Result<(NamePattern, Option<&str>), &'static str> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let Some((part, after)) = rest.split_once('"') else { return Err("a quote is not closed") };
            name.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    name.push('"');
                    rest = after;
                }
                None if name.is_empty() => return Err("a name is empty"),
                None if after.is_empty() => return Ok((vec![name], None)),
                None => {
                    let after = after.strip_prefix('.').ok_or("after a closing quote comes a dot or the end")?;
                    return Ok((vec![name], Some(after)));
                }
            }
        }
    }
    let (name, after) = match text.split_once('.') {
        Some((name, after)) => (name, Some(after)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("a name is empty");
    }
    if name.contains('"') {
        return Err("a quote stands inside a name");
    }
    if name.trim() != name {
        return Err("a name begins or ends with a space");
    }
    Ok((name.split('*').map(str::to_owned).collect(), after))
}

fn matches(pattern: &[String], name: &str) -> bool {
    let [first, middle @ .., last] = pattern else { return pattern.iter().all(|piece| piece == name) };
    let Some(mut rest) = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
        return false;
    };
    // The earliest place for each piece leaves the most for those that follow.
    middle.iter().all(|piece| match rest.find(piece.as_str()) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_named_as_postgres_wants() {
        let long = "a".repeat(63);
        for good in ["tidemill", "t_1", "1", &long] {
            assert!(SlotName::parse(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "Tide", "a-b", "a b", "ä", &too_long] {
            assert!(SlotName::parse(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn index_names_obey_the_servers_rules() {
        let (long, too_long) = ("a".repeat(255), "a".repeat(256));
        for good in ["products", "a", "logs-2024.01", ".hidden", "é", "a_b+c", &long] {
            assert_eq!(check_index_name(good), Ok(()), "{good}");
        }
        for bad in [
            "", ".", "..", "-a", "_a", "+a", "A", "É", "a b", "a/b", "a\\b", "a*", "a?", "a\"", "a<", "a>", "a|", "a,",
            "a#", "a:b", &too_long,
        ] {
            assert!(check_index_name(bad).is_err(), "{bad}");
        }
        for good in ["{schema}-{table}", "{table}", "x-{table}"] {
            assert!(Template::parse_index(good).is_ok(), "{good}");
        }
        for bad in ["X-{table}", "-{table}", "_{table}", "{id}", "{table}:x", "{table", "{}", "}"] {
            assert!(Template::parse_index(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn templates_have_literals_and_fields() {
        let template = Template::parse("a{{b}}-{tenant id}/{id}").unwrap();
        assert_eq!(template.fields().collect::<Vec<_>>(), ["tenant id", "id"]);
        assert_eq!(template.render(|name| name.to_uppercase()), "a{b}-TENANT ID/ID");
        assert_eq!(Template::parse("{a}{b}").unwrap().parts().len(), 2);
        for bad in ["{", "}", "{a", "a}", "{}", "{a{b}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tables_are_named_or_matched() {
        let cases = [
            ("public.products", "public", "products", true),
            ("products", "public", "products", true),
            ("products", "sales", "products", false),
            ("public.Products", "public", "products", false),
            ("sales.*", "sales", "orders", true),
            ("sales.*", "sale", "orders", false),
            ("*.*", "x", "y", true),
            ("s.a*b*c", "s", "aXbXbXc", true),
            ("s.a*b*c", "s", "abc", true),
            ("s.a*b*c", "s", "acb", false),
            ("s.a*a", "s", "a", false),
            ("s.a*a", "s", "aa", true),
            ("*.events", "a", "event", false),
            ("s.ev_*_2*", "s", "ev_x_2024", true),
            ("s.ev_*_2*", "s", "ev_2024", false),
            ("s.\"*\"", "s", "x", false),
            ("\"My Schema\".\"a.b*\"", "My Schema", "a.b*", true),
            ("\"My Schema\".\"a.b*\"", "My Schema", "a.bc", false),
            ("s.\"say \"\"hi\"\"\"", "s", "say \"hi\"", true),
        ];
        for (pattern, schema, table, expected) in cases {
            assert_eq!(TablePattern::parse(pattern).unwrap().matches(schema, table), expected, "{pattern}");
        }
        assert_eq!(TablePattern::parse("a.b").unwrap().name(), Some(("a", "b")));
        assert_eq!(TablePattern::parse("a.*").unwrap().name(), None);
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"\".b", "a\"b", "\"a\"b", " a", "a .b"] {
            assert!(TablePattern::parse(bad).unwrap_err().contains("names no table"), "{bad}");
        }
    }
}
