//! Casts, of a batch's values and of constants.

use super::compare::unpadded;
use super::{Data, Eval, Vector};
use crate::bits::Bits;
use crate::fault::Fault;
use crate::literal;
use crate::node::Node;
use crate::number;
use crate::types::Type;

impl<'b> Eval<'b> {
    pub(super) fn cast(&mut self, from: Type, to: Type, inner: &Node, active: &Bits) -> Vector<'b> {
        let Vector { data, valid } = self.vector(inner, active);
        let data = &data;
        match to {
            _ if to.is_int() || to == Type::Oid => self.make_ints(active, valid, |row| to_int(from, to, data, row)),
            Type::Float4 | Type::Float8 => self.make_floats(active, valid, |row| to_float(from, to, data, row)),
            Type::Bool => self.make_bools(active, valid, |row| match from {
                Type::Bool => Ok(data.bool(row)),
                Type::Int4 => Ok(data.int(row) != 0),
                _ => literal::boolean(text(data, row)).map_err(|_| Fault::syntax("boolean")),
            }),
            _ => self.make_texts(active, valid, |row, into| to_bytes(from, to, data, row, into).map(|()| true)),
        }
    }
}

fn text<'a>(data: &'a Data<'_>, row: usize) -> &'a str {
    str::from_utf8(data.bytes(row)).unwrap_or_default()
}

fn to_int(from: Type, to: Type, data: &Data<'_>, row: usize) -> Result<i64, Fault> {
    let (bounds, range) = (to.bounds(), to.range_message());
    let fits = |value: i64| (bounds.0..=bounds.1).contains(&value);
    let value = match from {
        Type::Bool => i64::from(data.bool(row)),
        Type::Numeric => return number::to_int(data.bytes(row), long_name(to), bounds, range),
        Type::Float4 | Type::Float8 => {
            let rounded = data.float(row).round_ties_even();
            // The bound itself is no float of 64 bits, the one above it is.
            if rounded.is_nan() || rounded < i64::MIN as f64 || rounded >= -(i64::MIN as f64) {
                return Err(Fault::range(range));
            }
            rounded as i64
        }
        Type::Text => return literal::to_int(text(data, row), long_name(to), bounds),
        // The same four bytes.
        Type::Int2 | Type::Int4 if to == Type::Oid => i64::from(data.int(row) as i32 as u32),
        _ => data.int(row),
    };
    if fits(value) { Ok(value) } else { Err(Fault::range(range)) }
}

fn to_float(from: Type, to: Type, data: &Data<'_>, row: usize) -> Result<f64, Fault> {
    match from {
        Type::Float4 | Type::Float8 if to == Type::Float8 => Ok(data.float(row)),
        Type::Float4 | Type::Float8 => {
            let value = data.float(row);
            let single = value as f32;
            if single.is_infinite() && value.is_finite() {
                Err(Fault::range("value out of range: overflow"))
            } else if single == 0.0 && value != 0.0 {
                Err(Fault::range("value out of range: underflow"))
            } else {
                Ok(f64::from(single))
            }
        }
        Type::Numeric | Type::Text => literal::to_float(text(data, row), to == Type::Float4),
        _ if to == Type::Float4 => Ok(f64::from(data.int(row) as f32)),
        _ => Ok(data.int(row) as f64),
    }
}

fn to_bytes(from: Type, to: Type, data: &Data<'_>, row: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
    match (from, to) {
        (Type::Bool, _) => into.extend_from_slice(if data.bool(row) { b"true" } else { b"false" }),
        (Type::Int2 | Type::Int4 | Type::Int8 | Type::Oid, _) => {
            into.extend_from_slice(data.int(row).to_string().as_bytes())
        }
        (Type::Float4 | Type::Float8, _) => into.extend_from_slice(float_digits(from, data.float(row)).as_bytes()),
        (Type::Bpchar, _) => into.extend_from_slice(unpadded(data.bytes(row))),
        (Type::Text, Type::Numeric) => into.extend_from_slice(literal::to_numeric(text(data, row))?.as_bytes()),
        (Type::Text, Type::Uuid) => into.extend_from_slice(literal::to_uuid(text(data, row))?.as_bytes()),
        _ => into.extend_from_slice(data.bytes(row)),
    }
    Ok(())
}

/// A float as `numeric`: as many digits as the type always has.
fn float_digits(from: Type, value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let shown = if from == Type::Float4 { format!("{value:.5e}") } else { format!("{value:.14e}") };
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    crate::decimal::spell(&format!("{mantissa}e{exponent}")).unwrap_or(shown)
}

fn long_name(of: Type) -> &'static str {
    match of {
        Type::Int2 => "smallint",
        Type::Int4 => "integer",
        Type::Int8 => "bigint",
        other => other.name(),
    }
}

/// A cast of a constant that is known when the expression is opened.
pub(crate) fn constant(node: Node) -> Result<crate::node::Const, (Node, Fault)> {
    use crate::node::Const;
    let batch = tidemill_sdk::Batch::new(1, &[]);
    let mut eval = Eval::new(&batch);
    let active = eval.all();
    let vector = eval.vector(&node, &active);
    let is_valid = vector.is_valid(0);
    let constant = match &vector.data {
        _ if !is_valid => Const::Null,
        Data::Null => Const::Null,
        data @ Data::Bools(_) => Const::Bool(data.bool(0)),
        data @ (Data::Int(_) | Data::Ints(_)) => Const::Int(data.int(0)),
        data @ (Data::Float(_) | Data::Floats(_)) => Const::Float(data.float(0)),
        data => Const::Bytes(data.bytes(0).to_vec()),
    };
    match eval.into_faults().pop() {
        Some((_, fault)) => Err((node, fault)),
        None => Ok(constant),
    }
}
