//! From text to a tree, with Postgres' words and precedence (`gram.y`), as far as `where` has them. The lexer is sqlparser's.

use std::fmt::Display;

use sqlparser::tokenizer::{Location, Token, Word};

use crate::lex::{RESERVED, Refused, lex};

/// Deeper nesting is refused: the tree is walked by recursion.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    /// The operator with its sides exchanged.
    pub fn flip(self) -> Op {
        match self {
            Op::Lt => Op::Gt,
            Op::Le => Op::Ge,
            Op::Gt => Op::Lt,
            Op::Ge => Op::Le,
            same => same,
        }
    }

    /// The operator that is true where this one is false.
    pub fn inverse(self) -> Op {
        match self {
            Op::Eq => Op::Ne,
            Op::Ne => Op::Eq,
            Op::Lt => Op::Ge,
            Op::Le => Op::Gt,
            Op::Gt => Op::Le,
            Op::Ge => Op::Lt,
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Op::Eq => "=",
            Op::Ne => "<>",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
    Null,
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub at: Location,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// The name, and before it the table's and the schema's, if they are there.
    Column(Vec<String>),
    /// Digits, with the sign before them.
    Number(String),
    Text(String),
    Bool(bool),
    Null,
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Op, Box<Expr>, Box<Expr>),
    /// `is distinct from`; the second is the same with `not`.
    Distinct(Box<Expr>, Box<Expr>),
    Same(Box<Expr>, Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
    Like {
        text: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<Box<Expr>>,
        ignore_case: bool,
    },
    Is(Box<Expr>, Truth),
    /// A cast, with the type's name as one word.
    Cast(Box<Expr>, String),
}

type Parsed = Result<Expr, Refused>;

pub fn parse(predicate: &str) -> Parsed {
    let (tokens, end) = lex(predicate)?;
    let mut parser = Parser { tokens, next: 0, end, depth: 0 };
    let expr = parser.or()?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(parser.unexpected("an operator, or the end")),
    }
}

struct Parser {
    tokens: Vec<(Token, Location)>,
    next: usize,
    end: Location,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn at(&self) -> Location {
        self.tokens.get(self.next).map_or(self.end, |(_, at)| *at)
    }

    fn unexpected(&self, wanted: &str) -> Refused {
        match self.peek() {
            None => Refused::at(self.end, format!("the predicate ends where {wanted} is wanted")),
            Some(token) => Refused::at(self.at(), format!("`{token}` stands where {wanted} is wanted")),
        }
    }

    fn not_yet(&self, at: Location, what: impl Display) -> Refused {
        let there = "and, or, not, = <> < <= > >=, in, between, like, ilike, is, constants and columns";
        Refused::at(at, format!("{what} is not there yet; there are {there}"))
    }

    /// An unquoted word at some distance, in lower case.
    fn word(&self, distance: usize) -> Option<String> {
        match self.tokens.get(self.next + distance) {
            Some((Token::Word(Word { value, quote_style: None, .. }), _)) => Some(value.to_ascii_lowercase()),
            _ => None,
        }
    }

