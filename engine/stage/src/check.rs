//! The way out: everything that a guest returns is checked before anything is built on it. No answer, however wrong, makes
//! this panic; what is wrong is told in words that help a plugin's author.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, BinaryType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt32Type, Utf8Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, GenericByteArray, ListArray, PrimitiveArray, StringViewArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, TimeUnit};
use serde_json::value::RawValue;
use tidemill_change::{DOCUMENT, EXTENSION_JSON, EXTENSION_NAME, EXTENSION_NUMERIC};

use crate::abi::{Buffers, Reject};
use crate::instance::GuestAnswer;
use crate::limits::{REJECT_CODE_BYTES_MAX, REJECT_MESSAGE_BYTES_MAX, cut};
use crate::picked::Picked;
use crate::plan::Plan;
use crate::shape::{self, ShapeColumn};

/// A row that the guest refused, by its place in the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) row: u32,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// An answer that holds what it must.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) picked: Picked,
    /// The made columns, a row for each that comes out.
    pub(crate) made: Vec<ArrayRef>,
    /// In the order of their rows, one a row.
    pub(crate) refused: Vec<Refused>,
}

/// Checks the answer to a call of so many rows.
pub(crate) fn answer(answer: GuestAnswer, rows: usize, plan: &Plan) -> Result<Answer, String> {
    match answer {
        GuestAnswer::Verdict(verdict) => {
            let picked = Picked::of_filter(verdict.keep, rows)?;
            Ok(Answer { picked, made: Vec::new(), refused: refused(verdict.rejects, rows)? })
        }
        GuestAnswer::Transformed(out) => {
            let picked = Picked::of_transform(out.rows, rows, plan.many)?;
            let made = made(out.columns, &plan.made, picked.len(rows))?;
            Ok(Answer { picked, made, refused: refused(out.rejects, rows)? })
        }
    }
}

fn refused(rejects: Vec<Reject>, rows: usize) -> Result<Vec<Refused>, String> {
    if let Some(reject) = rejects.iter().find(|reject| reject.row as usize >= rows) {
        return Err(format!("it rejects row {}, and there are {rows}", reject.row));
    }
    let mut refused: Vec<_> = rejects
        .into_iter()
        .map(|reject| Refused {
            row: reject.row,
            code: cut(reject.code, REJECT_CODE_BYTES_MAX),
            message: cut(reject.message, REJECT_MESSAGE_BYTES_MAX),
        })
        .collect();
    refused.sort_by_key(|reject| reject.row);
    refused.dedup_by_key(|reject| reject.row);
    Ok(refused)
}

fn made(columns: Vec<Buffers>, wanted: &[ShapeColumn], rows: usize) -> Result<Vec<ArrayRef>, String> {
    if rows == 0 {
        // Nothing comes out: what came with it is not looked at.
        return Ok(wanted.iter().map(|column| arrow_array::new_empty_array(column.field.data_type())).collect());
    }
    let parts: usize = wanted.iter().map(|column| shape::parts(&column.field)).sum();
    if columns.len() != parts {
        return Err(format!("it brings {} columns, and its plan makes {parts}", columns.len()));
    }
    let mut columns = columns.into_iter();
    let column = |wanted: &ShapeColumn| {
        column(&mut columns, &wanted.field, rows).map_err(|why| match wanted.field.name().as_str() {
            "" => why,
            name => format!("column `{name}`: {why}"),
        })
    };
    wanted.iter().map(column).collect()
}

/// One column out of its buffers, the first of those that are left; a list's are followed by its elements'.
fn column(columns: &mut impl Iterator<Item = Buffers>, field: &Field, rows: usize) -> Result<ArrayRef, String> {
    let buffers = columns.next().expect("as many as there are parts");
    let DataType::List(item) = field.data_type() else { return values(buffers, field, rows) };
    let nulls = buffers.validity.map(|bits| self::bits(bits, rows, "validity")).transpose()?.map(NullBuffer::new);
    if !buffers.values.is_empty() {
        return Err(format!("{} bytes of values, and a list has none of its own", buffers.values.len()));
    }
    let offsets = offsets(&buffers.offsets, rows)?;
    let elements = offsets[rows] as usize;
    let elements = column(columns, item, elements).map_err(|why| format!("its elements: {why}"))?;
    let list = ListArray::try_new(Arc::clone(item), offsets, elements, nulls);
    list.map(|list| Arc::new(list) as ArrayRef).map_err(|error| error.to_string())
}

