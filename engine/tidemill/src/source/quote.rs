//! Identifiers and literals as SQL and the replication grammar take them.

/// `name` as a quoted identifier.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name`, both quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// `text` as a string literal, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Identifiers, quoted, with commas between.
pub fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_cannot_break_out() {
        assert_eq!(ident(r#"a"b"#), r#""a""b""#);
        assert_eq!(qualified("My Schema", "T"), r#""My Schema"."T""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\' b"), r" E'a\\'' b'");
        assert_eq!(idents(["a", "B"]), r#""a", "B""#);
    }
}
