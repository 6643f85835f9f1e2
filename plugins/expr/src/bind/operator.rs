//! Operators: which types they bring together, and in which one they work.

use sqlparser::ast::{BinaryOperator, Expr, Spanned};
use sqlparser::tokenizer::Location;

use super::{Arg, Binder, Bound, What, comparison, folded, truth, typed};
use crate::decimal::{Decimal, Numeric};
use crate::node::{By, Const, Node, Op};
use crate::number::Sum;
use crate::refused::{Refused, refuse};
use crate::table::{self, Cell, Operator};
use crate::types::{Type, common_number, common_of_list};

/// Two sides of one type.
struct Pair {
    left: Node,
    right: Node,
    of: Type,
    c: bool,
}

impl Binder<'_> {
    pub(super) fn allow(&self, at: Location, operator: Operator, of: Type, c: bool, what: &str) -> Result<(), Refused> {
        let (_, name) = table::OPERATORS[operator as usize];
        match table::cell(operator, of) {
            Cell::Yes => Ok(()),
            Cell::C if c => Ok(()),
            Cell::C => refuse(
                at,
                format!(
                    "{name} on {what} hangs on the database's collation: write `collate \"C\"` behind it where its order \
                     by bytes is meant; there are = <> in and like"
                ),
            ),
            Cell::No => {
                let there = table::OPERATORS.iter().filter(|(operator, _)| table::cell(*operator, of) != Cell::No);
                let there: Vec<_> = there.map(|(_, name)| *name).collect();
                refuse(at, format!("{name} is not there for {what}; for {} there are {}", of.name(), there.join(", ")))
            }
        }
    }

    /// Both sides as the one type in which Postgres compares them.
    fn pair(&mut self, at: Location, left: Arg, right: Arg) -> Result<Pair, Refused> {
        let c = left.is_c() || right.is_c();
        let names = (left.described(), right.described());
        let of = match (left.of(), right.of()) {
            (Some(left), Some(right)) => self.common(left, right),
            (Some(one), None) | (None, Some(one)) => Some(one),
            (None, None) => Some(Type::Text),
        };
        let Some(of) = of else {
            let (left, right) = names;
            let hint = match (self.is_text_arg(&left), self.is_text_arg(&right)) {
                (true, _) | (_, true) => ": put a number in quotes, or cast the text",
                _ => ": cast one of them",
            };
            return refuse(at, format!("{left} and {right} are of two types that are not compared{hint}"));
        };
        let (left, right) = (self.coerced(left, of)?, self.coerced(right, of)?);
        Ok(Pair { left, right, of, c })
    }

    fn is_text_arg(&self, described: &str) -> bool {
        ["(text)", "(varchar)", "(bpchar)", "(name)"].iter().any(|of| described.ends_with(of))
    }

    fn common(&self, left: Type, right: Type) -> Option<Type> {
        if left == right {
            return Some(left);
        }
        if left.is_number() && right.is_number() {
            return common_number(left, right);
        }
        match (left, right) {
            (Type::Text, Type::Bpchar) | (Type::Bpchar, Type::Text) => Some(Type::Text),
            (Type::Oid, other) | (other, Type::Oid) if other.is_int() => Some(Type::Oid),
            _ => None,
        }
    }

    pub(super) fn compare(&mut self, at: Location, op: Op, left: Arg, right: Arg) -> Bound {
        let operator = if op.is_order() { Operator::Order } else { Operator::Equal };
        self.compared(at, op, left, right, operator)
    }

    fn compared(&mut self, at: Location, op: Op, left: Arg, right: Arg, operator: Operator) -> Bound {
        let what = if left.is_column() { left.described() } else { right.described() };
        let pair = self.pair(at, left, right)?;
        self.allow(at, operator, pair.of, pair.c, &what)?;
        truth(at, compare_node(op, pair.of, pair.left, pair.right))
    }

    pub(super) fn same(&mut self, left: &Expr, right: &Expr, is: bool) -> Bound {
        let at = self.parsed.operator(left);
        let (left, right) = (self.arg(left)?, self.arg(right)?);
        let what = left.described();
        let Pair { left, right, of, .. } = self.pair(at, left, right)?;
        self.allow(at, Operator::Distinct, of, false, &what)?;
        let same = folded(Node::Same { by: by(of), left: Box::new(left), right: Box::new(right) }, at);
        truth(at, if is { same } else { Node::Not(Box::new(same)) })
    }

    pub(super) fn between(&mut self, expr: &Expr, negated: bool, low: &Expr, high: &Expr) -> Bound {
        let at = self.parsed.operator(expr);
        let (value, low, high) = (self.arg(expr)?, self.arg(low)?, self.arg(high)?);
        let mut within = |low: &Arg, high: &Arg| {
            let mut part =
                |op, bound: &Arg| match self.compared(at, op, value.clone(), bound.clone(), Operator::Between)?.what {
                    What::Typed { node, .. } => Ok(node),
                    What::Unknown(_) => refuse(at, "this is never unknown"),
                };
            Ok(folded(Node::And(vec![part(Op::Ge, low)?, part(Op::Le, high)?]), at))
        };
        let mut node = within(&low, &high)?;
        if self.parsed.is_symmetric(at) {
            let mut within = |low: &Arg, high: &Arg| {
                let mut part = |op, bound: &Arg| match self
                    .compared(at, op, value.clone(), bound.clone(), Operator::Between)?
                    .what
                {
                    What::Typed { node, .. } => Ok(node),
                    What::Unknown(_) => refuse(at, "this is never unknown"),
                };
                Ok(folded(Node::And(vec![part(Op::Ge, low)?, part(Op::Le, high)?]), at))
            };
            node = folded(Node::Or(vec![node, within(&high, &low)?]), at);
        }
        truth(at, if negated { Node::Not(Box::new(node)) } else { node })
    }

    /// As Postgres: several constants take on one type together with the left side and come first, all else is compared one
    /// by one.
    pub(super) fn in_list(&mut self, expr: &Expr, list: &[Expr], negated: bool) -> Bound {
        let at = self.parsed.operator(expr);
        let left = self.arg(expr)?;
        let items: Vec<Arg> = list.iter().map(|item| self.arg(item)).collect::<Result<_, _>>()?;
        let is_constant = |item: &Arg| !item.is_column();
        let constants = items.iter().filter(|item| is_constant(item));
        let common = if constants.clone().count() > 1 { list_type(&left, constants) } else { None };
        let (mut first, mut then) = (Vec::new(), Vec::new());
        for item in items {
            match common {
                Some(of) if is_constant(&item) => {
                    let at = item.at;
                    let item = typed(at, self.coerced(item, of)?, of);
                    first.push(self.equal(at, &left, item)?);
                }
                _ => then.push(self.equal(item.at, &left, item)?),
            }
        }
        first.append(&mut then);
        let parts = first;
        let node = folded(Node::Or(parts), at);
        truth(at, if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn equal(&mut self, at: Location, left: &Arg, right: Arg) -> Result<Node, Refused> {
        match self.compared(at, Op::Eq, left.clone(), right, Operator::In)?.what {
            What::Typed { node, .. } => Ok(node),
            What::Unknown(_) => refuse(at, "this is never unknown"),
        }
    }

    pub(super) fn any(&mut self, left: &Expr, op: &BinaryOperator, array: &Expr) -> Bound {
        let at = self.parsed.operator(left);
        if comparison(op) != Some(Op::Eq) {
            return refuse(at, format!("`{op} any` is not there; there is `= any`"));
        }
        let (left, array) = (self.arg(left)?, self.arg(array)?);
        let array = match array.what {
            What::Typed { node, of: Type::Array, .. } => node,
            What::Typed { .. } => return refuse(array.at, format!("{} is no array", array.described())),
            What::Unknown(_) => return refuse(array.at, "the array must be a column: write constants by `in (…)`"),
        };
        let what = left.described();
        // A constant in quotes takes on the elements' type, which only the elements tell.
        let is_open = matches!(&left.what, What::Unknown(Some(_)));
        if let What::Unknown(Some(text)) = &left.what
            && crate::literal::to_uuid(text).is_ok_and(|uuid| uuid != *text)
        {
            return refuse(
                left.at,
                format!("{what} could be a text or a uuid: write it as Postgres writes a uuid, or cast it"),
            );
        }
        let (node, of) = self.resolve(left, Type::Text)?;
        self.allow(at, Operator::Any, of, false, &what)?;
        let by = if is_open { By::Element } else { by(of) };
        truth(at, Node::Any { by, left: Box::new(node), array: Box::new(array) })
    }

    pub(super) fn sum(&mut self, at: Location, sum: Sum, left: Arg, right: Arg) -> Bound {
        let operator = match sum {
            Sum::Add => Operator::Add,
            Sum::Subtract => Operator::Subtract,
            Sum::Multiply => Operator::Multiply,
            Sum::Divide => Operator::Divide,
            Sum::Modulo => Operator::Modulo,
        };
        for side in [&left, &right] {
            if let Some(of) = side.of() {
                self.allow(at, operator, of, false, &side.described())?;
            }
        }
        if left.of().is_none() && right.of().is_none() {
            return refuse(at, "two texts are no numbers: write them without quotes, or cast them");
        }
        let Pair { left, right, of, .. } = self.pair(at, left, right)?;
        self.allow(at, operator, of, false, of.name())?;
        Ok(typed(at, Node::Sum { sum, of, left: Box::new(left), right: Box::new(right) }, of))
    }

    pub(super) fn join(&mut self, at: Location, left: &Expr, right: &Expr) -> Bound {
        let (left, right) = (self.arg(left)?, self.arg(right)?);
        let c = left.is_c() || right.is_c();
        let is_text = |arg: &Arg| arg.of().is_none_or(Type::is_text);
        if !is_text(&left) && !is_text(&right) {
            return refuse(
                at,
                format!("{} || {} joins no text: cast one of them to text", left.described(), right.described()),
            );
        }
        let mut sides = Vec::new();
        for side in [left, right] {
            let (of, what) = (side.of().unwrap_or(Type::Text), side.described());
            self.allow(at, Operator::Join, of, false, &what)?;
            sides.push(self.coerced(side, Type::Text)?);
        }
        let (right, left) = (sides.pop().expect("two sides"), sides.pop().expect("two sides"));
        Ok(typed(at, Node::Join(Box::new(left), Box::new(right)), Type::Text).with_c(c))
    }

    /// `->` and `->>`.
    pub(super) fn get(&mut self, at: Location, json: &Expr, key: &Expr, text: bool) -> Bound {
        let (json, key) = (self.arg(json)?, self.arg(key)?);
        let operator = if text { Operator::GetText } else { Operator::Get };
        let what = json.described();
        let Some(of) = json.of() else {
            return refuse(at, format!("{what} has no type: write {what}::jsonb"));
        };
        self.allow(at, operator, of, false, &what)?;
        let (json, _) = self.resolve(json, of)?;
        let by_name = match key.of() {
            None | Some(Type::Text) => true,
            Some(Type::Int2 | Type::Int4) => false,
            Some(_) => return refuse(key.at, format!("{} is neither a field's name nor an index", key.described())),
        };
        let (key, _) = self.resolve(key, Type::Text)?;
        let node = Node::Get { json: Box::new(json), key: Box::new(key), by_name, text };
        Ok(typed(at, node, if text { Type::Text } else { Type::Jsonb }))
    }
}

/// What the left side and several constants have in common.
fn list_type<'a>(left: &'a Arg, constants: impl Iterator<Item = &'a Arg>) -> Option<Type> {
    let mut known = std::iter::once(left).chain(constants).filter_map(Arg::of);
    let first = known.next()?;
    known.try_fold(first, common_of_list)
}