/// A column of values that are no lists.
fn values(buffers: Buffers, field: &Field, rows: usize) -> Result<ArrayRef, String> {
    let nulls = buffers.validity.map(|bits| self::bits(bits, rows, "validity")).transpose()?.map(NullBuffer::new);
    let numbers = Numbers { offsets: buffers.offsets.len(), values: buffers.values, nulls, rows };
    match field.data_type() {
        DataType::Int16 => numbers.array::<Int16Type>(),
        DataType::Int32 => numbers.array::<Int32Type>(),
        DataType::Int64 => numbers.array::<Int64Type>(),
        DataType::UInt32 => numbers.array::<UInt32Type>(),
        DataType::Float32 => numbers.array::<Float32Type>(),
        DataType::Float64 => numbers.array::<Float64Type>(),
        DataType::Date32 => numbers.array::<Date32Type>(),
        DataType::Time64(TimeUnit::Microsecond) => numbers.array::<Time64MicrosecondType>(),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let array = numbers.primitive::<TimestampMicrosecondType>()?;
            Ok(Arc::new(array.with_timezone_opt(zone.clone())))
        }
        DataType::Boolean => {
            numbers.no_offsets()?;
            let values = self::bits(numbers.values, rows, "values")?;
            Ok(Arc::new(BooleanArray::new(values, numbers.nulls)))
        }
        DataType::Utf8View => {
            let (offsets, values) = strings(&buffers.offsets, numbers.values, rows)?;
            let texts = GenericByteArray::<Utf8Type>::try_new(offsets, values, numbers.nulls)
                .map_err(|error| format!("its values are not UTF-8: {error}"))?;
            let array = StringViewArray::from(&texts);
            check_extension(field, &array)?;
            Ok(Arc::new(array))
        }
        DataType::BinaryView => {
            let (offsets, values) = strings(&buffers.offsets, numbers.values, rows)?;
            let array = GenericByteArray::<BinaryType>::try_new(offsets, values, numbers.nulls)
                .map_err(|error| format!("its values do not fit: {error}"))?;
            Ok(Arc::new(BinaryViewArray::from(&array)))
        }
        other => Err(format!("{other} cannot come out of a plugin yet")),
    }
}

fn bits(bits: Vec<u8>, rows: usize, what: &str) -> Result<BooleanBuffer, String> {
    if bits.len() != rows.div_ceil(8) {
        return Err(format!("{} bytes of {what}, and {rows} rows need {}", bits.len(), rows.div_ceil(8)));
    }
    Ok(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows))
}

/// A column of fixed width on its way to an array.
struct Numbers {
    offsets: usize,
    values: Vec<u8>,
    nulls: Option<NullBuffer>,
    rows: usize,
}

impl Numbers {
    fn no_offsets(&self) -> Result<(), String> {
        match self.offsets {
            0 => Ok(()),
            some => Err(format!("{some} bytes of offsets, and its type has none")),
        }
    }

    fn primitive<T: ArrowPrimitiveType>(self) -> Result<PrimitiveArray<T>, String> {
        self.no_offsets()?;
        let wanted = self.rows * size_of::<T::Native>();
        if self.values.len() != wanted {
            return Err(format!("{} bytes of values, and {} rows need {wanted}", self.values.len(), self.rows));
        }
        let values = ScalarBuffer::new(aligned::<T::Native>(self.values), 0, self.rows);
        PrimitiveArray::try_new(values, self.nulls).map_err(|error| error.to_string())
    }

    fn array<T: ArrowPrimitiveType>(self) -> Result<ArrayRef, String> {
        Ok(Arc::new(self.primitive::<T>()?))
    }
}

/// Bytes have an alignment of 1; an array of numbers wants more. The allocator nearly always gave it, else they are copied.
fn aligned<T>(bytes: Vec<u8>) -> Buffer {
    if bytes.as_ptr().align_offset(align_of::<T>()) == 0 { Buffer::from_vec(bytes) } else { Buffer::from(&*bytes) }
}

