//! An expression as it is evaluated: columns by their handles, constants as values, every type decided.

use sqlparser::tokenizer::Location;
use tidemill_sdk::Column;

use crate::fault::Fault;
use crate::like::{IgnoreCase, Pattern};
use crate::number::Sum;
use crate::types::Type;

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
    pub(crate) fn flip(self) -> Op {
        match self {
            Op::Lt => Op::Gt,
            Op::Le => Op::Ge,
            Op::Gt => Op::Lt,
            Op::Ge => Op::Le,
            same => same,
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

    pub(crate) fn is_order(self) -> bool {
        !matches!(self, Op::Eq | Op::Ne)
    }
}

/// A column by its handle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Bool(Column<bool>),
    Int2(Column<i16>),
    Int4(Column<i32>),
    Int8(Column<i64>),
    Oid(Column<u32>),
    Float4(Column<f32>),
    Float8(Column<f64>),
    Bytes(Column<[u8]>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Const {
    Null,
    Bool(bool),
    /// Whole numbers, dates and times.
    Int(i64),
    Float(f64),
    /// Texts, `numeric`, uuids, bytes, JSON.
    Bytes(Vec<u8>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Bool,
    Int,
    Float,
    Numeric,
    Bytes,
    /// `char(n)`: blanks at the end do not count.
    Padded,
    /// A constant in quotes and an element of an array, as the element's type reads it.
    Element,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Const(Const),
    Column(Source),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// True exactly where the node is one of these.
    Test {
        node: Box<Node>,
        yes: bool,
        no: bool,
        unknown: bool,
    },
    IsNull(Box<Node>),
    /// This, where the node has a value, else unknown.
    Known(Box<Node>, bool),
    Compare {
        op: Op,
        by: By,
        left: Box<Node>,
        right: Box<Node>,
    },
    /// `is not distinct from`.
    Same {
        by: By,
        left: Box<Node>,
        right: Box<Node>,
    },
    Like {
        text: Box<Node>,
        pattern: Pattern,
    },
    LikeIgnoreCase {
        text: Box<Node>,
        pattern: IgnoreCase,
        c: bool,
    },
    /// `= any`; the array is JSON.
    Any {
        by: By,
        left: Box<Node>,
        array: Box<Node>,
    },
    Sum {
        sum: Sum,
        of: Type,
        left: Box<Node>,
        right: Box<Node>,
    },
    Negate {
        of: Type,
        inner: Box<Node>,
    },
    Cast {
        from: Type,
        to: Type,
        inner: Box<Node>,
    },
    /// `->`, and with `text` `->>`; the key is a text or a whole number.
    Get {
        json: Box<Node>,
        key: Box<Node>,
        by_name: bool,
        text: bool,
    },
    Coalesce(Vec<Node>),
    /// `lower` and `upper`; `c` under collation C.
    Case {
        upper: bool,
        c: bool,
        inner: Box<Node>,
    },
    /// Characters, or bytes.
    Length {
        bytes: bool,
        inner: Box<Node>,
    },
    Join(Box<Node>, Box<Node>),
    /// A part without columns that fails, whatever the row.
    Fail(Fault, Location),
}

impl Node {
    /// Whether a row may be answered with an error.
    pub(crate) fn can_fail(&self) -> bool {
        match self {
            Node::Fail(..) | Node::Sum { .. } | Node::Negate { .. } => true,
            Node::Case { c, inner, .. } => !c || inner.can_fail(),
            Node::LikeIgnoreCase { c, text, .. } => !c || text.can_fail(),
            Node::Cast { from, to, inner } => !(from == to || *to == Type::Text) || inner.can_fail(),
            other => other.parts().iter().any(|part| part.can_fail()),
        }
    }

    /// What it is made from, in the order in which it is evaluated.
    pub(crate) fn parts(&self) -> Vec<&Node> {
        match self {
            Node::Const(_) | Node::Column(_) | Node::Fail(..) => Vec::new(),
            Node::And(parts) | Node::Or(parts) | Node::Coalesce(parts) => parts.iter().collect(),
            Node::Not(inner) | Node::IsNull(inner) | Node::Known(inner, _) => vec![inner],
            Node::Test { node, .. } => vec![node],
            Node::Compare { left, right, .. }
            | Node::Same { left, right, .. }
            | Node::Sum { left, right, .. }
            | Node::Join(left, right) => vec![left, right],
            Node::Like { text, .. } | Node::LikeIgnoreCase { text, .. } => vec![text],
            Node::Any { left, array, .. } => vec![left, array],
            Node::Negate { inner, .. }
            | Node::Cast { inner, .. }
            | Node::Case { inner, .. }
            | Node::Length { inner, .. } => vec![inner],
            Node::Get { json, key, .. } => vec![json, key],
        }
    }

    /// The first part that fails for every row.
    pub(crate) fn failing(&self) -> Option<(&Fault, Location)> {
        match self {
            Node::Fail(fault, at) => Some((fault, *at)),
            other => other.parts().into_iter().find_map(Node::failing),
        }
    }

    pub(crate) fn is_const(&self) -> bool {
        matches!(self, Node::Const(_))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Node::Const(Const::Null))
    }

    /// Null where one of the parts is, so that a constant null decides it.
    pub(crate) fn is_strict(&self) -> bool {
        !matches!(
            self,
            Node::And(_)
                | Node::Or(_)
                | Node::Coalesce(_)
                | Node::Test { .. }
                | Node::IsNull(_)
                | Node::Same { .. }
                | Node::Any { .. }
        )
    }
}
