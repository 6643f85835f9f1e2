//! An Arrow column as a writer of JSON values: its type is resolved once a batch, its rows are then written by index.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, OffsetSizeTrait};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::{DataType, Field, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidemill_change::{EXTENSION_JSON, EXTENSION_NAME, EXTENSION_NUMERIC};

use crate::number::{append_i64, put_i64, put_u64};
use crate::text::{BLOCK, CELL, Cell, Run, all_in, put, put_escaped, put_json, put_short_string, put_slice};
use crate::{Error, Nonfinite, Numbers, time};

/// How values stand in a document where more than one way is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) numbers: Numbers,
    pub(crate) nonfinite: Nonfinite,
}

/// A value that keeps its row out of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// NaN or an infinity, where these go to dead letter.
    Nonfinite,
    /// A time of day outside 00:00:00 to 24:00:00.
    Time,
}

#[derive(Debug)]
pub(crate) struct Column<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    Null,
    Bool(&'a BooleanBuffer),
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Text(Strings<'a>),
    Numeric(Strings<'a>),
    Json(Strings<'a>),
    Bytes(Strings<'a>),
    Date(&'a [i32]),
    Timestamp { us: &'a [i64], utc: bool },
    Time(&'a [i64]),
    List { ends: Ends<'a>, items: Box<Column<'a>> },
}

/// Where the strings of a column are.
#[derive(Clone, Copy, Debug)]
enum Strings<'a> {
    /// `inline` is the memory of `views`: a string of up to twelve bytes lies in its own view.
    Views {
        views: &'a [u128],
        inline: &'a [u8],
        buffers: &'a [Buffer],
    },
    Runs {
        ends: Ends<'a>,
        bytes: &'a [u8],
    },
}

#[derive(Clone, Copy, Debug)]
enum Ends<'a> {
    Narrow(&'a [i32]),
    Wide(&'a [i64]),
}

impl Ends<'_> {
    #[inline(always)]
    fn range(self, row: usize) -> (usize, usize) {
        match self {
            Ends::Narrow(ends) => (ends[row] as usize, ends[row + 1] as usize),
            Ends::Wide(ends) => (ends[row] as usize, ends[row + 1] as usize),
        }
    }
}

impl<'a> Strings<'a> {
    /// The memory from the string's first byte on, and how many bytes of it are the string.
    #[inline(always)]
    fn tail(&self, row: usize) -> (&'a [u8], usize) {
        match *self {
            Strings::Views { views, inline, buffers } => {
                let view = views[row];
                let len = view as u32 as usize;
                if len <= 12 {
                    return (&inline[16 * row + 4..], len);
                }
                let (buffer, start) = ((view >> 64) as u32 as usize, (view >> 96) as u32 as usize);
                (&buffers[buffer].as_slice()[start..], len)
            }
            Strings::Runs { ends, bytes } => {
                let (start, end) = ends.range(row);
                (&bytes[start..], end - start)
            }
        }
    }

    #[inline]
    fn get(&self, row: usize) -> &'a [u8] {
        let (tail, len) = self.tail(row);
        &tail[..len]
    }
}

/// The infinities of dates and times: the extreme values of their type.
trait Extremes: Copy {
    fn infinity(self) -> Option<&'static str>;
}

impl Extremes for i32 {
    #[inline(always)]
    fn infinity(self) -> Option<&'static str> {
        match self {
            i32::MAX => Some("infinity"),
            i32::MIN => Some("-infinity"),
            _ => None,
        }
    }
}

impl Extremes for i64 {
    #[inline(always)]
    fn infinity(self) -> Option<&'static str> {
        match self {
            i64::MAX => Some("infinity"),
            i64::MIN => Some("-infinity"),
            _ => None,
        }
    }
}

impl<'a> Column<'a> {
    pub(crate) fn new(field: &Field, array: &'a dyn Array) -> Result<Column<'a>, Error> {
        let values = Column::values(field, array)?;
        Ok(Column { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0), values })
    }

    fn values(field: &Field, array: &'a dyn Array) -> Result<Values<'a>, Error> {
        Ok(match field.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().values()),
            DataType::Int8 => Values::Int8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Values::Int16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Values::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Values::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt8 => Values::UInt8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Values::UInt16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Values::UInt32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Values::UInt64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float32 => Values::Float32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Values::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Date32 => Values::Date(array.as_primitive::<Date32Type>().values()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Values::Timestamp { us: array.as_primitive::<TimestampMicrosecondType>().values(), utc: zone.is_some() }
            }
            DataType::Time64(TimeUnit::Microsecond) => {
                Values::Time(array.as_primitive::<Time64MicrosecondType>().values())
            }
            DataType::Utf8 => {
                text(field, runs::<i32>(array.as_string::<i32>().offsets(), array.as_string::<i32>().values()))
            }
            DataType::LargeUtf8 => {
                text(field, runs::<i64>(array.as_string::<i64>().offsets(), array.as_string::<i64>().values()))
            }
            DataType::Utf8View => {
                let array = array.as_string_view();
                text(field, views(array.views(), array.data_buffers()))
            }
            DataType::Binary => {
                Values::Bytes(runs::<i32>(array.as_binary::<i32>().offsets(), array.as_binary::<i32>().values()))
            }
            DataType::LargeBinary => {
                Values::Bytes(runs::<i64>(array.as_binary::<i64>().offsets(), array.as_binary::<i64>().values()))
            }
            DataType::BinaryView => {
                let array = array.as_binary_view();
                Values::Bytes(views(array.views(), array.data_buffers()))
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let items = Box::new(Column::new(item, list.values().as_ref())?);
                Values::List { ends: Ends::Narrow(list.offsets()), items }
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                let items = Box::new(Column::new(item, list.values().as_ref())?);
                Values::List { ends: Ends::Wide(list.offsets()), items }
            }
            other => {
                return Err(Error::shape(format!(
                    "column `{}` has the Arrow type {other}, which has no form in a document: let the stage give text or JSON",
                    field.name()
                )));
            }
        })
    }

    #[inline(always)]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row)) || matches!(self.values, Values::Null)
    }

    /// Writes the column's name and the row's value as JSON.
    #[inline(always)]
    pub(crate) fn put(&self, name: &Run, row: usize, out: &mut [u8], pos: usize, rules: Rules) -> Option<usize> {
        let (mut cell, pos) = name.cell(out, pos)?;
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            cell.put(b"null", 4);
            return Some(pos + cell.len);
        }
        match &self.values {
            Values::Text(strings) => {
                let (tail, len) = strings.tail(row);
                let start = cell.len;
                if put_short_string(&mut cell, tail, len).is_none() {
                    return put_string(out, pos + start, tail, len);
                }
            }
            Values::Numeric(strings) => {
                let (tail, len) = strings.tail(row);
                match tail.first_chunk::<BLOCK>() {
                    Some(block) if len <= BLOCK && rules.numbers == Numbers::Exact && is_number(&block[..len]) => {
                        cell.put(block, len);
                    }
                    _ => {
                        let start = pos + cell.len;
                        return put_numeric(out, start, &tail[..len], rules);
                    }
                }
            }
            Values::Json(strings) => {
                let (tail, len) = strings.tail(row);
                let start = pos + cell.len;
                return put_json(out, start, tail, len);
            }
            Values::Bool(bits) => match bits.value(row) {
                true => cell.put(b"true    ", 4),
                false => cell.put(b"false   ", 5),
            },
            Values::Int8(values) => put_i64(&mut cell, values[row].into()),
            Values::Int16(values) => put_i64(&mut cell, values[row].into()),
            Values::Int32(values) => put_i64(&mut cell, values[row].into()),
            Values::Int64(values) => put_long(&mut cell, rules, |cell| put_i64(cell, values[row])),
            Values::UInt8(values) => put_u64(&mut cell, values[row].into()),
            Values::UInt16(values) => put_u64(&mut cell, values[row].into()),
            Values::UInt32(values) => put_u64(&mut cell, values[row].into()),
            Values::UInt64(values) => put_long(&mut cell, rules, |cell| put_u64(cell, values[row])),
            Values::Timestamp { us, utc } => match us[row].infinity() {
                None => put_quoted(&mut cell, |cell| {
                    time::put_timestamp(cell, us[row]);
                    cell.put(b"Z", usize::from(*utc));
                }),
                Some(name) => put_nonfinite(&mut cell, name, rules),
            },
            Values::Date(days) => match days[row].infinity() {
                None => put_quoted(&mut cell, |cell| time::put_date(cell, days[row].into())),
                Some(name) => put_nonfinite(&mut cell, name, rules),
            },
            Values::Time(us) => put_quoted(&mut cell, |cell| time::put_time(cell, us[row])),
            Values::Null => cell.put(b"null", 4),
            Values::Float32(_) | Values::Float64(_) | Values::Bytes(_) | Values::List { .. } => {
                let start = pos + cell.len;
                return self.put_rare(row, out, start, rules);
            }
        }
        Some(pos + cell.len)
    }

    /// The types whose values do not fit into a cell or are costly anyway; out of line, so that they do not burden the
    /// row's loop.
    #[inline(never)]
    fn put_rare(&self, row: usize, out: &mut [u8], pos: usize, rules: Rules) -> Option<usize> {
        match &self.values {
            Values::Float32(values) => put_float(out, pos, values[row], rules),
            Values::Float64(values) => put_float(out, pos, values[row], rules),
            Values::Bytes(strings) => {
                let pos = put(out, pos, b"\"", 1)?;
                let pos = pos + STANDARD.encode_slice(strings.get(row), out.get_mut(pos..)?).ok()?;
                put(out, pos, b"\"", 1)
            }
            Values::List { ends, items } => {
                let (start, end) = ends.range(row);
                let mut pos = put(out, pos, b"[", 1)?;
                for item in start..end {
                    pos = put(out, pos, b",", usize::from(item > start))?;
                    pos = items.put_item(item, out, pos, rules)?;
                }
                put(out, pos, b"]", 1)
            }
            _ => unreachable!("the other types are written by `put`"),
        }
    }

    /// Writes a value without a name; a step of its own, so that a list of lists does not inline itself.
    #[inline(never)]
    fn put_item(&self, row: usize, out: &mut [u8], pos: usize, rules: Rules) -> Option<usize> {
        self.put(&Run::new(b""), row, out, pos, rules)
    }

    /// Appends the row's value as digits, if it is a whole number.
    #[inline(always)]
    pub(crate) fn append_digits(&self, row: usize, to: &mut Vec<u8>) -> bool {
        match &self.values {
            Values::Int32(values) => append_i64(to, values[row].into()),
            Values::Int64(values) => append_i64(to, values[row]),
            _ => return false,
        }
        true
    }

    /// Appends the row's value as text, which is what stands in the document without its quotes and escapes.
    pub(crate) fn append_text(&self, row: usize, to: &mut Vec<u8>) {
        match &self.values {
            Values::Text(strings) | Values::Numeric(strings) | Values::Json(strings) => {
                to.extend_from_slice(strings.get(row));
            }
            _ if self.append_digits(row, to) => {}
            _ => {
                let rules = Rules { numbers: Numbers::Exact, nonfinite: Nonfinite::String };
                let (start, mut room) = (to.len(), 2 * CELL);
                let end = loop {
                    to.resize(start + room, 0);
                    match self.put_item(row, to, start, rules) {
                        Some(end) => break end,
                        None => room *= 2,
                    }
                };
                to.truncate(end);
                if to[start] == b'"' {
                    to.pop();
                    to.remove(start);
                }
            }
        }
    }

    /// Whether a row may hold what keeps it out of the index: told by the type where that is enough.
    pub(crate) fn may_be_unfit(&self, rules: Rules) -> bool {
        match &self.values {
            Values::Time(us) => !us.iter().all(|&us| time::is_time(us)),
            Values::List { items, .. } => items.may_be_unfit(rules),
            Values::Float32(_)
            | Values::Float64(_)
            | Values::Numeric(_)
            | Values::Date(_)
            | Values::Timestamp { .. } => rules.nonfinite == Nonfinite::DeadLetter,
            _ => false,
        }
    }

    /// What keeps this row out of the index, if anything does.
    pub(crate) fn unfit(&self, row: usize, rules: Rules) -> Option<Unfit> {
        if self.is_null(row) {
            return None;
        }
        let dead = rules.nonfinite == Nonfinite::DeadLetter;
        let nonfinite = |is: bool| (is && dead).then_some(Unfit::Nonfinite);
        match &self.values {
            Values::Float32(values) => nonfinite(!values[row].is_finite()),
            Values::Float64(values) => nonfinite(!values[row].is_finite()),
            Values::Numeric(strings) => nonfinite(nonfinite_numeric(strings.get(row)).is_some()),
            Values::Date(days) => nonfinite(days[row].infinity().is_some()),
            Values::Timestamp { us, .. } => nonfinite(us[row].infinity().is_some()),
            Values::Time(us) => (!time::is_time(us[row])).then_some(Unfit::Time),
            Values::List { ends, items } => {
                let (start, end) = ends.range(row);
                (start..end).find_map(|item| items.unfit(item, rules))
            }
            _ => None,
        }
    }
}