fn strings(offsets: &[u8], values: Vec<u8>, rows: usize) -> Result<(OffsetBuffer<i32>, Buffer), String> {
    let offsets = self::offsets(offsets, rows)?;
    let last = offsets[rows];
    if last as usize != values.len() {
        return Err(format!("its last offset is {last}, and there are {} bytes of values", values.len()));
    }
    Ok((offsets, Buffer::from_vec(values)))
}

/// Offsets that begin at 0 and never fall.
fn offsets(offsets: &[u8], rows: usize) -> Result<OffsetBuffer<i32>, String> {
    let wanted = 4 * (rows + 1);
    if offsets.len() != wanted {
        return Err(format!("{} bytes of offsets, and {rows} rows need {wanted}", offsets.len()));
    }
    let offsets: Vec<i32> = offsets.as_chunks().0.iter().map(|offset| i32::from_le_bytes(*offset)).collect();
    if offsets[0] != 0 {
        return Err(format!("its first offset is {}, and must be 0", offsets[0]));
    }
    if let Some(row) = offsets.windows(2).position(|pair| pair[1] < pair[0]) {
        return Err(format!("its offsets fall at row {row}, from {} to {}", offsets[row], offsets[row + 1]));
    }
    Ok(OffsetBuffer::new(offsets.into()))
}

/// What an extension promises of its texts goes into documents as it is.
fn check_extension(field: &Field, texts: &StringViewArray) -> Result<(), String> {
    let holds: fn(&str) -> bool = match field.metadata().get(EXTENSION_NAME).map(String::as_str) {
        Some(EXTENSION_JSON) => is_json,
        Some(EXTENSION_NUMERIC) => is_numeric,
        _ => return Ok(()),
    };
    if field.metadata().contains_key(DOCUMENT) {
        return match (0..texts.len()).find(|row| !texts.is_valid(*row) || !is_object(texts.value(*row))) {
            Some(row) => Err(format!("its document at row {row} is no JSON object on one line")),
            None => Ok(()),
        };
    }
    match (0..texts.len()).find(|row| texts.is_valid(*row) && !holds(texts.value(*row))) {
        Some(row) => Err(format!("row {row} is no {}", &field.metadata()[EXTENSION_NAME])),
        None => Ok(()),
    }
}

fn is_json(text: &str) -> bool {
    !text.contains(['\n', '\r']) && serde_json::from_str::<&RawValue>(text).is_ok()
}

fn is_object(text: &str) -> bool {
    text.starts_with('{') && is_json(text)
}

/// As Postgres writes a numeric: a sign, digits, and digits after a point.
fn is_numeric(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}

#[cfg(test)]
mod tests {
    use arrow_array::UInt32Array;
    use arrow_array::builder::{ListBuilder, StringViewBuilder};
    use arrow_select::take::take;

    use super::*;
    use crate::abi::Pushed;
    use crate::push::{RowsOf, Scratch};

    #[test]
    fn what_is_numeric() {
        for text in ["0", "-1", "12.50", "0.000", "NaN", "-Infinity"] {
            assert!(is_numeric(text), "{text}");
        }
        for text in ["", "-", ".5", "1.", "1e5", "+1", "0x1", "1.2.3", "inf"] {
            assert!(!is_numeric(text), "{text}");
        }
    }

