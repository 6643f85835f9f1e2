use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use arrow_array::types::{Time64MicrosecondType, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use tidemill_change::{ElementKind, Kind, LeftOut, Relation};

use crate::array::{self, Scratch};
use crate::bits::Bits;
use crate::error::Fault;
use crate::json::{self, Form};
use crate::views::{BinaryColumn, Cell, Finished, TextColumn, Views};
use crate::{number, time};

/// What the columns of one table share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) views: Views,
    pub(crate) scratch: Scratch,
}

/// One column as it grows. Its parser was chosen when the relation came.
#[derive(Debug)]
pub(crate) struct Column {
    values: Values,
    nulls: Bits,
}

#[derive(Debug)]
enum Values {
    Bool(Bits),
    Int2(Vec<i16>),
    Int4(Vec<i32>),
    Int8(Vec<i64>),
    Oid(Vec<u32>),
    Float4(Vec<f32>),
    Float8(Vec<f64>),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    TimestampTz(Vec<i64>),
    Time(Vec<i64>),
    Text(TextColumn),
    Numeric(TextColumn),
    Json(TextColumn),
    Array(ElementKind, TextColumn),
    Bytea(BinaryColumn),
    /// Nobody reads the column: its cells go nowhere, and in their place stand these nulls, as many as ever were asked for.
    LeftOut(ArrayRef),
}

impl Column {
    fn new(kind: Kind, views: &mut Views) -> Column {
        let values = match kind {
            Kind::Bool => Values::Bool(Bits::default()),
            Kind::Int2 => Values::Int2(Vec::new()),
            Kind::Int4 => Values::Int4(Vec::new()),
            Kind::Int8 => Values::Int8(Vec::new()),
            Kind::Oid => Values::Oid(Vec::new()),
            Kind::Float4 => Values::Float4(Vec::new()),
            Kind::Float8 => Values::Float8(Vec::new()),
            Kind::Date => Values::Date(Vec::new()),
            Kind::Timestamp => Values::Timestamp(Vec::new()),
            Kind::TimestampTz => Values::TimestampTz(Vec::new()),
            Kind::Time => Values::Time(Vec::new()),
            Kind::Numeric => Values::Numeric(views.add_text()),
            Kind::Json => Values::Json(views.add_text()),
            Kind::Array(element) => Values::Array(element, views.add_text()),
            Kind::Bytea => Values::Bytea(views.add_binary()),
            Kind::Text | Kind::Uuid | Kind::Jsonb | Kind::Other => Values::Text(views.add_text()),
        };
        Column { values, nulls: Bits::default() }
    }

    fn left_out(kind: Kind) -> Column {
        Column { values: Values::LeftOut(new_null_array(&kind.arrow(), 0)), nulls: Bits::default() }
    }

    pub(crate) fn is_left_out(&self) -> bool {
        matches!(self.values, Values::LeftOut(_))
    }

    /// Appends the value of row `row`.
    #[inline]
    pub(crate) fn push(&mut self, row: usize, cell: Cell<'_>, shared: &mut Shared) -> Result<(), Fault> {
        match &mut self.values {
            Values::Text(column) => return shared.views.push_text(*column, cell),
            Values::Int8(values) => values.push(number::int(cell.bytes())?),
            Values::Int4(values) => values.push(narrow(cell.bytes())?),
            Values::Int2(values) => values.push(narrow(cell.bytes())?),
            Values::Oid(values) => values.push(narrow(cell.bytes())?),
            Values::Float4(values) => values.push(number::float4(cell.bytes())?),
            Values::Float8(values) => values.push(number::float8(cell.bytes())?),
            Values::Date(values) => values.push(time::date(cell.bytes())?),
            Values::Timestamp(values) => values.push(time::timestamp(cell.bytes())?),
            Values::TimestampTz(values) => values.push(time::timestamptz(cell.bytes())?),
            Values::Time(values) => values.push(time::time(cell.bytes())?),
            Values::Bool(values) => match cell.bytes() {
                b"t" => values.set(row),
                b"f" => {}
                _ => return Err(Fault::Malformed),
            },
            Values::Numeric(column) => {
                number::check_numeric(cell.bytes())?;
                return shared.views.push_text(*column, cell);
            }
            Values::Json(column) => return push_json(*column, cell, shared),
            Values::Array(element, column) => {
                array::write_json(cell.bytes(), *element, &mut shared.scratch, shared.views.write())?;
                return shared.views.push_written_text(*column);
            }
            Values::Bytea(column) => return push_bytea(*column, cell.bytes(), &mut shared.views),
            Values::LeftOut(_) => {}
        }
        Ok(())
    }

