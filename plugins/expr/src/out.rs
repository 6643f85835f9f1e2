//! Values as a column's buffers.

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
