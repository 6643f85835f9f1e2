//! From text to a tree. Lexer and parser are sqlparser's; what they read otherwise than Postgres' grammar is put right
//! or refused here, and the tokens are kept, since the tree does not know where its operators stand.

use sqlparser::ast::{Expr, Spanned};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use crate::refused::{Refused, refuse};

/// Deeper nesting is refused: the parser and all that walks its tree recurse. A pair of parentheses counts once.
const DEPTH_MAX: usize = 48;

/// A parsed text.
pub(crate) struct Parsed {
    pub(crate) expr: Expr,
    tokens: Vec<TokenWithSpan>,
    /// Where each `between symmetric` stands.
    symmetric: Vec<Location>,
}

pub(crate) fn parse(text: &str) -> Result<Parsed, Refused> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location();
    let tokens =
        tokens.map_err(|error| Refused::at(error.location, format!("this cannot be read: {}", error.message)))?;
    let tokens = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let tokens: Vec<_> = tokens.flat_map(split_sign).flat_map(split_null).collect();
    if tokens.is_empty() {
        return refuse(end_of(text), "the text is empty");
    }
    check_tokens(&tokens)?;
    let (tokens, symmetric) = take_symmetric(tokens);
    let parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens.clone());
    let (expr, rest) = run(parser, text)?;
    if rest.token != Token::EOF {
        return refuse(rest.span.start, format!("`{}` stands where an operator, or the end is wanted", rest.token));
    }
    Ok(Parsed { expr, tokens, symmetric })
}

fn run(mut parser: Parser<'_>, text: &str) -> Result<(Expr, TokenWithSpan), Refused> {
    let expr = parser.parse_expr().map_err(|error| match error {
        ParserError::RecursionLimitExceeded => {
            Refused::at(parser.peek_token().span.start, format!("this is nested more than {DEPTH_MAX} deep"))
        }
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => said(&message, text),
    })?;
    let rest = parser.peek_token();
    Ok((expr, rest))
}

/// The parser's message, which ends with its place.
fn said(message: &str, text: &str) -> Refused {
    let (what, place) = message.rsplit_once(" at Line: ").unwrap_or((message, ""));
    let place = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Location { line: line.parse().ok()?, column: column.parse().ok()? }));
    let mut letters = what.trim_end_matches(", found: EOF").chars();
    let what: String = letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect();
    if message.contains("found: EOF") {
        return Refused::at(end_of(text), format!("this ends too soon: {what}"));
    }
    Refused::at(place.unwrap_or(end_of(text)), what)
}

/// Postgres takes a sign off the end of an operator such as `>-`, the lexer does not.
fn split_sign(token: TokenWithSpan) -> Vec<TokenWithSpan> {
    let Token::CustomBinaryOperator(operator) = &token.token else { return vec![token] };
    let sign = match operator.as_bytes().last() {
        Some(b'-') => Token::Minus,
        Some(b'+') => Token::Plus,
        _ => return vec![token],
    };
    let rest = &operator[..operator.len() - 1];
    let first = match rest {
        "=" => Token::Eq,
        "<>" => Token::Neq,
        "<" => Token::Lt,
        "<=" => Token::LtEq,
        ">" => Token::Gt,
        ">=" => Token::GtEq,
        _ => return vec![token],
    };
    let start = token.span.start;
    let between = Location { line: start.line, column: start.column + rest.len() as u64 };
    let with = |token, from, to| TokenWithSpan { token, span: Span::new(from, to) };
    vec![with(first, start, between), with(sign, between, token.span.end)]
}

/// `isnull` and `notnull`, which Postgres has for `is null` and `is not null`.
fn split_null(token: TokenWithSpan) -> Vec<TokenWithSpan> {
    let words: &[&str] = match &token.token {
        Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case("isnull") => &["is", "null"],
        Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case("notnull") => {
            &["is", "not", "null"]
        }
        _ => return vec![token],
    };
    words.iter().map(|word| TokenWithSpan { token: Token::make_keyword(word), span: token.span }).collect()
}

