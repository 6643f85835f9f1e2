//! An expression against a table: names become columns, constants become values of the types that they meet, and what
//! Postgres would refuse, or what cannot be judged as it does, is refused here with its place.

mod cast;
mod function;
mod operator;
mod pattern;

use sqlparser::ast::{BinaryOperator, Expr, Ident, InTarget, Spanned, UnaryOperator, Value};
use sqlparser::tokenizer::Location;
use tidemill_sdk::Schema;

use crate::eval::cast_constant;
use crate::node::{Const, Node, Op};
use crate::number::Sum;
use crate::parse::{Parsed, RESERVED, THERE};
use crate::plan::{Plan, fact};
use crate::refused::{Refused, nearest, refuse};
use crate::types::Type;

/// A bound part, or a constant whose type its surroundings decide.
#[derive(Clone, Debug)]
pub(crate) struct Arg {
    at: Location,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Typed {
        node: Node,
        of: Type,
        /// Under collation C, by `collate "C"` in it.
        c: bool,
        /// Digits in the text, with no cast: Postgres looks twice at these in a list.
        name: Option<String>,
    },
    /// A constant in quotes, or null.
    Unknown(Option<String>),
}

pub(crate) type Bound = Result<Arg, Refused>;

pub(crate) struct Binder<'a> {
    pub(crate) parsed: &'a Parsed,
    pub(crate) schema: &'a Schema,
    pub(crate) plan: &'a mut dyn Plan,
    /// Whether `change.op` and its like are there.
    pub(crate) facts: bool,
}

fn typed(at: Location, node: Node, of: Type) -> Arg {
    Arg { at, what: What::Typed { node: folded(node, at), of, c: false, name: None } }
}

fn truth(at: Location, node: Node) -> Bound {
    Ok(typed(at, node, Type::Bool))
}

/// What has no columns is worked out at once, and what null decides is null, as Postgres' planner does it.
fn folded(node: Node, at: Location) -> Node {
    let node = match node {
        Node::And(parts) => short(parts, false, Node::And),
        Node::Or(parts) => short(parts, true, Node::Or),
        Node::Coalesce(parts) => first_value(parts),
        other => other,
    };
    let parts = node.parts();
    if parts.is_empty() || parts.iter().any(|part| part.failing().is_some()) {
        return node;
    }
    if node.is_strict() && parts.iter().any(|part| part.is_null()) {
        return Node::Const(Const::Null);
    }
    if !parts.iter().all(|part| part.is_const()) {
        return node;
    }
    match cast_constant(node) {
        Ok(constant) => Node::Const(constant),
        Err((_, fault)) => Node::Fail(fault, at),
    }
}

/// Without what stands behind a constant that decides, and without constants that decide nothing.
fn short(parts: Vec<Node>, decides: bool, make: fn(Vec<Node>) -> Node) -> Node {
    let mut kept = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Node::Const(Const::Bool(is)) if is == decides => return Node::Const(Const::Bool(decides)),
            Node::Const(Const::Bool(_)) => {}
            other => kept.push(other),
        }
    }
    match kept.len() {
        0 => Node::Const(Const::Bool(!decides)),
        1 => kept.remove(0),
        _ => make(kept),
    }
}

fn first_value(parts: Vec<Node>) -> Node {
    let mut kept: Vec<Node> = parts.into_iter().filter(|part| !part.is_null()).collect();
    if let Some(last) = kept.iter().position(Node::is_const) {
        kept.truncate(last + 1);
    }
    match kept.len() {
        0 => Node::Const(Const::Null),
        1 => kept.remove(0),
        _ => Node::Coalesce(kept),
    }
}

