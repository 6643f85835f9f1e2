//! From text to tokens with their places. The lexer is sqlparser's; where it differs from Postgres' it is put right here.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, Tokenizer};
use tidemill_sdk::Error;

/// What is wrong, and where in the predicate.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    at: Location,
    message: String,
}

impl Refused {
    pub fn at(at: Location, message: impl Into<String>) -> Refused {
        Refused { at, message: message.into() }
    }

    pub fn in_predicate(self, predicate: &str) -> Error {
        let Location { line, column } = self.at;
        let place = match predicate.lines().count() {
            0 | 1 => format!("column {column}"),
            _ => format!("line {line}, column {column}"),
        };
        format!("{} ({place} of the predicate `{predicate}`)", self.message).into()
    }
}

/// The tokens, at least one, and the place behind the last.
pub fn lex(predicate: &str) -> Result<(Vec<(Token, Location)>, Location), Refused> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, predicate).tokenize_with_location();
    let tokens = tokens
        .map_err(|error| Refused::at(error.location, format!("the predicate cannot be read: {}", error.message)))?;
    let tokens = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let tokens: Vec<_> = tokens.flat_map(|token| split_sign(token.token, token.span.start)).collect();
    let end = end_of(predicate);
    if tokens.is_empty() {
        return Err(Refused::at(end, "the predicate is empty"));
    }
    Ok((tokens, end))
}

/// Postgres takes a sign off the end of an operator such as `>-`, the lexer does not.
fn split_sign(token: Token, at: Location) -> Vec<(Token, Location)> {
    let Token::CustomBinaryOperator(operator) = &token else { return vec![(token, at)] };
    let sign = match operator.as_bytes().last() {
        Some(b'-') => Token::Minus,
        Some(b'+') => Token::Plus,
        _ => return vec![(token, at)],
    };
    let rest = &operator[..operator.len() - 1];
    let comparison = match rest {
        "=" => Token::Eq,
        "<>" => Token::Neq,
        "<" => Token::Lt,
        "<=" => Token::LtEq,
        ">" => Token::Gt,
        ">=" => Token::GtEq,
        _ => return vec![(token, at)],
    };
    let behind = Location { line: at.line, column: at.column + rest.len() as u64 };
    vec![(comparison, at), (sign, behind)]
}

fn end_of(predicate: &str) -> Location {
    let line = predicate.lines().count().max(1) as u64;
    let column = predicate.lines().last().unwrap_or_default().chars().count() as u64 + 1;
    Location { line, column }
}

/// Words that Postgres takes for no column unless they are quoted.
pub const RESERVED: [&str; 60] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "as",
    "asc",
    "asymmetric",
    "between",
    "both",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "is",
    "isnull",
    "leading",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "notnull",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "user",
    "using",
    "when",
    "where",
];

/// How many letters must change to make one name the other.
pub fn distance(a: &str, b: &str) -> usize {
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