/// What the parser would take for something that Postgres does not.
fn check_tokens(tokens: &[TokenWithSpan]) -> Result<(), Refused> {
    for (place, token) in tokens.iter().enumerate() {
        let at = token.span.start;
        match &token.token {
            Token::DoubleEq => return refuse(at, "`==` is no operator: equality is written `=`"),
            Token::Placeholder(name) => {
                return refuse(at, format!("`{name}` stands for no value here: write the value"));
            }
            Token::SemiColon => return refuse(at, "`;` stands where an operator, or the end is wanted"),
            Token::Word(word) => check_word(at, word, tokens.get(place + 1).map(|token| &token.token))?,
            _ => {}
        }
    }
    Ok(())
}

/// Words of other databases, or of a query, that the parser knows.
fn check_word(at: Location, word: &Word, next: Option<&Token>) -> Result<(), Refused> {
    if word.quote_style.is_some() {
        return Ok(());
    }
    let said = word.value.to_ascii_lowercase();
    let refused = match said.as_str() {
        // `timestamp with time zone`
        "with" if matches!(next, Some(Token::Word(word)) if word.value.eq_ignore_ascii_case("time")) => return Ok(()),
        "select" | "with" | "exists" if next != Some(&Token::Period) => "a subquery",
        "xor" | "regexp" | "rlike" | "prior" | "match" => "a word of another database",
        _ => return Ok(()),
    };
    refuse(at, format!("`{said}` ({refused}) is not there; {THERE}"))
}

/// What can be written, for whoever wrote something else.
pub(crate) const THERE: &str = "there are and, or, not, = <> < <= > >=, in, between, like, ilike, is, + - * / %, ||, \
    ->, ->>, = any, casts, coalesce, lower, upper, length, constants and columns";

/// The parser knows no `between symmetric`: the word is taken out, and where it stood is kept.
fn take_symmetric(tokens: Vec<TokenWithSpan>) -> (Vec<TokenWithSpan>, Vec<Location>) {
    let is = |token: &TokenWithSpan, word: &str| matches!(&token.token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word));
    let (mut kept, mut symmetric): (Vec<TokenWithSpan>, Vec<Location>) = (Vec::with_capacity(tokens.len()), Vec::new());
    for token in tokens {
        match kept.last().filter(|last| is(last, "between")) {
            Some(last) if is(&token, "symmetric") => symmetric.push(last.span.start),
            Some(_) if is(&token, "asymmetric") => {}
            _ => kept.push(token),
        }
    }
    (kept, symmetric)
}

fn end_of(text: &str) -> Location {
    let line = text.lines().count().max(1) as u64;
    let column = text.lines().last().unwrap_or_default().chars().count() as u64 + 1;
    Location { line, column }
}

impl Parsed {
    /// Where the operator behind its left side stands.
    pub(crate) fn operator(&self, left: &Expr) -> Location {
        let end = left.span().end;
        let behind = self.tokens.iter().find(|token| token.span.start >= end && token.token != Token::RParen);
        behind.map_or(end, |token| token.span.start)
    }

    /// Where the token before this place stands.
    pub(crate) fn before(&self, at: Location) -> Location {
        let before = self.tokens.iter().rev().filter(|token| token.token != Token::LParen);
        before.map(|token| token.span.start).find(|start| *start < at).unwrap_or(at)
    }

    pub(crate) fn is_symmetric(&self, at: Location) -> bool {
        self.symmetric.contains(&at) || self.after(at).is_some_and(|next| self.symmetric.contains(&next))
    }

    fn after(&self, at: Location) -> Option<Location> {
        self.tokens.iter().find(|token| token.span.start > at).map(|token| token.span.start)
    }
}

/// Words that Postgres takes for no column unless they are quoted.
pub(crate) const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
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
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "intersect",
    "into",
    "is",
    "isnull",
    "lateral",
    "leading",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "notnull",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];