impl Binder<'_> {
    /// An expression that must be true, false or unknown.
    pub(crate) fn boolean(&mut self, expr: &Expr) -> Result<Node, Refused> {
        let arg = self.arg(expr)?;
        self.as_boolean(arg)
    }

    fn as_boolean(&mut self, arg: Arg) -> Result<Node, Refused> {
        let at = arg.at;
        match self.resolve(arg, Type::Bool)? {
            (node, Type::Bool) => Ok(node),
            (_, of) => {
                refuse(at, format!("this is {}, and true or false is wanted: compare it with something", of.name()))
            }
        }
    }

    /// An expression of any type.
    pub(crate) fn value(&mut self, expr: &Expr) -> Result<(Node, Type), Refused> {
        let arg = self.arg(expr)?;
        self.resolve(arg, Type::Text)
    }

    /// The node and its type; a constant of unknown type becomes one of this.
    fn resolve(&mut self, arg: Arg, unknown: Type) -> Result<(Node, Type), Refused> {
        match arg.what {
            What::Typed { node, of, .. } => Ok((node, of)),
            What::Unknown(text) => Ok((self.literal(arg.at, text.as_deref(), unknown)?, unknown)),
        }
    }

    pub(crate) fn arg(&mut self, expr: &Expr) -> Bound {
        let at = expr.span().start;
        match expr {
            Expr::Nested(inner) => self.arg(inner),
            Expr::Identifier(name) => self.column(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(path) => self.column(path),
            Expr::Value(value) => self.constant(at, &value.value, false),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::IsNull(inner) => self.is_null(inner, true),
            Expr::IsNotNull(inner) => self.is_null(inner, false),
            Expr::IsTrue(inner) => self.test(inner, [true, false, false]),
            Expr::IsNotTrue(inner) => self.test(inner, [false, true, true]),
            Expr::IsFalse(inner) => self.test(inner, [false, true, false]),
            Expr::IsNotFalse(inner) => self.test(inner, [true, false, true]),
            Expr::IsUnknown(inner) => self.test(inner, [false, false, true]),
            Expr::IsNotUnknown(inner) => self.test(inner, [true, true, false]),
            Expr::IsDistinctFrom(left, right) => self.same(left, right, false),
            Expr::IsNotDistinctFrom(left, right) => self.same(left, right, true),
            Expr::In { expr, target: InTarget::List(list), negated, .. } => self.in_list(expr, list, *negated),
            Expr::Between { expr, negated, low, high } => self.between(expr, *negated, low, high),
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), false, *negated)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), true, *negated)
            }
            Expr::AnyOp { left, compare_op, right, .. } => self.any(left, compare_op, right),
            Expr::Cast { .. } | Expr::TypedString(_) => self.cast(expr),
            Expr::Collate { expr, collation } => self.collate(expr, collation),
            Expr::Function(function) => self.function(function),
            other => self.not_there(other),
        }
    }

    fn not_there<T>(&self, expr: &Expr) -> Result<T, Refused> {
        let what = match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::In { .. } => "a subquery",
            Expr::SimilarTo { .. } => "`similar to`",
            Expr::AllOp { .. } => "a comparison with `all` (write `not (… = any (…))`)",
            Expr::Case { .. } => "`case` (`coalesce` is there)",
            Expr::Tuple(_) => "a row of values",
            Expr::Array(_) => "`array[…]` (write the values by `in`)",
            Expr::Interval(_) => "`interval`",
            Expr::AtTimeZone { .. } => "`at time zone`",
            Expr::CompoundFieldAccess { .. } | Expr::JsonAccess { .. } => "a subscript (`->` is there for jsonb)",
            Expr::Extract { .. } => "`extract`",
            Expr::Substring { .. } => "`substring`",
            Expr::Trim { .. } => "`trim`",
            Expr::Position { .. } => "`position`",
            Expr::Ceil { .. } => "`ceil`",
            Expr::Floor { .. } => "`floor`",
            Expr::Overlay { .. } => "`overlay`",
            _ => "this",
        };
        refuse(expr.span().start, format!("{what} is not there; {THERE}"))
    }

    fn column(&mut self, path: &[Ident]) -> Bound {
        let (last, qualifier) = path.split_last().expect("a path has a name");
        let at = path[0].span.start;
        let folded = |ident: &Ident| match ident.quote_style {
            Some(_) => ident.value.clone(),
            None => ident.value.to_ascii_lowercase(),
        };
        let name = folded(last);
        if path.len() == 1 && last.quote_style.is_none() && RESERVED.contains(&name.as_str()) {
            let wanted = format!("a column or a constant is wanted (a column of that name is written \"{name}\")");
            return refuse(at, format!("`{name}` stands where {wanted}"));
        }
        if let [qualifier] = qualifier
            && folded(qualifier) == "change"
            && self.schema.table != "change"
        {
            return self.fact(at, &name);
        }
        let table = [self.schema.namespace.as_str(), &self.schema.table];
        if !table.iter().rev().zip(qualifier.iter().rev()).all(|(is, said)| **is == folded(said)) || qualifier.len() > 2
        {
            let said: Vec<_> = qualifier.iter().map(folded).collect();
            let (said, is) = (said.join("."), table.join("."));
            return refuse(at, format!("`{said}` is not the table of this expression, which is {is}"));
        }
        let Some(place) = self.schema.fields.iter().position(|field| field.name == name) else {
            return refuse(at, self.unknown(&name));
        };
        let field = &self.schema.fields[place];
        let of = Type::of(field);
        let postgres = field.postgres_type.as_deref().filter(|name| *name != "unknown").unwrap_or(of.name());
        let described = format!("`{}` ({postgres})", field.name);
        let source = self.plan.require(field).map_err(|error| Refused::at(at, error.to_string()))?.0;
        let c = of == Type::Name;
        Ok(Arg { at, what: What::Typed { node: Node::Column(source), of, c, name: Some(described) } })
    }

    /// What is known of the change that brought the row.
    fn fact(&mut self, at: Location, name: &str) -> Bound {
        if !self.facts {
            return refuse(
                at,
                "which rows are kept hangs on the rows alone, so `change` is not there; `actions` of a stream can",
            );
        }
        let Some(fact) = fact(name) else {
            return refuse(
                at,
                format!(
                    "`change` has no `{name}`: there are change.op, change.lsn, change.time, change.schema, change.table"
                ),
            );
        };
        let of = if name == "time" { Type::TimestampTz } else { Type::Text };
        let source = self.plan.require_fact(fact).map_err(|error| Refused::at(at, error.to_string()))?.0;
        Ok(Arg {
            at,
            what: What::Typed { node: Node::Column(source), of, c: false, name: Some(format!("`change.{name}`")) },
        })
    }

    fn unknown(&self, name: &str) -> String {
        let names = || self.schema.fields.iter().map(|field| field.name.as_str());
        let hint = match nearest(name, names()) {
            Some(known) => format!(": did you mean `{known}`? There are"),
            None => ": there are".to_owned(),
        };
        let table = format!("{}.{}", self.schema.namespace, self.schema.table);
        let known: Vec<_> = names().take(30).map(|name| format!("`{name}`")).collect();
        let more = if self.schema.fields.len() > known.len() { " and more" } else { "" };
        format!("{table} has no column `{name}` here{hint} {}{more}", known.join(", "))
    }

    fn constant(&mut self, at: Location, value: &Value, negative: bool) -> Bound {
        Ok(match value {
            Value::Number(digits, _) => return self.number(at, digits, negative),
            Value::Boolean(is) => typed(at, Node::Const(Const::Bool(*is)), Type::Bool),
            Value::Null => Arg { at, what: What::Unknown(None) },
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) | Value::UnicodeStringLiteral(text) => {
                Arg { at, what: What::Unknown(Some(text.clone())) }
            }
            Value::DollarQuotedString(text) => Arg { at, what: What::Unknown(Some(text.value.clone())) },
            other => {
                return refuse(
                    at,
                    format!("`{other}` is no constant here: write a number, or a text in single quotes"),
                );
            }
        })
    }

    /// int4 where it fits, then int8, then numeric.
    fn number(&mut self, at: Location, digits: &str, negative: bool) -> Bound {
        let digits = if negative { format!("-{digits}") } else { digits.to_owned() };
        let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if let (true, Ok(value)) = (is_whole, digits.parse::<i64>()) {
            let of = if i32::try_from(value).is_ok() { Type::Int4 } else { Type::Int8 };
            return Ok(typed(at, Node::Const(Const::Int(value)), of));
        }
        match crate::decimal::spell(&digits) {
            Some(spelt) => Ok(typed(at, Node::Const(Const::Bytes(spelt.into_bytes())), Type::Numeric)),
            None => refuse(at, format!("{digits} is no number of at most 16,383 digits")),
        }
    }

    fn unary(&mut self, op: UnaryOperator, inner: &Expr) -> Bound {
        let inner_at = inner.span().start;
        let at = self.parsed.before(inner_at);
        match op {
            UnaryOperator::Not => {
                let inner = self.boolean(inner)?;
                truth(at, Node::Not(Box::new(inner)))
            }
            UnaryOperator::Minus | UnaryOperator::Plus => {
                if let Expr::Value(value) = inner
                    && let Value::Number(..) = &value.value
                {
                    return self.constant(at, &value.value, op == UnaryOperator::Minus);
                }
                let arg = self.arg(inner)?;
                let (node, of) = self.resolve(arg, Type::Float8)?;
                if !of.is_number() {
                    return refuse(at, format!("a sign stands before {}, which is no number", of.name()));
                }
                Ok(match op {
                    UnaryOperator::Minus => typed(at, Node::Negate { of, inner: Box::new(node) }, of),
                    _ => typed(at, node, of),
                })
            }
            other => refuse(at, format!("`{other}` is not there; {THERE}")),
        }
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr) -> Bound {
        let at = self.parsed.operator(left);
        if let Some(op) = comparison(op) {
            for side in [left, right] {
                if matches!(side, Expr::BinaryOp { op, .. } if comparison(op).is_some()) {
                    return refuse(at, "comparisons do not chain: put parentheses around one of them");
                }
            }
            let (left, right) = (self.arg(left)?, self.arg(right)?);
            return self.compare(at, op, left, right);
        }
        let sum = match op {
            BinaryOperator::And | BinaryOperator::Or => return self.junction(at, left, op, right),
            BinaryOperator::Plus => Sum::Add,
            BinaryOperator::Minus => Sum::Subtract,
            BinaryOperator::Multiply => Sum::Multiply,
            BinaryOperator::Divide => Sum::Divide,
            BinaryOperator::Modulo => Sum::Modulo,
            BinaryOperator::StringConcat => return self.join(at, left, right),
            BinaryOperator::Arrow => return self.get(at, left, right, false),
            BinaryOperator::LongArrow => return self.get(at, left, right, true),
            BinaryOperator::PGLikeMatch => return self.like(left, right, None, false, false),
            BinaryOperator::PGNotLikeMatch => return self.like(left, right, None, false, true),
            BinaryOperator::PGILikeMatch => return self.like(left, right, None, true, false),
            BinaryOperator::PGNotILikeMatch => return self.like(left, right, None, true, true),
            BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch => {
                return refuse(at, "a regular expression is not there: there are like and ilike");
            }
            other => return refuse(at, format!("`{other}` is not there; {THERE}")),
        };
        let (left, right) = (self.arg(left)?, self.arg(right)?);
        self.sum(at, sum, left, right)
    }

    /// A chain of `and`s is one node, and so is one of `or`s.
    fn junction(&mut self, at: Location, left: &Expr, op: &BinaryOperator, right: &Expr) -> Bound {
        let mut parts = Vec::new();
        for side in [left, right] {
            parts.push(self.boolean(side)?);
        }
        let is_and = *op == BinaryOperator::And;
        let flat = parts.into_iter().flat_map(|part| match part {
            Node::And(inner) if is_and => inner,
            Node::Or(inner) if !is_and => inner,
            other => vec![other],
        });
        let flat = flat.collect();
        truth(at, if is_and { Node::And(flat) } else { Node::Or(flat) })
    }

    fn is_null(&mut self, inner: &Expr, is: bool) -> Bound {
        let (at, arg) = (inner.span().start, self.arg(inner)?);
        let (node, _) = self.resolve(arg, Type::Text)?;
        let null = folded(Node::IsNull(Box::new(node)), at);
        truth(at, if is { null } else { Node::Not(Box::new(null)) })
    }

    fn test(&mut self, inner: &Expr, [yes, no, unknown]: [bool; 3]) -> Bound {
        let at = inner.span().start;
        let node = Box::new(self.boolean(inner)?);
        truth(at, Node::Test { node, yes, no, unknown })
    }
}

