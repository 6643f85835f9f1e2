//! A predicate as it is evaluated: columns by their handles, constants as values of the columns' types.

use tidemill_sdk::Column;

use crate::like::{IgnoreCase, Pattern};
use crate::parse::Op;

/// What is evaluated. Each node is true, false or unknown for a row.
#[derive(Debug)]
pub enum Node {
    Constant(Option<bool>),
    /// This, where the column has a value, else unknown.
    Known(Column<()>, bool),
    IsNull(Column<()>),
    Bool(Column<bool>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// True exactly where the node is one of those.
    Test {
        node: Box<Node>,
        yes: bool,
        no: bool,
        unknown: bool,
    },
    /// Two booleans; false comes before true.
    CompareBools(Op, Box<Node>, Box<Node>),
    /// Where `equal` is true or both are null. Never unknown.
    Same {
        equal: Box<Node>,
        left_is_null: Box<Node>,
        right_is_null: Box<Node>,
    },
    Compare(Op, Value),
    Columns(Op, Pair),
    Like(Column<[u8]>, Pattern),
    LikeIgnoreCase(Column<str>, IgnoreCase),
}

/// A column and the constant that it is compared with.
#[derive(Debug)]
pub enum Value {
    Int16(Column<i16>, i16),
    Int32(Column<i32>, i32),
    Int64(Column<i64>, i64),
    Uint32(Column<u32>, u32),
    Float32(Column<f32>, f64),
    Float64(Column<f64>, f64),
    Numeric(Column<[u8]>, String),
    Bytes(Column<[u8]>, Vec<u8>),
    /// `char(n)`: blanks at the end do not count.
    Padded(Column<[u8]>, Vec<u8>),
}

/// Two columns that can be compared.
#[derive(Debug)]
pub enum Pair {
    Ints(AnyInt, AnyInt),
    Floats(AnyFloat, AnyFloat),
    Numerics(Column<[u8]>, Column<[u8]>),
    Bytes(Column<[u8]>, Column<[u8]>),
    Padded(Column<[u8]>, Column<[u8]>),
}

#[derive(Clone, Copy, Debug)]
pub enum AnyInt {
    Int16(Column<i16>),
    Int32(Column<i32>),
    Int64(Column<i64>),
    Uint32(Column<u32>),
}

#[derive(Clone, Copy, Debug)]
pub enum AnyFloat {
    Float32(Column<f32>),
    Float64(Column<f64>),
}