    fn is_word(&self, distance: usize, word: &str) -> bool {
        self.word(distance).is_some_and(|is| is == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let takes = self.is_word(0, word);
        self.next += usize::from(takes);
        takes
    }

    fn take(&mut self, token: &Token) -> bool {
        let takes = self.peek() == Some(token);
        self.next += usize::from(takes);
        takes
    }

    fn expect(&mut self, token: &Token, wanted: &str) -> Result<(), Refused> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    fn or(&mut self) -> Parsed {
        let at = self.at();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Refused::at(at, format!("the predicate is nested more than {DEPTH_MAX} deep")));
        }
        let mut parts = vec![self.and()?];
        while self.take_word("or") {
            parts.push(self.and()?);
        }
        self.depth -= 1;
        Ok(one_or(parts, |parts| Expr { at, kind: Kind::Or(parts) }))
    }

    fn and(&mut self) -> Parsed {
        let at = self.at();
        let mut parts = vec![self.not()?];
        while self.take_word("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, |parts| Expr { at, kind: Kind::And(parts) }))
    }

    fn not(&mut self) -> Parsed {
        let at = self.at();
        let mut negations = 0;
        while self.take_word("not") {
            negations += 1;
        }
        let expr = self.is()?;
        Ok(if negations % 2 == 1 {
            not(at, expr)
        } else if negations > 0 {
            not(at, not(at, expr))
        } else {
            expr
        })
    }

    fn is(&mut self) -> Parsed {
        let mut expr = self.comparison()?;
        loop {
            let at = self.at();
            if self.take_word("isnull") {
                expr = is(at, expr, Truth::Null);
            } else if self.take_word("notnull") {
                expr = not(at, is(at, expr, Truth::Null));
            } else if self.take_word("is") {
                let negated = self.take_word("not");
                let tested = self.is_what(at, expr)?;
                expr = if negated { not(at, tested) } else { tested };
            } else {
                return Ok(expr);
            }
        }
    }

    fn is_what(&mut self, at: Location, expr: Expr) -> Parsed {
        for (word, truth) in
            [("null", Truth::Null), ("true", Truth::True), ("false", Truth::False), ("unknown", Truth::Unknown)]
        {
            if self.take_word(word) {
                return Ok(is(at, expr, truth));
            }
        }
        if self.take_word("distinct") {
            if !self.take_word("from") {
                return Err(self.unexpected("`from`"));
            }
            let right = self.comparison()?;
            if self.is_word(0, "is") || self.is_word(0, "isnull") || self.is_word(0, "notnull") {
                return Err(self.unexpected("`and`, `or` or the end: put parentheses around one of them"));
            }
            return Ok(Expr { at, kind: Kind::Distinct(Box::new(expr), Box::new(right)) });
        }
        Err(self.unexpected("null, true, false, unknown or `distinct from`"))
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.range()?;
        let at = self.at();
        let Some(op) = self.take_comparison() else { return Ok(left) };
        if self.is_word(0, "any") || self.is_word(0, "all") || self.is_word(0, "some") {
            return Err(self.not_yet(self.at(), "a comparison with an array"));
        }
        let right = self.range()?;
        if self.take_comparison().is_some() {
            self.next -= 1;
            return Err(self.unexpected("`and`, `or` or the end: comparisons do not chain"));
        }
        Ok(Expr { at, kind: Kind::Compare(op, Box::new(left), Box::new(right)) })
    }

    fn take_comparison(&mut self) -> Option<Op> {
        let op = match self.peek()? {
            Token::Eq => Op::Eq,
            Token::Neq => Op::Ne,
            Token::Lt => Op::Lt,
            Token::LtEq => Op::Le,
            Token::Gt => Op::Gt,
            Token::GtEq => Op::Ge,
            _ => return None,
        };
        self.next += 1;
        Some(op)
    }

    /// `between`, `in`, `like` and what they stand on.
    fn range(&mut self) -> Parsed {
        let left = self.operand()?;
        let at = self.at();
        let negated =
            self.is_word(0, "not") && ["between", "in", "like", "ilike", "similar"].iter().any(|w| self.is_word(1, w));
        self.next += usize::from(negated);
        let Some(word) = self.word(0) else { return Ok(left) };
        let expr = match word.as_str() {
            "between" => self.between(at, left)?,
            "in" => self.in_list(at, left)?,
            "like" | "ilike" => self.like(at, left, word == "ilike")?,
            "similar" => return Err(self.not_yet(at, "`similar to`")),
            _ => return Ok(left),
        };
        Ok(if negated { not(at, expr) } else { expr })
    }

    fn between(&mut self, at: Location, left: Expr) -> Parsed {
        self.next += 1;
        if self.is_word(0, "symmetric") {
            return Err(self.not_yet(self.at(), "`between symmetric`"));
        }
        self.take_word("asymmetric");
        let low = self.operand()?;
        if !self.take_word("and") {
            return Err(self.unexpected("`and` of `between`"));
        }
        let high = self.operand()?;
        let part = |op, bound| Expr { at, kind: Kind::Compare(op, Box::new(left.clone()), Box::new(bound)) };
        Ok(Expr { at, kind: Kind::And(vec![part(Op::Ge, low), part(Op::Le, high)]) })
    }

    fn in_list(&mut self, at: Location, left: Expr) -> Parsed {
        self.next += 1;
        self.expect(&Token::LParen, "a list in parentheses")?;
        if self.is_word(0, "select") {
            return Err(self.not_yet(self.at(), "a subquery"));
        }
        let mut list = vec![self.operand()?];
        while self.take(&Token::Comma) {
            list.push(self.operand()?);
        }
        self.expect(&Token::RParen, "`,` or `)`")?;
        Ok(Expr { at, kind: Kind::In(Box::new(left), list) })
    }

    fn like(&mut self, at: Location, text: Expr, ignore_case: bool) -> Parsed {
        self.next += 1;
        let pattern = Box::new(self.operand()?);
        let escape = if self.take_word("escape") { Some(Box::new(self.operand()?)) } else { None };
        Ok(Expr { at, kind: Kind::Like { text: Box::new(text), pattern, escape, ignore_case } })
    }

    /// A column, a constant, or something in parentheses, with its casts. After it no operator of arithmetic may follow.
    fn operand(&mut self) -> Parsed {
        let mut expr = self.primary()?;
        while self.peek() == Some(&Token::DoubleColon) {
            let at = self.at();
            self.next += 1;
            let to = self.type_name()?;
            expr = Expr { at, kind: Kind::Cast(Box::new(expr), to) };
        }
        let what = match self.peek() {
            Some(Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::Caret) => "arithmetic",
            Some(Token::StringConcat) => "joining texts",
            Some(Token::Arrow | Token::LongArrow | Token::HashArrow | Token::HashLongArrow) => "reaching into json",
            Some(Token::Tilde | Token::TildeAsterisk | Token::ExclamationMarkTilde) => "a regular expression",
            Some(Token::LBracket) => "a subscript",
            Some(Token::Word(_)) if self.is_word(0, "collate") => "`collate`",
            Some(Token::Word(_)) if self.is_word(0, "at") => "`at time zone`",
            _ => return Ok(expr),
        };
        Err(self.not_yet(self.at(), what))
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let expr = |kind| Ok(Expr { at, kind });
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected("a column or a constant")) };
        match token {
            Token::Number(digits, _) => {
                self.next += 1;
                expr(Kind::Number(digits))
            }
            Token::Minus | Token::Plus => {
                self.next += 1;
                match self.peek().cloned() {
                    Some(Token::Number(digits, _)) => {
                        self.next += 1;
                        expr(Kind::Number(if token == Token::Minus { format!("-{digits}") } else { digits }))
                    }
                    _ => Err(self.not_yet(at, "arithmetic")),
                }
            }
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
                self.next += 1;
                expr(Kind::Text(text))
            }
            Token::LParen => {
                self.next += 1;
                if self.is_word(0, "select") {
                    return Err(self.not_yet(at, "a subquery"));
                }
                let inner = self.or()?;
                if self.peek() == Some(&Token::Comma) {
                    return Err(self.not_yet(at, "a row of values"));
                }
                self.expect(&Token::RParen, "`)`")?;
                Ok(inner)
            }
            Token::Word(word) => self.name(at, word),
            _ => Err(self.unexpected("a column or a constant")),
        }
    }

    fn name(&mut self, at: Location, word: Word) -> Parsed {
        let expr = |kind| Ok(Expr { at, kind });
        let lower = self.word(0).unwrap_or_default();
        if matches!(self.tokens.get(self.next + 1), Some((Token::LParen, _)))
            && lower != "cast"
            && !RESERVED.contains(&lower.as_str())
        {
            return Err(self.not_yet(at, format!("the function `{word}`")));
        }
        let is_typed = matches!(self.tokens.get(self.next + 1), Some((Token::SingleQuotedString(_), _)));
        match lower.as_str() {
            "true" | "false" => {
                self.next += 1;
                return expr(Kind::Bool(lower == "true"));
            }
            "null" => {
                self.next += 1;
                return expr(Kind::Null);
            }
            "cast" => return self.cast(at),
            "not" => return Err(self.unexpected("a column or a constant: put parentheses around it")),
            "exists" => return Err(self.not_yet(at, "a subquery")),
            "case" | "array" | "row" | "interval" => return Err(self.not_yet(at, format!("`{lower}`"))),
            reserved if RESERVED.contains(&reserved) => {
                let what = format!("a column or a constant (a column of that name is written \"{reserved}\")");
                return Err(self.unexpected(&what));
            }
            "" => {}
            _ if is_typed => {
                let to = self.type_name()?;
                let constant = self.primary()?;
                return expr(Kind::Cast(Box::new(constant), to));
            }
            "timestamp" | "time" if self.is_word(1, "with") || self.is_word(1, "without") => {
                let to = self.type_name()?;
                let constant = self.primary()?;
                return expr(Kind::Cast(Box::new(constant), to));
            }
            _ => {}
        }
        let mut path = vec![identifier(word)];
        self.next += 1;
        while self.take(&Token::Period) {
            match self.peek().cloned() {
                Some(Token::Word(word)) => path.push(identifier(word)),
                _ => return Err(self.unexpected("a name")),
            }
            self.next += 1;
        }
        expr(Kind::Column(path))
    }

    fn cast(&mut self, at: Location) -> Parsed {
        self.next += 1;
        self.expect(&Token::LParen, "`(` of `cast`")?;
        let inner = self.or()?;
        if !self.take_word("as") {
            return Err(self.unexpected("`as` of `cast`"));
        }
        let to = self.type_name()?;
        self.expect(&Token::RParen, "`)` of `cast`")?;
        Ok(Expr { at, kind: Kind::Cast(Box::new(inner), to) })
    }

    /// A type by the name that the catalog has for it.
    fn type_name(&mut self) -> Result<String, Refused> {
        let Some(first) = self.word(0) else { return Err(self.unexpected("a type")) };
        self.next += 1;
        let name = match first.as_str() {
            "boolean" => "bool",
            "smallint" => "int2",
            "int" | "integer" => "int4",
            "bigint" => "int8",
            "real" => "float4",
            "decimal" => "numeric",
            "double" if self.take_word("precision") => "float8",
            "character" if self.take_word("varying") => "varchar",
            "timestamp" | "time" => {
                let zoned = self.is_word(0, "with");
                if zoned || self.is_word(0, "without") {
                    self.next += 1;
                    if !(self.take_word("time") && self.take_word("zone")) {
                        return Err(self.unexpected("`time zone`"));
                    }
                }
                match (first.as_str(), zoned) {
                    ("timestamp", true) => "timestamptz",
                    ("time", true) => "timetz",
                    (plain, _) => plain,
                }
            }
            other => other,
        };
        if matches!(self.peek(), Some(Token::LParen | Token::LBracket)) {
            return Err(self.not_yet(self.at(), "a type with a modifier, or of an array,"));
        }
        Ok(name.to_owned())
    }
}

/// Folded as Postgres folds it, unless quoted.
fn identifier(word: Word) -> String {
    if word.quote_style.is_some() { word.value } else { word.value.to_ascii_lowercase() }
}

fn one_or(mut parts: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    if parts.len() == 1 { parts.remove(0) } else { many(parts) }
}

fn not(at: Location, expr: Expr) -> Expr {
    match expr.kind {
        Kind::Distinct(left, right) => Expr { at, kind: Kind::Same(left, right) },
        _ => Expr { at, kind: Kind::Not(Box::new(expr)) },
    }
}

fn is(at: Location, expr: Expr, truth: Truth) -> Expr {
    Expr { at, kind: Kind::Is(Box::new(expr), truth) }
}