fn comparison(op: &BinaryOperator) -> Option<Op> {
    Some(match op {
        BinaryOperator::Eq => Op::Eq,
        BinaryOperator::NotEq => Op::Ne,
        BinaryOperator::Lt => Op::Lt,
        BinaryOperator::LtEq => Op::Le,
        BinaryOperator::Gt => Op::Gt,
        BinaryOperator::GtEq => Op::Ge,
        _ => return None,
    })
}

impl Arg {
    /// As a user knows it.
    fn described(&self) -> String {
        match &self.what {
            What::Typed { name: Some(name), .. } => name.clone(),
            What::Typed { of, .. } => format!("this ({})", of.name()),
            What::Unknown(Some(text)) => format!("'{text}'"),
            What::Unknown(None) => "null".to_owned(),
        }
    }

    fn of(&self) -> Option<Type> {
        match &self.what {
            What::Typed { of, .. } => Some(*of),
            What::Unknown(_) => None,
        }
    }

    fn is_c(&self) -> bool {
        matches!(self.what, What::Typed { c: true, .. })
    }

    fn is_column(&self) -> bool {
        match &self.what {
            What::Typed { node, .. } => has_columns(node),
            What::Unknown(_) => false,
        }
    }

    fn with_c(mut self, is: bool) -> Arg {
        if let What::Typed { c, .. } = &mut self.what {
            *c |= is;
        }
        self
    }
}

fn has_columns(node: &Node) -> bool {
    matches!(node, Node::Column(_)) || node.parts().into_iter().any(has_columns)
}
