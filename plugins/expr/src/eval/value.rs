//! Values of a whole batch.

use tidemill_sdk::{Bytes, Column, ColumnType, Number, Numbers};

use super::{Eval, Truth};
use crate::bits::Bits;
use crate::fault::Fault;
use crate::node::{Const, Node, Source};
use crate::number::{self, Sum};
use crate::types::Type;

/// One value a row, and where there is one.
#[derive(Debug)]
pub(crate) struct Vector<'b> {
    pub(crate) data: Data<'b>,
    /// `None` where all rows have a value.
    pub(crate) valid: Option<Bits>,
}

/// Values; at a null row, anything. Constants are not repeated.
#[derive(Debug)]
pub(crate) enum Data<'b> {
    Null,
    Bools(Bits),
    Int(i64),
    Ints(Vec<i64>),
    Float(f64),
    Floats(Vec<f64>),
    Text(Vec<u8>),
    Column(Bytes<'b>),
    Made(Texts),
}

/// Texts that were made, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    ends: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Texts {
    pub(crate) fn with_rows(rows: usize) -> Texts {
        Texts { ends: Vec::with_capacity(rows), bytes: Vec::new() }
    }

    /// What was written since the last row is this row's.
    pub(crate) fn end_row(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn get(&self, row: usize) -> &[u8] {
        let from = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[from..self.ends[row]]
    }
}

impl Data<'_> {
    pub(crate) fn int(&self, row: usize) -> i64 {
        match self {
            Data::Int(value) => *value,
            Data::Ints(values) => values[row],
            _ => 0,
        }
    }

    pub(crate) fn float(&self, row: usize) -> f64 {
        match self {
            Data::Float(value) => *value,
            Data::Floats(values) => values[row],
            _ => 0.0,
        }
    }

    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        match self {
            Data::Text(text) => text,
            Data::Column(texts) => texts.value(row),
            Data::Made(texts) => texts.get(row),
            _ => b"",
        }
    }

    pub(crate) fn bool(&self, row: usize) -> bool {
        match self {
            Data::Bools(bits) => bits.get(row),
            _ => false,
        }
    }
}

impl Vector<'_> {
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.get(row))
    }

    pub(crate) fn into_truth(self, rows: usize) -> Truth {
        match self.data {
            Data::Bools(yes) => Truth::of(yes, self.valid.as_ref()),
            _ => Truth { yes: Bits::none(rows), no: Bits::none(rows) },
        }
    }
}

pub(super) fn both(left: Option<&Bits>, right: Option<&Bits>) -> Option<Bits> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.clone().and(right)),
        (one, other) => one.or(other).cloned(),
    }
}

