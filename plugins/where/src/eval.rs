//! A bound predicate over a batch, a column at a time.
//!
//! Three-valued logic needs no third value: a node is asked for the rows where it is true, or for those where it is false,
//! and each question goes down as one of the two. `not` swaps them; where neither holds it is unknown.

use std::cmp::Ordering;

use tidemill_sdk::{Batch, Bytes, Column, ColumnType, Number, Numbers};

use crate::bits::Bits;
use crate::decimal::Numeric;
use crate::like::{IgnoreCase, same};
use crate::node::{AnyFloat, AnyInt, Node, Pair, Value};
use crate::parse::Op;

/// The rows where the predicate is true, and those where it cannot be told, if there are any.
pub fn eval(node: &Node, batch: &Batch<'_>) -> (Bits, Option<Bits>) {
    let mut eval = Eval { batch, rows: batch.rows(), doubtful: None };
    let kept = eval.are(true, node);
    (kept, eval.doubtful)
}

struct Eval<'b> {
    batch: &'b Batch<'b>,
    rows: usize,
    doubtful: Option<Bits>,
}

impl Eval<'_> {
    /// The rows where the node is true, or where it is false.
    fn are(&mut self, is: bool, node: &Node) -> Bits {
        match node {
            Node::Constant(constant) if *constant == Some(is) => Bits::all(self.rows),
            Node::Constant(_) => Bits::none(self.rows),
            Node::Known(column, constant) if *constant == is => self.valid(*column),
            Node::Known(..) => Bits::none(self.rows),
            Node::IsNull(column) => {
                let valid = self.valid(*column);
                if is { valid.not() } else { valid }
            }
            Node::Bool(column) => {
                let bits = Bits::from_bytes(self.batch.column(*column).bits(), self.rows);
                let bits = if is { bits } else { bits.not() };
                self.and_valid(bits, *column)
            }
            Node::And(parts) => self.fold(is, parts, is),
            Node::Or(parts) => self.fold(is, parts, !is),
            Node::Not(inner) => self.are(!is, inner),
            Node::Test { node, yes, no, unknown } => {
                let passed = self.test(node, [*yes, *no, *unknown]);
                if is { passed } else { passed.not() }
            }
            Node::CompareBools(op, left, right) => self.bools(if is { *op } else { op.inverse() }, left, right),
            Node::Same { equal, left_is_null, right_is_null } => {
                let both = self.are(true, left_is_null).and(&self.are(true, right_is_null));
                let same = self.are(true, equal).or(&both);
                if is { same } else { same.not() }
            }
            Node::Compare(op, value) => self.compare(if is { *op } else { op.inverse() }, value),
            Node::Columns(op, pair) => self.columns(if is { *op } else { op.inverse() }, pair),
            Node::Like(column, pattern) => {
                let texts = self.batch.column(*column);
                let bits = pattern.find_in(texts.values());
                let bits = if is { bits } else { bits.not() };
                self.and_valid(bits, *column)
            }
            Node::LikeIgnoreCase(column, pattern) => self.like_ignore_case(is, *column, pattern),
        }
    }

    /// All of the parts (`every`), or one of them.
    fn fold(&mut self, is: bool, parts: &[Node], every: bool) -> Bits {
        let mut bits = if every { Bits::all(self.rows) } else { Bits::none(self.rows) };
        for part in parts {
            let part = self.are(is, part);
            bits = if every { bits.and(&part) } else { bits.or(&part) };
        }
        bits
    }

    fn test(&mut self, node: &Node, [yes, no, unknown]: [bool; 3]) -> Bits {
        let (is_yes, is_no) = (self.are(true, node), self.are(false, node));
        let mut passed = Bits::none(self.rows);
        if yes {
            passed = passed.or(&is_yes);
        }
        if no {
            passed = passed.or(&is_no);
        }
        if unknown {
            passed = passed.or(&is_yes.or(&is_no).not());
        }
        passed
    }

    fn bools(&mut self, op: Op, left: &Node, right: &Node) -> Bits {
        let (left_yes, left_no) = (self.are(true, left), self.are(false, left));
        let (right_yes, right_no) = (self.are(true, right), self.are(false, right));
        let less = left_no.clone().and(&right_yes);
        let greater = left_yes.clone().and(&right_no);
        let equal = left_yes.and(&right_yes).or(&left_no.and(&right_no));
        match op {
            Op::Eq => equal,
            Op::Ne => less.or(&greater),
            Op::Lt => less,
            Op::Le => less.or(&equal),
            Op::Gt => greater,
            Op::Ge => greater.or(&equal),
        }
    }

    fn valid<T: ?Sized>(&self, column: Column<T>) -> Bits {
        match self.batch.validity(column) {
            Some(bits) => Bits::from_bytes(bits, self.rows),
            None => Bits::all(self.rows),
        }
    }

    fn and_valid<T: ?Sized>(&self, bits: Bits, column: Column<T>) -> Bits {
        match self.batch.validity(column) {
            Some(valid) => bits.and(&Bits::from_bytes(valid, self.rows)),
            None => bits,
        }
    }

    fn compare(&self, op: Op, value: &Value) -> Bits {
        match value {
            Value::Int16(column, value) => self.number(op, *column, *value),
            Value::Int32(column, value) => self.number(op, *column, *value),
            Value::Int64(column, value) => self.number(op, *column, *value),
            Value::Uint32(column, value) => self.number(op, *column, *value),
            Value::Float32(column, value) => {
                let values = self.batch.column(*column).values();
                self.and_valid(floats(op, values.map(f64::from), *value), *column)
            }
            Value::Float64(column, value) => {
                let values = self.batch.column(*column).values();
                self.and_valid(floats(op, values, *value), *column)
            }
            Value::Numeric(column, value) => {
                let (value, texts) = (Numeric::read(value.as_bytes()), self.batch.column(*column));
                let bits = Bits::of_each(texts.values(), |text| holds(op, Numeric::read(text).cmp(&value)));
                self.and_valid(bits, *column)
            }
            Value::Bytes(column, value) => self.and_valid(bytes(op, self.batch.column(*column), value), *column),
            Value::Padded(column, value) => {
                let texts = self.batch.column(*column);
                let bits = Bits::of_each(texts.values(), |text| holds(op, unpadded(text).cmp(value)));
                self.and_valid(bits, *column)
            }
        }
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
        let bits = if matches!(op, Op::Ne | Op::Ge | Op::Le) { bits.not() } else { bits };
        self.and_valid(bits, column)
    }

    fn columns(&self, op: Op, pair: &Pair) -> Bits {
        match pair {
            Pair::Ints(left, right) => {
                let ((left, left_valid), (right, right_valid)) = (self.ints(*left), self.ints(*right));
                let bits = Bits::by_row(self.rows, |row| holds(op, left[row].cmp(&right[row])));
                bits.and(&left_valid).and(&right_valid)
            }
            Pair::Floats(left, right) => {
                let ((left, left_valid), (right, right_valid)) = (self.floats(*left), self.floats(*right));
                let bits = Bits::by_row(self.rows, |row| holds(op, order(left[row], right[row])));
                bits.and(&left_valid).and(&right_valid)
            }
            Pair::Numerics(left, right) => {
                self.texts(*left, *right, |a, b| holds(op, Numeric::read(a).cmp(&Numeric::read(b))))
            }
            Pair::Bytes(left, right) => self.texts(*left, *right, |a, b| holds(op, a.cmp(b))),
            Pair::Padded(left, right) => self.texts(*left, *right, |a, b| holds(op, unpadded(a).cmp(unpadded(b)))),
        }
    }

    fn texts(&self, left: Column<[u8]>, right: Column<[u8]>, test: impl Fn(&[u8], &[u8]) -> bool) -> Bits {
        let (lefts, rights) = (self.batch.column(left), self.batch.column(right));
        let bits = Bits::by_row(self.rows, |row| test(lefts.value(row), rights.value(row)));
        self.and_valid(self.and_valid(bits, left), right)
    }

    fn ints(&self, column: AnyInt) -> (Vec<i64>, Bits) {
        match column {
            AnyInt::Int16(column) => (self.batch.column(column).values().map(i64::from).collect(), self.valid(column)),
            AnyInt::Int32(column) => (self.batch.column(column).values().map(i64::from).collect(), self.valid(column)),
            AnyInt::Int64(column) => (self.batch.column(column).values().collect(), self.valid(column)),
            AnyInt::Uint32(column) => (self.batch.column(column).values().map(i64::from).collect(), self.valid(column)),
        }
    }

    fn floats(&self, column: AnyFloat) -> (Vec<f64>, Bits) {
        match column {
            AnyFloat::Float32(column) => {
                (self.batch.column(column).values().map(f64::from).collect(), self.valid(column))
            }
            AnyFloat::Float64(column) => (self.batch.column(column).values().collect(), self.valid(column)),
        }
    }

    fn like_ignore_case(&mut self, is: bool, column: Column<str>, pattern: &IgnoreCase) -> Bits {
        let texts = self.batch.column(column);
        let (mut scratch, mut doubtful) = (Vec::new(), Bits::none(self.rows));
        let bits =
            Bits::by_row(self.rows, |row| match texts.get(row).map(|text| pattern.matches(text, &mut scratch)) {
                Some(Some(matches)) => matches == is,
                Some(None) => {
                    doubtful.set(row);
                    false
                }
                None => false,
            });
        if doubtful.count() > 0 {
            self.doubtful = Some(match self.doubtful.take() {
                Some(old) => old.or(&doubtful),
                None => doubtful,
            });
        }
        bits
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

fn floats(op: Op, values: impl ExactSizeIterator<Item = f64>, value: f64) -> Bits {
    Bits::of_each(values, |item| holds(op, order(item, value)))
}

fn bytes(op: Op, texts: Bytes<'_>, value: &[u8]) -> Bits {
    match op {
        Op::Eq => Bits::of_each(texts.values(), |text| same(text, value)),
        Op::Ne => Bits::of_each(texts.values(), |text| !same(text, value)),
        _ => Bits::of_each(texts.values(), |text| holds(op, text.cmp(value))),
    }
}

/// `char(n)` without the blanks that fill it up.
fn unpadded(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
    &text[..end]
}
