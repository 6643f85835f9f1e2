//! What cannot be judged as Postgres would, and where it stands.

use sqlparser::tokenizer::Location;
use tidemill_sdk::Error;

/// What is wrong, and where in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    at: Location,
    message: String,
    /// Postgres' code, where it would refuse it for every row.
    code: Option<&'static str>,
}

impl Refused {
    pub(crate) fn at(at: Location, message: impl Into<String>) -> Refused {
        Refused { at, message: message.into(), code: None }
    }

    pub(crate) fn with_code(self, code: &'static str) -> Refused {
        Refused { code: Some(code), ..self }
    }

    /// The message with the place; `what` is what the text is called.
    pub fn of(self, what: &str, text: &str) -> Error {
        let Location { line, column } = self.at;
        let place = match text.lines().count() {
            0 | 1 => format!("column {column}"),
            _ => format!("line {line}, column {column}"),
        };
        let code = self.code.map(|code| format!("SQLSTATE {code}, ")).unwrap_or_default();
        format!("{} ({code}{place} of the {what} `{text}`)", self.message).into()
    }
}

pub(crate) fn refuse<T>(at: Location, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::at(at, message))
}

/// How many letters must change to make one name the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let all = known.map(|known| (distance(name, known), known.len().abs_diff(name.len()), known));
    all.min().filter(|(away, ..)| *away <= 1 + name.chars().count() / 3).map(|(.., known)| known)
}
