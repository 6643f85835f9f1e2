//! Values as they leave: as a column's buffers, or one by one.

use tidemill_sdk::{Buffers, MakeBytes, MakeNumbers};

use crate::bits::Bits;
use crate::eval::Vector;
use crate::types::Type;

pub(crate) fn buffers(vector: &Vector<'_>, of: Type, rows: usize, failed: &Bits) -> Buffers {
    let is_there = |row: usize| vector.is_valid(row) && !failed.get(row);
    let data = &vector.data;
    let ints = |row: usize| is_there(row).then(|| data.int(row));
    match of {
        Type::Bool => (0..rows).map(|row| is_there(row).then(|| data.bool(row))).collect(),
        Type::Int2 => MakeNumbers::of((0..rows).map(|row| ints(row).map(|value| value as i16))),
        Type::Int4 | Type::Date => MakeNumbers::of((0..rows).map(|row| ints(row).map(|value| value as i32))),
        Type::Oid => MakeNumbers::of((0..rows).map(|row| ints(row).map(|value| value as u32))),
        Type::Int8 | Type::Timestamp | Type::TimestampTz | Type::Time => MakeNumbers::of((0..rows).map(ints)),
        Type::Float4 => MakeNumbers::of((0..rows).map(|row| is_there(row).then(|| data.float(row) as f32))),
        Type::Float8 => MakeNumbers::of((0..rows).map(|row| is_there(row).then(|| data.float(row)))),
        _ => MakeBytes::of((0..rows).map(|row| is_there(row).then(|| data.bytes(row)))),
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    /// Whole numbers, dates and times.
    Int(i64),
    Float(f64),
    Bytes(&'a [u8]),
}

/// The values of a batch.
#[derive(Debug)]
pub struct Cells<'b> {
    vector: Vector<'b>,
    of: Type,
    failed: Bits,
}

impl<'b> Cells<'b> {
    pub(crate) fn new(vector: Vector<'b>, of: Type, failed: Bits) -> Cells<'b> {
        Cells { vector, of, failed }
    }

    pub fn get(&self, row: usize) -> Cell<'_> {
        if !self.vector.is_valid(row) || self.failed.get(row) {
            return Cell::Null;
        }
        let data = &self.vector.data;
        match self.of {
            Type::Bool => Cell::Bool(data.bool(row)),
            of if of.is_float() => Cell::Float(data.float(row)),
            of if of.is_int() => Cell::Int(data.int(row)),
            Type::Oid | Type::Date | Type::Timestamp | Type::TimestampTz | Type::Time => Cell::Int(data.int(row)),
            _ => Cell::Bytes(data.bytes(row)),
        }
    }
}
