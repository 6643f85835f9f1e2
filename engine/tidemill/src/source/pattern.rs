//! Names of tables as a configuration writes them: `public.products`, `sales.*`, `"My Schema"."a.b"`.
//!
//! Names stand as they are in the catalog, not folded to lower case. Without a schema it is `public`. A `*` outside quotes
//! stands for anything.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Kind, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern {
    schema: Part,
    name: Part,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// What stands between the stars.
    Glob(Vec<String>),
}

impl TablePattern {
    /// Schema and name, where no star leaves them open.
    pub fn literal(&self) -> Option<(&str, &str)> {
        match (&self.schema, &self.name) {
            (Part::Literal(schema), Part::Literal(name)) => Some((schema, name)),
            _ => None,
        }
    }

    pub fn matches(&self, schema: &str, name: &str) -> bool {
        self.schema.matches(schema) && self.name.matches(name)
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TablePattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<TablePattern> {
        let bad = |what| Error::new(Kind::Config, format!("`{text}` is no table's name: {what}"));
        let (first, rest) = Part::take(text).map_err(bad)?;
        let (schema, name) = match rest.strip_prefix('.') {
            None => (Part::Literal("public".into()), first),
            Some(rest) => {
                let (name, rest) = Part::take(rest).map_err(bad)?;
                if !rest.is_empty() {
                    return Err(bad("write schema.table, and quote a part that has a dot: \"a.b\""));
                }
                (first, name)
            }
        };
        Ok(TablePattern { schema, name, text: text.into() })
    }
}

impl Part {
    /// The part that the text begins with, and the rest: empty, or from the dot on.
    fn take(text: &str) -> Result<(Part, &str), &'static str> {
        let Some(mut quoted) = text.strip_prefix('"') else {
            let (part, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
            let part = if part.contains('*') {
                Part::Glob(part.split('*').map(str::to_owned).collect())
            } else {
                Part::Literal(part.to_owned())
            };
            return if part == Part::Literal(String::new()) { Err("a part is empty") } else { Ok((part, rest)) };
        };
        let mut name = String::new();
        loop {
            let (part, rest) = quoted.split_once('"').ok_or("a quote is not closed")?;
            name.push_str(part);
            match rest.strip_prefix('"') {
                Some(_) => name.push('"'),
                None if name.is_empty() => return Err("a part is empty"),
                None if rest.is_empty() || rest.starts_with('.') => return Ok((Part::Literal(name), rest)),
                None => return Err("something follows a closing quote"),
            }
            quoted = &rest[1..];
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Part::Literal(literal) => literal == name,
            Part::Glob(pieces) => {
                let (first, rest) = pieces.split_first().expect("a split has a first piece");
                let (last, middle) = rest.split_last().expect("a glob has a star");
                let Some(mut open) =
                    name.strip_prefix(first.as_str()).and_then(|name| name.strip_suffix(last.as_str()))
                else {
                    return false;
                };
                for piece in middle {
                    let Some(at) = open.find(piece.as_str()) else { return false };
                    open = &open[at + piece.len()..];
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, yes, no) in [
            ("products", "public.products", "sales.products"),
            ("sales.*", "sales.a", "public.a"),
            ("*.events", "a.events", "a.event"),
            ("s.ev_*_2*", "s.ev_x_2024", "s.ev_2024"),
            ("s.a*a", "s.aa", "s.a"),
            (r#""a.b"."C""D""#, r#"a.b.C"D"#, "a.b.CD"),
            (r#"s."*""#, "s.*", "s.x"),
        ] {
            let parsed: TablePattern = pattern.parse().unwrap();
            let split = |name: &'static str| name.rsplit_once('.').unwrap();
            assert!(parsed.matches(split(yes).0, split(yes).1), "{pattern}");
            assert!(!parsed.matches(split(no).0, split(no).1), "{pattern}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "\"\".a", "a.\"\""] {
            assert!(text.parse::<TablePattern>().unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
