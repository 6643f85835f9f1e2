//! Comparisons: a loop of its own for a column and a constant, one by row for all else.

use std::cmp::Ordering;

use tidemill_sdk::{Bytes, Column, ColumnType, Number, Numbers};

use super::value::both;
use super::{Data, Eval, Truth, Vector, json};
use crate::bits::Bits;
use crate::decimal::{self, Numeric};
use crate::fault::Fault;
use crate::like::{IgnoreCase, Pattern, find_equal};
use crate::literal;
use crate::node::{By, Const, Node, Op, Source};

impl Eval<'_> {
    pub(super) fn compare(&mut self, op: Op, by: By, left: &Node, right: &Node, active: &Bits) -> Truth {
        if let (Node::Column(source), Node::Const(constant)) = (left, right)
            && let Some(bits) = self.with_constant(op, by, *source, constant)
        {
            let valid = self.validity(left, active);
            return Truth::of(bits, valid.as_ref());
        }
        let (left, right) = (self.vector(left, active), self.vector(right, active));
        let valid = both(left.valid.as_ref(), right.valid.as_ref());
        let (left, right) = (&left.data, &right.data);
        let bits = match by {
            By::Bool => self.by_row(valid.as_ref(), |row| holds(op, left.bool(row).cmp(&right.bool(row)))),
            By::Int => self.by_row(valid.as_ref(), |row| holds(op, left.int(row).cmp(&right.int(row)))),
            By::Float => self.by_row(valid.as_ref(), |row| holds(op, order(left.float(row), right.float(row)))),
            _ => self.by_row(valid.as_ref(), |row| holds(op, compare_bytes(by, left.bytes(row), right.bytes(row)))),
        };
        Truth::of(bits, valid.as_ref())
    }

    /// One bit for each row that has values.
    fn by_row(&self, valid: Option<&Bits>, test: impl Fn(usize) -> bool) -> Bits {
        match valid {
            None => Bits::by_row(self.rows, test),
            Some(valid) => Bits::by_row(self.rows, |row| valid.get(row) && test(row)),
        }
    }

    /// The frequent pairs, without a value being moved.
    fn with_constant(&self, op: Op, by: By, source: Source, constant: &Const) -> Option<Bits> {
        Some(match (by, source, constant) {
            (By::Int, Source::Int2(column), Const::Int(value)) => self.number(op, column, i16::try_from(*value).ok()?),
            (By::Int, Source::Int4(column), Const::Int(value)) => self.number(op, column, i32::try_from(*value).ok()?),
            (By::Int, Source::Int8(column), Const::Int(value)) => self.number(op, column, *value),
            (By::Int, Source::Oid(column), Const::Int(value)) => self.number(op, column, u32::try_from(*value).ok()?),
            (By::Float, Source::Float4(column), Const::Float(value)) => {
                let raw = self.batch.column(column).raw();
                Bits::of(raw, |item| holds(op, order(f64::from(f32::from_le_bytes(item)), *value)))
            }
            (By::Float, Source::Float8(column), Const::Float(value)) => {
                let raw = self.batch.column(column).raw();
                Bits::of(raw, |item| holds(op, order(f64::from_le_bytes(item), *value)))
            }
            (By::Numeric, Source::Bytes(column), Const::Bytes(value)) => {
                let value = Numeric::read(value);
                let texts = self.batch.column(column);
                // At a null row there may be no digits.
                let valid = self.valid(column);
                self.by_row(valid.as_ref(), |row| holds(op, Numeric::read(texts.value(row)).cmp(&value)))
            }
            (By::Bytes, Source::Bytes(column), Const::Bytes(value)) => bytes(op, self.batch.column(column), value),
            (By::Padded, Source::Bytes(column), Const::Bytes(value)) => {
                let texts = self.batch.column(column);
                Bits::of_texts(texts, |text| holds(op, unpadded(text).cmp(unpadded(value))))
            }
            _ => return None,
        })
    }

    /// One loop an operator, so that each compiles to vector code; the other three are their opposites.
    fn number<T>(&self, op: Op, column: Column<T>, value: T) -> Bits
    where
        T: Number + Ord + for<'a> ColumnType<View<'a> = Numbers<'a, T>>,
    {
        let raw = self.batch.column(column).raw();
        let bits = match op {
            Op::Eq | Op::Ne => Bits::of(raw, |item| T::read(item) == value),
            Op::Lt | Op::Ge => Bits::of(raw, |item| T::read(item) < value),
            Op::Gt | Op::Le => Bits::of(raw, |item| T::read(item) > value),
        };
        if matches!(op, Op::Ne | Op::Ge | Op::Le) { bits.not() } else { bits }
    }

    /// Equal, or both null. Never unknown.
    pub(super) fn same(&mut self, by: By, left: &Node, right: &Node, active: &Bits) -> Truth {
        let (left, right) = (self.vector(left, active), self.vector(right, active));
        let bits = Bits::by_row(self.rows, |row| match (left.is_valid(row), right.is_valid(row)) {
            (true, true) => are_equal(by, &left.data, &right.data, row),
            (left, right) => left == right,
        });
        Truth::of(bits, None)
    }

    pub(super) fn like(&mut self, text: &Node, pattern: &Pattern, active: &Bits) -> Truth {
        let Vector { data, valid } = self.vector(text, active);
        let bits = match &data {
            Data::Column(texts) => pattern.find_in(*texts),
            other => self.by_row(valid.as_ref(), |row| pattern.matches(other.bytes(row))),
        };
        Truth::of(bits, valid.as_ref())
    }

    pub(super) fn like_ignore_case(&mut self, text: &Node, pattern: &IgnoreCase, c: bool, active: &Bits) -> Truth {
        let Vector { data, valid } = self.vector(text, active);
        let (mut bits, mut scratch) = (Bits::none(self.rows), Vec::new());
        for row in self.wanted(active, valid.as_ref()).ones() {
            let row = row as usize;
            let text = data.bytes(row);
            let matches = if c {
                Some(pattern.matches_c(text, &mut scratch))
            } else {
                str::from_utf8(text).ok().and_then(|text| pattern.matches(text, &mut scratch))
            };
            match matches {
                Some(true) => bits.set(row),
                Some(false) => {}
                None => self.fail(row, Fault::locale("ilike")),
            }
        }
        Truth::of(bits, valid.as_ref())
    }

    /// `left = any(array)`: yes where one is equal, else unknown where one is null, else no; of none at all no.
    pub(super) fn any(&mut self, by: By, left: &Node, array: &Node, active: &Bits) -> Truth {
        let (left, array) = (self.vector(left, active), self.vector(array, active));
        let (mut yes, mut no) = (Bits::none(self.rows), Bits::none(self.rows));
        let mut scratch = Vec::new();
        for row in self.wanted(active, array.valid.as_ref()).ones() {
            let row = row as usize;
            let (mut found, mut unknown) = (false, false);
            for element in json::elements(array.data.bytes(row)) {
                match element {
                    b"null" => unknown = true,
                    _ if !left.is_valid(row) => unknown = true,
                    element => found |= is_element(by, &left.data, row, element, &mut scratch),
                }
            }
            match (found, unknown) {
                (true, _) => yes.set(row),
                (false, true) => {}
                (false, false) => no.set(row),
            }
        }
        Truth { yes, no }
    }
}