fn text<'a>(field: &Field, strings: Strings<'a>) -> Values<'a> {
    match field.metadata().get(EXTENSION_NAME).map(String::as_str) {
        Some(EXTENSION_JSON) => Values::Json(strings),
        Some(EXTENSION_NUMERIC) => Values::Numeric(strings),
        _ => Values::Text(strings),
    }
}

fn views<'a>(views: &'a arrow_buffer::ScalarBuffer<u128>, buffers: &'a [Buffer]) -> Strings<'a> {
    Strings::Views { views, inline: views.inner().as_slice(), buffers }
}

fn runs<'a, O: OffsetSizeTrait>(offsets: &'a arrow_buffer::OffsetBuffer<O>, bytes: &'a Buffer) -> Strings<'a> {
    // The buffer's memory as the integers it holds: O is i32 or i64, and the two ways cannot be told by the type alone.
    let inner = offsets.inner().inner();
    let ends = match O::IS_LARGE {
        true => Ends::Wide(inner.typed_data::<i64>()),
        false => Ends::Narrow(inner.typed_data::<i32>()),
    };
    Strings::Runs { ends, bytes: bytes.as_slice() }
}

#[inline(always)]
fn put_quoted(cell: &mut Cell<'_>, value: impl FnOnce(&mut Cell<'_>)) {
    cell.put(b"\"", 1);
    value(cell);
    cell.put(b"\"", 1);
}

