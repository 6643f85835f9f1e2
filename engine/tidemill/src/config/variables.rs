//! Variables: `${VAR}`, `${VAR:-default}` and `$${`, which stands for `${` itself. They are filled after the YAML is parsed,
//! so that no value can change the file's shape, and percent-encoded inside a URL's user part, so that a password may hold
//! any character.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::tree::{Fault, Node, Value};

/// Where variables come from; the process gives its environment, a test what it likes.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Fills the variables of every value below `node`.
pub(super) fn fill(node: &mut Node, lookup: Lookup<'_>) -> Result<(), Fault> {
    match &mut node.value {
        Value::Scalar(scalar) => {
            if scalar.text.contains("${") {
                scalar.text = fill_text(&scalar.text, lookup).map_err(|message| Fault::new(node.at, message))?;
                scalar.filled = true;
            }
            Ok(())
        }
        Value::List(items) => {
            items.iter_mut().enumerate().try_for_each(|(i, item)| fill(item, lookup).map_err(|f| f.under_index(i)))
        }
        Value::Map(entries) => {
            entries.iter_mut().try_for_each(|(key, node)| fill(node, lookup).map_err(|f| f.under(&key.name)))
        }
    }
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Literal(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
}

fn fill_text(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let pieces = parse(text)?;
    let user_part = user_part(&pieces);
    let mut filled = String::new();
    for (i, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Literal(literal) => filled.push_str(literal),
            Piece::Variable { name, default } => {
                // As in a shell, `:-` also stands in for an empty one.
                let value = lookup(name).filter(|value| default.is_none() || !value.is_empty());
                let value = value.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
                    format!("the variable `{name}` is not set: set it, or give a default as in ${{{name}:-value}}")
                })?;
                if user_part.contains(&i) {
                    filled.extend(utf8_percent_encode(&value, NON_ALPHANUMERIC));
                } else {
                    filled.push_str(&value);
                }
            }
        }
    }
    Ok(filled)
}

fn parse(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            // `$${`: the first `$` goes, what it protected stays.
            pieces.extend([Piece::Literal(&rest[..start - 1]), Piece::Literal("${")]);
            rest = &rest[start + 2..];
            continue;
        }
        pieces.push(Piece::Literal(&rest[..start]));
        let inner = &rest[start + 2..];
        let Some(end) = inner.find('}') else {
            return Err("`${` without its `}`: write $${ where the two characters themselves are meant".to_owned());
        };
        let (name, default) = match inner[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&inner[..end], None),
        };
        let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !legal {
            return Err(format!(
                "`${{{name}}}` is no variable: a name is letters, digits and `_`; write $${{ where the characters themselves are meant"
            ));
        }
        pieces.push(Piece::Variable { name, default });
        rest = &inner[end + 1..];
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

/// The pieces that stand in the user part of a URL, `scheme://HERE@host`.
fn user_part(pieces: &[Piece<'_>]) -> std::ops::Range<usize> {
    let Some(Piece::Literal(first)) = pieces.first() else { return 0..0 };
    let Some((scheme, rest)) = first.split_once("://") else { return 0..0 };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return 0..0;
    }
    // The authority ends at the first of `/?#`; the user part at its last `@`. Both stand in literals.
    let mut end = 0;
    for (i, piece) in pieces.iter().enumerate() {
        let Piece::Literal(literal) = piece else { continue };
        let literal = if i == 0 { rest } else { literal };
        let authority = literal.find(['/', '?', '#']);
        if literal[..authority.unwrap_or(literal.len())].contains('@') {
            end = i;
        }
        if authority.is_some() {
            break;
        }
    }
    0..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "A" => "alpha",
            "EMPTY" => "",
            "PW" => "p@ss/w:rd?#%",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn variables_are_filled() {
        let cases = [
            ("${A}", "alpha"),
            ("x${A}y${A}", "xalphayalpha"),
            ("${B:-beta}", "beta"),
            ("${B:-}", ""),
            ("${EMPTY}", ""),
            ("${EMPTY:-full}", "full"),
            ("${A:-b:-c}", "alpha"),
            ("${B:-b:-c}", "b:-c"),
            ("$${A}", "${A}"),
            ("$${A} ${A} $${", "${A} alpha ${"),
            ("$A $ {A} $$", "$A $ {A} $$"),
            ("${PW}", "p@ss/w:rd?#%"),
        ];
        for (text, expected) in cases {
            assert_eq!(fill_text(text, &lookup).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_urls_user_part_is_encoded_and_nothing_else() {
        let encoded = "p%40ss%2Fw%3Ard%3F%23%25";
        let cases = [
            ("postgres://u:${PW}@h/db", format!("postgres://u:{encoded}@h/db")),
            ("postgres://${PW}:${PW}@h/${A}", format!("postgres://{encoded}:{encoded}@h/alpha")),
            ("postgres://u@${A}:5432/db?x=${PW}", "postgres://u@alpha:5432/db?x=p@ss/w:rd?#%".to_owned()),
            ("postgres://${A}/db?user=x@y", "postgres://alpha/db?user=x@y".to_owned()),
            ("http://${A}.example/${A}@x", "http://alpha.example/alpha@x".to_owned()),
            ("see http://u:${PW}@h", "see http://u:p@ss/w:rd?#%@h".to_owned()),
        ];
        for (text, expected) in cases {
            assert_eq!(fill_text(text, &lookup), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_is_named() {
        let cases = [
            ("${NOPE}", "the variable `NOPE` is not set"),
            ("${A", "`${` without its `}`"),
            ("${}", "`${}` is no variable"),
            ("${A-b}", "`${A-b}` is no variable"),
            ("${1A}", "`${1A}` is no variable"),
        ];
        for (text, expected) in cases {
            let error = fill_text(text, &lookup).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