impl<'b> Eval<'b> {
    /// The values of the active rows; of others there may be anything.
    pub(crate) fn vector(&mut self, node: &Node, active: &Bits) -> Vector<'b> {
        match node {
            Node::Const(constant) => self.constant(constant),
            Node::Column(source) => self.column(*source),
            Node::Sum { sum, of, left, right } => self.sum(*sum, *of, left, right, active),
            Node::Negate { of, inner } => self.negate(*of, inner, active),
            Node::Cast { from, to, inner } => self.cast(*from, *to, inner, active),
            Node::Get { json, key, by_name, text } => self.get(json, key, *by_name, *text, active),
            Node::Coalesce(parts) => self.coalesce(parts, active),
            Node::Case { upper, c, inner } => self.case(*upper, *c, inner, active),
            Node::Length { bytes, inner } => self.length(*bytes, inner, active),
            Node::Join(left, right) => self.join(left, right, active),
            Node::Fail(fault, _) => {
                let fault = fault.clone();
                active.ones().for_each(|row| self.fail(row as usize, fault.clone()));
                Vector { data: Data::Null, valid: Some(Bits::none(self.rows)) }
            }
            truth => {
                let Truth { yes, no } = self.truth(truth, active);
                let valid = yes.clone().or(&no);
                Vector { data: Data::Bools(yes), valid: Some(valid) }
            }
        }
    }

    fn constant(&self, constant: &Const) -> Vector<'b> {
        let data = match constant {
            Const::Null => return Vector { data: Data::Null, valid: Some(Bits::none(self.rows)) },
            Const::Bool(is) => Data::Bools(if *is { self.all() } else { Bits::none(self.rows) }),
            Const::Int(value) => Data::Int(*value),
            Const::Float(value) => Data::Float(*value),
            Const::Bytes(bytes) => Data::Text(bytes.clone()),
        };
        Vector { data, valid: None }
    }

    fn column(&self, source: Source) -> Vector<'b> {
        match source {
            Source::Bool(column) => {
                let bits = Bits::from_bytes(self.batch.column(column).bits(), self.rows);
                Vector { data: Data::Bools(bits), valid: self.valid(column) }
            }
            Source::Int2(column) => self.ints(column),
            Source::Int4(column) => self.ints(column),
            Source::Int8(column) => self.ints(column),
            Source::Oid(column) => self.ints(column),
            Source::Float4(column) => self.floats(column),
            Source::Float8(column) => self.floats(column),
            Source::Bytes(column) => {
                Vector { data: Data::Column(self.batch.column(column)), valid: self.valid(column) }
            }
        }
    }

    fn ints<T>(&self, column: Column<T>) -> Vector<'b>
    where
        T: Number + Into<i64> + for<'a> ColumnType<View<'a> = Numbers<'a, T>>,
    {
        let values = self.batch.column(column).values().map(Into::into).collect();
        Vector { data: Data::Ints(values), valid: self.valid(column) }
    }

    fn floats<T>(&self, column: Column<T>) -> Vector<'b>
    where
        T: Number + Into<f64> + for<'a> ColumnType<View<'a> = Numbers<'a, T>>,
    {
        let values = self.batch.column(column).values().map(Into::into).collect();
        Vector { data: Data::Floats(values), valid: self.valid(column) }
    }

    /// The rows that are asked for and have a value and have not failed.
    pub(super) fn wanted(&self, active: &Bits, valid: Option<&Bits>) -> Bits {
        let wanted = active.clone().and_not(&self.failed);
        valid.map_or_else(|| wanted.clone(), |valid| wanted.clone().and(valid))
    }

    /// Whole numbers made row by row.
    pub(super) fn make_ints(
        &mut self,
        active: &Bits,
        valid: Option<Bits>,
        make: impl Fn(usize) -> Result<i64, Fault>,
    ) -> Vector<'b> {
        let mut values = vec![0; self.rows];
        for row in self.wanted(active, valid.as_ref()).ones() {
            match make(row as usize) {
                Ok(value) => values[row as usize] = value,
                Err(fault) => self.fail(row as usize, fault),
            }
        }
        Vector { data: Data::Ints(values), valid }
    }

    pub(super) fn make_floats(
        &mut self,
        active: &Bits,
        valid: Option<Bits>,
        make: impl Fn(usize) -> Result<f64, Fault>,
    ) -> Vector<'b> {
        let mut values = vec![0.0; self.rows];
        for row in self.wanted(active, valid.as_ref()).ones() {
            match make(row as usize) {
                Ok(value) => values[row as usize] = value,
                Err(fault) => self.fail(row as usize, fault),
            }
        }
        Vector { data: Data::Floats(values), valid }
    }

    pub(super) fn make_bools(
        &mut self,
        active: &Bits,
        valid: Option<Bits>,
        make: impl Fn(usize) -> Result<bool, Fault>,
    ) -> Vector<'b> {
        let mut values = Bits::none(self.rows);
        for row in self.wanted(active, valid.as_ref()).ones() {
            match make(row as usize) {
                Ok(true) => values.set(row as usize),
                Ok(false) => {}
                Err(fault) => self.fail(row as usize, fault),
            }
        }
        Vector { data: Data::Bools(values), valid }
    }

    /// Texts made row by row; `Ok(false)` makes it null.
    pub(super) fn make_texts(
        &mut self,
        active: &Bits,
        valid: Option<Bits>,
        mut make: impl FnMut(usize, &mut Vec<u8>) -> Result<bool, Fault>,
    ) -> Vector<'b> {
        let wanted = self.wanted(active, valid.as_ref());
        let mut valid = valid;
        let mut texts = Texts::with_rows(self.rows);
        for row in 0..self.rows {
            if wanted.get(row) {
                match make(row, &mut texts.bytes) {
                    Ok(true) => {}
                    Ok(false) => valid.get_or_insert_with(|| Bits::all(wanted.rows())).unset(row),
                    Err(fault) => self.fail(row, fault),
                }
            }
            texts.end_row();
        }
        Vector { data: Data::Made(texts), valid }
    }

    fn sum(&mut self, sum: Sum, of: Type, left: &Node, right: &Node, active: &Bits) -> Vector<'b> {
        let (left, right) = (self.vector(left, active), self.vector(right, active));
        let valid = both(left.valid.as_ref(), right.valid.as_ref());
        let (left, right) = (left.data, right.data);
        match of {
            Type::Numeric => self.make_texts(active, valid, |row, into| {
                number::reckon(sum, left.bytes(row), right.bytes(row), into).map(|()| true)
            }),
            Type::Float4 => self.make_floats(active, valid, |row| {
                let (left, right) = (left.float(row) as f32, right.float(row) as f32);
                float_sum(sum, left, right, f32::is_infinite).map(f64::from)
            }),
            Type::Float8 => self
                .make_floats(active, valid, |row| float_sum(sum, left.float(row), right.float(row), f64::is_infinite)),
            _ => self.make_ints(active, valid, |row| int_sum(sum, of, left.int(row), right.int(row))),
        }
    }

    fn negate(&mut self, of: Type, inner: &Node, active: &Bits) -> Vector<'b> {
        let Vector { data, valid } = self.vector(inner, active);
        match of {
            Type::Numeric => self.make_texts(active, valid, |row, into| {
                number::negate(data.bytes(row), into);
                Ok(true)
            }),
            Type::Float4 | Type::Float8 => self.make_floats(active, valid, |row| Ok(-data.float(row))),
            _ => self.make_ints(active, valid, |row| int_sum(Sum::Subtract, of, 0, data.int(row))),
        }
    }

    /// The first value of each row; what stands behind it is not asked.
    fn coalesce(&mut self, parts: &[Node], active: &Bits) -> Vector<'b> {
        let mut open = active.clone();
        let mut taken: Vec<(Vector<'b>, Bits)> = Vec::with_capacity(parts.len());
        for part in parts {
            open = open.and_not(&self.failed);
            let vector = self.vector(part, &open);
            let takes = match &vector.valid {
                Some(valid) => open.clone().and(valid),
                None => open.clone(),
            };
            open = open.and_not(&takes);
            taken.push((vector, takes));
        }
        let valid = taken.iter().fold(Bits::none(self.rows), |all, (_, takes)| all.or(takes));
        let kind = taken.iter().map(|(vector, _)| &vector.data).find(|data| !matches!(data, Data::Null));
        let of = |row: usize| taken.iter().find(|(_, takes)| takes.get(row)).map(|(vector, _)| &vector.data);
        let data = match kind {
            None => Data::Null,
            Some(Data::Bools(_)) => {
                Data::Bools(Bits::by_row(self.rows, |row| of(row).is_some_and(|data| data.bool(row))))
            }
            Some(Data::Int(_) | Data::Ints(_)) => {
                Data::Ints((0..self.rows).map(|row| of(row).map_or(0, |data| data.int(row))).collect())
            }
            Some(Data::Float(_) | Data::Floats(_)) => {
                Data::Floats((0..self.rows).map(|row| of(row).map_or(0.0, |data| data.float(row))).collect())
            }
            Some(_) => {
                let mut texts = Texts::with_rows(self.rows);
                for row in 0..self.rows {
                    texts.bytes.extend_from_slice(of(row).map_or(b"", |data| data.bytes(row)));
                    texts.end_row();
                }
                Data::Made(texts)
            }
        };
        Vector { data, valid: Some(valid) }
    }
}