/// A whole number of 64 bits, which readers that parse doubles want as text.
#[inline(always)]
fn put_long(cell: &mut Cell<'_>, rules: Rules, value: impl FnOnce(&mut Cell<'_>)) {
    match rules.numbers {
        Numbers::Exact => value(cell),
        Numbers::Strings => put_quoted(cell, value),
    }
}

/// A string of any length; out of line where the search for what must be escaped is the cost.
#[inline(never)]
fn put_string(out: &mut [u8], pos: usize, tail: &[u8], len: usize) -> Option<usize> {
    let pos = put(out, pos, b"\"", 1)?;
    let pos = put_escaped(out, pos, tail, len)?;
    put(out, pos, b"\"", 1)
}

fn put_float<F: zmij::Float + Into<f64>>(out: &mut [u8], pos: usize, value: F, rules: Rules) -> Option<usize> {
    let wide: f64 = value.into();
    if wide.is_finite() {
        return put_slice(out, pos, zmij::Buffer::new().format_finite(value).as_bytes());
    }
    let name = if wide.is_nan() {
        "NaN"
    } else if wide > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    let mut cell = Cell::at(out, pos)?;
    put_nonfinite(&mut cell, name, rules);
    Some(pos + cell.len)
}

/// What numeric has besides numbers, as Postgres writes it.
fn nonfinite_numeric(text: &[u8]) -> Option<&'static str> {
    match text {
        b"NaN" => Some("NaN"),
        b"Infinity" => Some("Infinity"),
        b"-Infinity" => Some("-Infinity"),
        _ => None,
    }
}