pub(super) fn by(of: Type) -> By {
    match of {
        Type::Bool => By::Bool,
        Type::Float4 | Type::Float8 => By::Float,
        Type::Numeric => By::Numeric,
        Type::Bpchar => By::Padded,
        _ if of.is_text()
            || matches!(of, Type::Uuid | Type::Bytea | Type::Json | Type::Jsonb | Type::Array | Type::Other) =>
        {
            By::Bytes
        }
        _ => By::Int,
    }
}

fn compare_node(op: Op, of: Type, left: Node, right: Node) -> Node {
    let (op, left, right) = match (left.is_const(), right.is_const()) {
        (true, false) => (op.flip(), right, left),
        _ => (op, left, right),
    };
    if let (Node::Cast { from, inner, .. }, Node::Const(Const::Bytes(digits)), Type::Numeric) = (&left, &right, of)
        && from.is_int()
        && let Numeric::Finite(decimal) = Numeric::read(digits)
    {
        return int_and_numeric(op, *inner.clone(), decimal);
    }
    if let (Type::Int2 | Type::Int4 | Type::Int8, Node::Column(source), Node::Const(Const::Int(value))) =
        (of, &left, &right)
    {
        let (min, max) = source.bounds();
        if *value < min || *value > max {
            return beyond(op, left.clone(), *value > max);
        }
    }
    Node::Compare { op, by: by(of), left: Box::new(left), right: Box::new(right) }
}