    /// Appends a null as row `row`.
    pub(crate) fn push_null(&mut self, row: usize, shared: &mut Shared) {
        if self.is_left_out() {
            return;
        }
        self.nulls.set(row);
        match &mut self.values {
            Values::Bool(_) | Values::LeftOut(_) => {}
            Values::Int2(values) => values.push(0),
            Values::Int4(values) | Values::Date(values) => values.push(0),
            Values::Int8(values) | Values::Timestamp(values) | Values::TimestampTz(values) | Values::Time(values) => {
                values.push(0)
            }
            Values::Oid(values) => values.push(0),
            Values::Float4(values) => values.push(0.0),
            Values::Float8(values) => values.push(0.0),
            Values::Text(column) | Values::Numeric(column) | Values::Json(column) | Values::Array(_, column) => {
                shared.views.push_null_text(*column);
            }
            Values::Bytea(column) => shared.views.push_null_binary(*column),
        }
    }

    fn take(&mut self, rows: usize, views: &mut Finished) -> ArrayRef {
        let nulls = self.nulls.take_nulls(rows);
        match &mut self.values {
            Values::Bool(values) => Arc::new(BooleanArray::new(values.take(rows), nulls)),
            Values::Int2(values) => primitive::<Int16Type>(values, nulls),
            Values::Int4(values) => primitive::<Int32Type>(values, nulls),
            Values::Int8(values) => primitive::<Int64Type>(values, nulls),
            Values::Oid(values) => primitive::<UInt32Type>(values, nulls),
            Values::Float4(values) => primitive::<Float32Type>(values, nulls),
            Values::Float8(values) => primitive::<Float64Type>(values, nulls),
            Values::Date(values) => primitive::<Date32Type>(values, nulls),
            Values::Time(values) => primitive::<Time64MicrosecondType>(values, nulls),
            Values::Timestamp(values) => primitive::<TimestampMicrosecondType>(values, nulls),
            Values::TimestampTz(values) => {
                let array = PrimitiveArray::<TimestampMicrosecondType>::new(take(values).into(), nulls);
                Arc::new(array.with_data_type(Kind::TimestampTz.arrow()))
            }
            Values::Text(column) | Values::Numeric(column) | Values::Json(column) | Values::Array(_, column) => {
                Arc::new(views.text(*column, nulls))
            }
            Values::Bytea(column) => Arc::new(views.binary(*column, nulls)),
            Values::LeftOut(nulls) => {
                if nulls.len() < rows {
                    *nulls = new_null_array(nulls.data_type(), rows.next_power_of_two());
                }
                nulls.slice(0, rows)
            }
        }
    }
}

/// Takes the values; the next ones find room for as many.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(values.len());
    std::mem::replace(values, room)
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(take(values)), nulls))
}

#[inline]
fn narrow<T: TryFrom<i64>>(text: &[u8]) -> Result<T, Fault> {
    T::try_from(number::int(text)?).map_err(|_| Fault::Malformed)
}

fn push_json(column: TextColumn, cell: Cell<'_>, shared: &mut Shared) -> Result<(), Fault> {
    match json::check(cell.bytes(), &mut shared.scratch.open)? {
        Form::Compact => shared.views.push_text(column, cell),
        Form::Spaced => {
            json::write_compact(cell.bytes(), shared.views.write());
            shared.views.push_written_text(column)
        }
    }
}

fn push_bytea(column: BinaryColumn, text: &[u8], views: &mut Views) -> Result<(), Fault> {
    let hex = text.strip_prefix(b"\\x").ok_or(Fault::Malformed)?;
    let (pairs, []) = hex.as_chunks::<2>() else { return Err(Fault::Malformed) };
    let out = views.write();
    for [high, low] in pairs {
        let (high, low) = (HEX[usize::from(*high)], HEX[usize::from(*low)]);
        if high | low > 15 {
            return Err(Fault::Malformed);
        }
        out.push(high << 4 | low);
    }
    views.push_written_binary(column)
}

/// The value of each hexadecimal digit, 255 for any other byte.
const HEX: [u8; 256] = {
    let mut table = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit] as usize] = digit as u8;
        table[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

/// The images of rows, new or old, as columns.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: usize,
}

impl Images {
    pub(crate) fn new(relation: &Relation, left_out: &LeftOut, views: &mut Views) -> Images {
        let column = |(place, column): (usize, &tidemill_change::Column)| match left_out.has(place) {
            true => Column::left_out(column.kind),
            false => Column::new(column.kind, views),
        };
        Images { columns: relation.columns.iter().enumerate().map(column).collect(), rows: 0 }
    }

    pub(crate) fn take(&mut self, relation: &Relation, views: &mut Finished) -> RecordBatch {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return RecordBatch::new_empty(relation.arrow().clone());
        }
        let arrays = self.columns.iter_mut().map(|column| column.take(rows, views)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(relation.arrow().clone(), arrays, &options)
            .expect("each column has its kind's type and a value for each row")
    }
}