fn int_sum(sum: Sum, of: Type, left: i64, right: i64) -> Result<i64, Fault> {
    let value = match sum {
        Sum::Add => left.checked_add(right),
        Sum::Subtract => left.checked_sub(right),
        Sum::Multiply => left.checked_mul(right),
        Sum::Divide | Sum::Modulo if right == 0 => return Err(Fault::division()),
        Sum::Divide => left.checked_div(right),
        // The least number by -1 has no quotient, but a rest.
        Sum::Modulo => Some(left.wrapping_rem(right)),
    };
    let (min, max) = of.bounds();
    value.filter(|value| (min..=max).contains(value)).ok_or_else(|| Fault::range(of.range_message()))
}

/// The numbers that Postgres' floats share.
trait Float: Copy + PartialEq + Default + std::ops::Add<Output = Self> + std::ops::Sub<Output = Self>
where
    Self: std::ops::Mul<Output = Self> + std::ops::Div<Output = Self>,
{
    fn is_nan(self) -> bool;
}

impl Float for f32 {
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl Float for f64 {
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

/// As `float.h` of Postgres: infinite or zero only where an argument says so.
fn float_sum<F: Float>(sum: Sum, left: F, right: F, is_infinite: fn(F) -> bool) -> Result<F, Fault> {
    let zero = F::default();
    let value = match sum {
        Sum::Add => left + right,
        Sum::Subtract => left - right,
        Sum::Multiply => left * right,
        Sum::Divide if right == zero && !left.is_nan() => return Err(Fault::division()),
        Sum::Divide | Sum::Modulo => left / right,
    };
    let overflows = is_infinite(value) && !is_infinite(left) && (!is_infinite(right) || sum == Sum::Divide);
    let vanishes = value == zero
        && left != zero
        && match sum {
            Sum::Multiply => right != zero,
            Sum::Divide => !is_infinite(right),
            _ => false,
        };
    match (overflows, vanishes) {
        (true, _) => Err(Fault::range("value out of range: overflow")),
        (_, true) => Err(Fault::range("value out of range: underflow")),
        _ => Ok(value),
    }
}