    #[test]
    fn what_is_json() {
        assert!(is_json(r#"{"a":[1,null]}"#) && is_json("1e400"));
        assert!(!is_json("{\n}") && !is_json("") && !is_json("{}{}") && !is_json("nan"));
    }

    #[test]
    fn a_character_is_not_cut_between_two_rows() {
        let texts = |offsets: [i32; 3], text: &str| {
            let offsets = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
            let buffers = Buffers { validity: None, offsets, values: text.as_bytes().to_vec() };
            values(buffers, &Field::new("c", DataType::Utf8View, true), 2)
        };
        assert!(texts([0, 2, 4], "éé").is_ok());
        assert!(texts([0, 1, 4], "éé").unwrap_err().contains("not UTF-8"));
    }

    /// What crosses and comes back is what it was, lists of lists too, whichever rows are meant.
    #[test]
    fn lists_cross_both_ways() {
        let texts = Arc::new(Field::new_list_field(DataType::Utf8View, true));
        let inner = Arc::new(Field::new_list_field(DataType::List(texts), true));
        let field = Field::new("c", DataType::List(inner), true);
        let mut lists = ListBuilder::new(ListBuilder::new(StringViewBuilder::new()));
        for row in 0..40 {
            for list in 0..row % 4 {
                (0..list).for_each(|text| lists.values().values().append_option((text != 1).then(|| "é".repeat(row))));
                lists.values().append(list != 2);
            }
            lists.append(row % 5 != 0);
        }
        let whole: ArrayRef = Arc::new(lists.finish());
        let picked = [39, 0, 7, 7, 12];
        for (array, rows, wanted) in [
            (&whole, RowsOf::Range(0..40), whole.clone()),
            (&whole, RowsOf::Range(9..30), whole.slice(9, 21)),
            (&whole.slice(3, 30), RowsOf::Range(5..20), whole.slice(8, 15)),
            (&whole, RowsOf::Picked(&picked), take(&whole, &UInt32Array::from(picked.to_vec()), None).unwrap()),
        ] {
            let mut columns = Vec::new();
            Scratch::default().columns(array, &rows, &mut columns).unwrap();
            let buffers = columns.iter().map(|column| {
                let Pushed { validity, offsets, values } = column.pushed();
                Buffers { validity: validity.map(<[u8]>::to_vec), offsets: offsets.to_vec(), values: values.to_vec() }
            });
            let mut buffers = buffers.collect::<Vec<_>>().into_iter();
            assert_eq!(&column(&mut buffers, &field, wanted.len()).unwrap(), &wanted);
            assert!(buffers.next().is_none());
        }
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        let field = Field::new("c", DataType::List(Arc::new(Field::new_list_field(DataType::Int16, true))), true);
        let lists = |offsets: &[i32], values: usize, elements: usize| {
            let offsets = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
            let list = Buffers { validity: None, offsets, values: vec![0; values] };
            let elements = Buffers { validity: None, offsets: Vec::new(), values: vec![0; elements] };
            column(&mut [list, elements].into_iter(), &field, 2).map_err(|why| why.to_string())
        };
        assert_eq!(lists(&[0, 2, 5], 0, 10).unwrap().len(), 2);
        for (offsets, values, elements, part) in [
            (&[0, 2, 5][..], 0, 8, "its elements: 8 bytes of values, and 5 rows need 10"),
            (&[0, 2, 5], 0, 12, "its elements: 12 bytes"),
            (&[0, 2, 5], 1, 10, "1 bytes of values, and a list has none"),
            (&[0, 6, 5], 0, 10, "its offsets fall at row 1"),
            (&[0, -1, 5], 0, 10, "its offsets fall at row 0"),
            (&[1, 2, 5], 0, 10, "its first offset is 1"),
            (&[0, 2, i32::MAX], 0, 10, "its elements: 10 bytes of values, and 2147483647 rows need"),
            (&[0, 2], 0, 4, "8 bytes of offsets, and 2 rows need 12"),
        ] {
            let why = lists(offsets, values, elements).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    /// Any bytes of any length give an array or an error, for every type.
    #[test]
    fn no_buffers_make_it_panic() {
        let types = [
            DataType::Boolean,
            DataType::Int16,
            DataType::Int64,
            DataType::Float64,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Utf8View,
            DataType::BinaryView,
        ];
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..20_000 {
            let mut bytes = |len: u64| (0..random(len)).map(|_| random(4) as u8 * 63).collect::<Vec<u8>>();
            let mut offsets = bytes(40);
            offsets.iter_mut().skip(1).step_by(2).for_each(|byte| *byte = 0);
            let buffers = Buffers { validity: Some(bytes(4)).filter(|v| v.len() != 3), offsets, values: bytes(40) };
            let rows = 1 + random(9) as usize;
            for of in &types {
                if let Ok(array) = values(buffers.clone(), &Field::new("c", of.clone(), true), rows) {
                    assert_eq!((array.len(), array.data_type()), (rows, of));
                }
            }
        }
    }
}