/// A whole number and any other, without a detour over digits.
fn int_and_numeric(op: Op, left: Node, decimal: Decimal<'_>) -> Node {
    let floor = decimal.floor();
    let Ok(value) = i64::try_from(floor) else { return beyond(op, left, floor > 0) };
    let op = match op {
        // Between two whole numbers: nothing is equal to it.
        Op::Eq | Op::Ne if !decimal.is_whole() => return Node::Known(Box::new(left), op == Op::Ne),
        Op::Lt | Op::Le if !decimal.is_whole() => Op::Le,
        Op::Gt | Op::Ge if !decimal.is_whole() => Op::Gt,
        same => same,
    };
    compare_node(op, Type::Int8, left, Node::Const(Const::Int(value)))
}

/// All values are below, or above.
fn beyond(op: Op, left: Node, below: bool) -> Node {
    let is = match op {
        Op::Eq => false,
        Op::Ne => true,
        Op::Lt | Op::Le => below,
        Op::Gt | Op::Ge => !below,
    };
    Node::Known(Box::new(left), is)
}

impl crate::node::Source {
    fn bounds(self) -> (i64, i64) {
        use crate::node::Source;
        match self {
            Source::Int2(_) => Type::Int2.bounds(),
            Source::Int4(_) => Type::Int4.bounds(),
            Source::Oid(_) => Type::Oid.bounds(),
            _ => Type::Int8.bounds(),
        }
    }
}

/// Where an expression begins.
pub(super) fn start(expr: &Expr) -> Location {
    expr.span().start
}