fn is_element(by: By, left: &Data<'_>, row: usize, element: &[u8], scratch: &mut Vec<u8>) -> bool {
    scratch.clear();
    let text = json::as_text(element, scratch);
    match by {
        By::Element => is_read_as(element, text, str::from_utf8(left.bytes(row)).unwrap_or_default()),
        By::Bool => (text == b"true") == left.bool(row),
        By::Int => {
            let text = str::from_utf8(text).unwrap_or_default();
            match text.parse::<i64>() {
                Ok(value) => value == left.int(row),
                Err(_) => text.parse::<f64>() == Ok(left.int(row) as f64),
            }
        }
        By::Float => {
            let value = str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            value.is_some_and(|value| order(value, left.float(row)).is_eq())
        }
        other => compare_bytes(other, left.bytes(row), text).is_eq(),
    }
}

fn is_read_as(element: &[u8], text: &[u8], constant: &str) -> bool {
    match element.first() {
        Some(b't' | b'f') => literal::boolean(constant) == Ok(element == b"true"),
        Some(b'-' | b'0'..=b'9') => {
            let number = str::from_utf8(text).ok().and_then(decimal::spell);
            let read = literal::numeric(constant).ok().zip(number);
            read.is_some_and(|(a, b)| Numeric::read(a.as_bytes()) == Numeric::read(b.as_bytes()))
        }
        _ => constant.as_bytes() == text,
    }
}

fn are_equal(by: By, left: &Data<'_>, right: &Data<'_>, row: usize) -> bool {
    match by {
        By::Bool => left.bool(row) == right.bool(row),
        By::Int => left.int(row) == right.int(row),
        By::Float => order(left.float(row), right.float(row)).is_eq(),
        _ => compare_bytes(by, left.bytes(row), right.bytes(row)).is_eq(),
    }
}

fn compare_bytes(by: By, left: &[u8], right: &[u8]) -> Ordering {
    match by {
        By::Numeric => Numeric::read(left).cmp(&Numeric::read(right)),
        By::Padded => unpadded(left).cmp(unpadded(right)),
        _ => left.cmp(right),
    }
}

fn holds(op: Op, order: Ordering) -> bool {
    match op {
        Op::Eq => order.is_eq(),
        Op::Ne => order.is_ne(),
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Gt => order.is_gt(),
        Op::Ge => order.is_ge(),
    }
}

/// Postgres' order of floats: NaN equals itself and is above all else.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn bytes(op: Op, texts: Bytes<'_>, value: &[u8]) -> Bits {
    match op {
        Op::Eq => find_equal(value, texts),
        Op::Ne => bytes(Op::Eq, texts, value).not(),
        _ => Bits::of_texts(texts, |text| holds(op, text.cmp(value))),
    }
}

/// `char(n)` without the blanks that fill it up.
pub(super) fn unpadded(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
    &text[..end]
}