/// Whether the bytes can stand as a number: those of digits, sign, point and exponent, the last one a digit. Postgres
/// writes nothing else but its names for what is not finite; a stage that does gets its text quoted.
#[inline(always)]
fn is_number(digits: &[u8]) -> bool {
    all_in(digits, &NUMERAL) && digits.last().is_some_and(u8::is_ascii_digit)
}

static NUMERAL: [bool; 256] = numerals();

const fn numerals() -> [bool; 256] {
    let mut table = [false; 256];
    let bytes = b"0123456789.-+eE";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
}

/// A numeric of any length and form.
#[inline(never)]
fn put_numeric(out: &mut [u8], pos: usize, digits: &[u8], rules: Rules) -> Option<usize> {
    if let Some(name) = nonfinite_numeric(digits) {
        let mut cell = Cell::at(out, pos)?;
        put_nonfinite(&mut cell, name, rules);
        return Some(pos + cell.len);
    }
    if rules.numbers == Numbers::Exact && is_number(digits) {
        return put_slice(out, pos, digits);
    }
    put_string(out, pos, digits, digits.len())
}

#[cold]
fn put_nonfinite(cell: &mut Cell<'_>, name: &str, rules: Rules) {
    if rules.nonfinite == Nonfinite::Null {
        return cell.put(b"null", 4);
    }
    // A row that goes to dead letter is told as text.
    put_quoted(cell, |cell| name.bytes().for_each(|byte| cell.put(&[byte], 1)));
}
