//! The way in: the required columns of some rows as the contract's buffers.
//!
//! What lies in Arrow as the contract wants it is borrowed; the rest (views, picked rows, odd bits) is gathered
//! into buffers that the chain keeps, so that a steady stream allocates nothing here.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::{DataType, TimeUnit};

use crate::abi::Pushed;
use crate::instance::Failed;

/// Which rows of an array are meant.
#[derive(Clone, Debug)]
pub(crate) enum RowsOf<'a> {
    Range(Range<usize>),
    Picked(&'a [u32]),
}

impl RowsOf<'_> {
    fn len(&self) -> usize {
        match self {
            RowsOf::Range(range) => range.len(),
            RowsOf::Picked(rows) => rows.len(),
        }
    }
}

/// The elements of some rows' lists, as rows of the column of all elements.
enum Elements {
    Range(Range<usize>),
    Picked(Vec<u32>),
}

impl Elements {
    fn rows(&self) -> RowsOf<'_> {
        match self {
            Elements::Range(range) => RowsOf::Range(range.clone()),
            Elements::Picked(rows) => RowsOf::Picked(rows),
        }
    }
}

/// A column's bytes: borrowed from the array, held by a part of it, or gathered.
#[derive(Debug)]
enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Held(Buffer),
    /// The first bytes of a kept buffer, which may be longer.
    Gathered(Vec<u8>, usize),
}

impl Bytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Held(buffer) => buffer,
            Bytes::Gathered(bytes, len) => &bytes[..*len],
        }
    }
}

/// One column, ready to cross.
#[derive(Debug)]
pub(crate) struct Column<'a> {
    validity: Option<Bytes<'a>>,
    offsets: Bytes<'a>,
    values: Bytes<'a>,
}

impl Column<'_> {
    pub(crate) fn pushed(&self) -> Pushed<'_> {
        Pushed {
            validity: self.validity.as_ref().map(Bytes::as_slice),
            offsets: self.offsets.as_slice(),
            values: self.values.as_slice(),
        }
    }
}

/// Buffers kept from call to call.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    kept: Vec<Vec<u8>>,
}

impl Scratch {
    /// A buffer of at least this length, of whatever content.
    fn take(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.kept.pop().unwrap_or_default();
        if buffer.len() < len {
            buffer.clear();
            buffer.resize(len, 0);
        }
        buffer
    }

    /// Takes back what a call used, the first last: the next call of the same columns finds for each buffer the one of the
    /// last call, which is of the right length and in the processor's cache.
    pub(crate) fn give_back(&mut self, columns: Vec<Column<'_>>) {
        for column in columns.into_iter().rev() {
            for bytes in [Some(column.offsets), Some(column.values), column.validity].into_iter().flatten() {
                if let Bytes::Gathered(buffer, _) = bytes {
                    self.kept.push(buffer);
                }
            }
        }
    }

    /// A column, and behind it the elements where it is one of lists.
    pub(crate) fn columns<'a>(
        &mut self,
        array: &'a ArrayRef,
        rows: &RowsOf<'_>,
        into: &mut Vec<Column<'a>>,
    ) -> Result<(), Failed> {
        let Some(lists) = array.as_list_opt::<i32>() else {
            into.push(self.column(array, rows)?);
            return Ok(());
        };
        let validity = self.validity(array, rows);
        let (offsets, elements) = self.elements(lists.offsets(), rows)?;
        into.push(Column { validity, offsets, values: NO_BYTES });
        self.columns(lists.values(), &elements.rows(), into)
    }

    fn validity<'a>(&mut self, array: &'a ArrayRef, rows: &RowsOf<'_>) -> Option<Bytes<'a>> {
        match array.nulls() {
            Some(nulls) if nulls.null_count() > 0 => Some(self.bits(nulls.inner(), rows)),
            _ => None,
        }
    }

    /// The lists of some rows: their offsets, and which elements are in them.
    fn elements<'a>(&mut self, lists: &[i32], rows: &RowsOf<'_>) -> Result<(Bytes<'a>, Elements), Failed> {
        let count = rows.len();
        let mut offsets = self.take(4 * (count + 1));
        let (ends, _) = offsets.as_chunks_mut::<4>();
        ends[0] = [0; 4];
        let elements = match rows {
            RowsOf::Range(range) => {
                let lists = &lists[range.start..=range.end];
                let ends = ends[1..].iter_mut().zip(&lists[1..]);
                ends.for_each(|(end, list)| *end = (list - lists[0]).to_le_bytes());
                Elements::Range(lists[0] as usize..lists[count] as usize)
            }
            RowsOf::Picked(rows) => {
                let mut picked = Vec::new();
                for (end, row) in ends[1..].iter_mut().zip(*rows) {
                    picked.extend(lists[*row as usize] as u32..lists[*row as usize + 1] as u32);
                    let len = i32::try_from(picked.len());
                    *end = len
                        .map_err(|_| Failed::limit("its lists have more elements than a batch can have"))?
                        .to_le_bytes();
                }
                Elements::Picked(picked)
            }
        };
        Ok((Bytes::Gathered(offsets, 4 * (count + 1)), elements))
    }

    /// A column of values that are no lists.
    fn column<'a>(&mut self, array: &'a ArrayRef, rows: &RowsOf<'_>) -> Result<Column<'a>, Failed> {
        let validity = self.validity(array, rows);
        let (offsets, values) = match array.data_type() {
            DataType::Boolean => (NO_BYTES, self.bits(array.as_boolean().values(), rows)),
            DataType::Utf8View => {
                let array = array.as_string_view();
                self.views(array.views(), array.data_buffers(), rows)?
            }
            DataType::BinaryView => {
                let array = array.as_binary_view();
                self.views(array.views(), array.data_buffers(), rows)?
            }
            DataType::Int16 => (NO_BYTES, self.numbers::<Int16Type, 2>(array, rows)),
            DataType::Int32 => (NO_BYTES, self.numbers::<Int32Type, 4>(array, rows)),
            DataType::UInt32 => (NO_BYTES, self.numbers::<UInt32Type, 4>(array, rows)),
            DataType::Float32 => (NO_BYTES, self.numbers::<Float32Type, 4>(array, rows)),
            DataType::Date32 => (NO_BYTES, self.numbers::<Date32Type, 4>(array, rows)),
            DataType::Int64 => (NO_BYTES, self.numbers::<Int64Type, 8>(array, rows)),
            DataType::Float64 => (NO_BYTES, self.numbers::<Float64Type, 8>(array, rows)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                (NO_BYTES, self.numbers::<TimestampMicrosecondType, 8>(array, rows))
            }
            DataType::Time64(TimeUnit::Microsecond) => {
                (NO_BYTES, self.numbers::<Time64MicrosecondType, 8>(array, rows))
            }
            other => unreachable!("a schema with {other} was refused when the chain was opened"),
        };
        Ok(Column { validity, offsets, values })
    }

    fn numbers<'a, T: ArrowPrimitiveType, const WIDTH: usize>(
        &mut self,
        array: &'a ArrayRef,
        rows: &RowsOf<'_>,
    ) -> Bytes<'a> {
        let bytes = array.as_primitive::<T>().values().inner().as_slice();
        match rows {
            RowsOf::Range(range) => Bytes::Borrowed(&bytes[range.start * WIDTH..range.end * WIDTH]),
            RowsOf::Picked(rows) => {
                let mut picked = self.take(rows.len() * WIDTH);
                let (from, _) = bytes.as_chunks::<WIDTH>();
                let (into, _) = picked.as_chunks_mut::<WIDTH>();
                for (into, row) in into.iter_mut().zip(*rows) {
                    *into = from[*row as usize];
                }
                Bytes::Gathered(picked, rows.len() * WIDTH)
            }
        }
    }

    fn bits<'a>(&mut self, bits: &'a BooleanBuffer, rows: &RowsOf<'_>) -> Bytes<'a> {
        match rows {
            RowsOf::Range(range) => {
                let from = bits.offset() + range.start;
                if from.is_multiple_of(8) {
                    return Bytes::Borrowed(&bits.values()[from / 8..][..range.len().div_ceil(8)]);
                }
                Bytes::Held(bits.slice(range.start, range.len()).sliced())
            }
            RowsOf::Picked(rows) => {
                let len = rows.len().div_ceil(8);
                let mut picked = self.take(len);
                for (into, rows) in picked.iter_mut().zip(rows.chunks(8)) {
                    *into = rows.iter().rev().fold(0, |byte, row| byte << 1 | u8::from(bits.value(*row as usize)));
                }
                Bytes::Gathered(picked, len)
            }
        }
    }

    /// Views, one behind the other, with offsets.
    fn views<'a>(
        &mut self,
        views: &[u128],
        buffers: &[Buffer],
        rows: &RowsOf<'_>,
    ) -> Result<(Bytes<'a>, Bytes<'a>), Failed> {
        let count = rows.len();
        let mut values = self.take(BLOCK * count.div_ceil(2));
        let mut offsets = self.take(4 * (count + 1));
        let (ends, _) = offsets.as_chunks_mut::<4>();
        ends[0] = [0; 4];
        let ends = &mut ends[1..=count];
        let total = match rows {
            RowsOf::Range(range) => gather(views[range.clone()].iter().copied(), buffers, ends, &mut values),
            RowsOf::Picked(rows) => gather(rows.iter().map(|row| views[*row as usize]), buffers, ends, &mut values),
        }?;
        Ok((Bytes::Gathered(offsets, 4 * (count + 1)), Bytes::Gathered(values, total)))
    }
}

const NO_BYTES: Bytes<'static> = Bytes::Borrowed(&[]);

/// Texts up to this length are copied in whole halves of a block, which costs less than their exact lengths; the next one
/// overwrites what was too much.
const BLOCK: usize = 64;
const HALF: usize = 32;
const INLINE: usize = 12;

/// Gives how many bytes there are. A function of its own, so that its loop has all registers.
#[inline(never)]
fn gather(
    views: impl Iterator<Item = u128>,
    buffers: &[Buffer],
    ends: &mut [[u8; 4]],
    values: &mut Vec<u8>,
) -> Result<usize, Failed> {
    let mut at = 0_u32;
    // Neighbours are mostly in one buffer.
    let (mut current, mut bytes): (u32, &[u8]) = (0, buffers.first().map_or(&[], Buffer::as_slice));
    let mut into = values.as_mut_slice();
    for (end, view) in ends.iter_mut().zip(views) {
        let (len, from) = (view as u32 as usize, at as usize);
        match into.get_mut(from..from + BLOCK) {
            Some(room) if len <= INLINE => room[..16].copy_from_slice(&(view >> 32).to_le_bytes()),
            Some(room) if len <= BLOCK => {
                let (buffer, source) = ((view >> 64) as u32, (view >> 96) as u32 as usize);
                if buffer != current {
                    (current, bytes) = (buffer, buffers[buffer as usize].as_slice());
                }
                match bytes.get(source..source + BLOCK) {
                    Some(block) => {
                        room[..HALF].copy_from_slice(&block[..HALF]);
                        if len > HALF {
                            room[HALF..].copy_from_slice(&block[HALF..]);
                        }
                    }
                    None => into = put(values, from, view, buffers)?,
                }
            }
            _ => into = put(values, from, view, buffers)?,
        }
        at += len as u32;
        *end = at.to_le_bytes();
    }
    Ok(at as usize)
}

/// Puts a text of any length there, and makes room where there is none. Not inlined: the compiler would make one copy of unknown
/// length of this one and those of a block.
#[inline(never)]
fn put<'a>(values: &'a mut Vec<u8>, at: usize, view: u128, buffers: &[Buffer]) -> Result<&'a mut [u8], Failed> {
    let len = view as u32 as usize;
    let total = at + len;
    if total > i32::MAX as usize {
        return Err(Failed::limit("a column has more than 2 GiB in one batch"));
    }
    if total > values.len() {
        values.resize((2 * values.len() + BLOCK).clamp(total, i32::MAX as usize), 0);
    }
    let into = &mut values[at..total];
    if len <= INLINE {
        into.copy_from_slice(&(view >> 32).to_le_bytes()[..len]);
    } else {
        let from = (view >> 96) as usize;
        into.copy_from_slice(&buffers[(view >> 64) as u32 as usize][from..from + len]);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Int64Array, StringViewArray};

    use super::*;

    fn push(array: ArrayRef, rows: &RowsOf<'_>) -> (Option<Vec<u8>>, Vec<u8>, Vec<u8>) {
        let mut scratch = Scratch { kept: vec![vec![0xaa; 3], vec![0xbb; 1000]] };
        let column = scratch.column(&array, rows).unwrap();
        let pushed = column.pushed();
        (pushed.validity.map(<[u8]>::to_vec), pushed.offsets.to_vec(), pushed.values.to_vec())
    }

    fn ends(offsets: &[u8]) -> Vec<u32> {
        offsets.as_chunks().0.iter().map(|end| u32::from_le_bytes(*end)).collect()
    }

    #[test]
    fn texts_of_every_length_are_laid_end_to_end() {
        let texts: Vec<String> = (0..150).map(|len| "añb".chars().cycle().take(len).collect()).collect();
        let array: ArrayRef = Arc::new(StringViewArray::from_iter_values(&texts));
        let (validity, offsets, values) = push(Arc::clone(&array), &RowsOf::Range(0..150));
        assert!(validity.is_none());
        assert_eq!(values, texts.concat().into_bytes());
        assert_eq!(ends(&offsets).len(), 151);
        let (_, offsets, values) = push(array, &RowsOf::Picked(&[79, 0, 5, 5, 30]));
        assert_eq!(values, [&*texts[79], &texts[5], &texts[5], &texts[30]].concat().into_bytes());
        assert_eq!(ends(&offsets)[..3], [0, texts[79].len() as u32, texts[79].len() as u32]);
    }

    #[test]
    fn nulls_and_bits_follow_the_rows() {
        let array: ArrayRef = Arc::new(BooleanArray::from_iter((0..40).map(|i| (i % 3 != 0).then_some(i % 2 == 0))));
        let sliced = array.slice(3, 30);
        for (array, from) in [(array, 0), (sliced, 3)] {
            for rows in [RowsOf::Range(0..20), RowsOf::Range(5..21), RowsOf::Picked(&[7, 1, 1, 8, 2, 3, 4, 5, 9])] {
                let at: Vec<usize> = match &rows {
                    RowsOf::Range(range) => range.clone().map(|row| row + from).collect(),
                    RowsOf::Picked(rows) => rows.iter().map(|row| *row as usize + from).collect(),
                };
                let (validity, _, values) = push(Arc::clone(&array), &rows);
                let validity = validity.unwrap();
                assert_eq!((validity.len(), values.len()), (at.len().div_ceil(8), at.len().div_ceil(8)));
                for (bit, row) in at.iter().enumerate() {
                    assert_eq!(validity[bit / 8] >> (bit % 8) & 1 == 1, row % 3 != 0);
                    assert!(row % 3 == 0 || (values[bit / 8] >> (bit % 8) & 1 == 1) == (row % 2 == 0));
                }
            }
        }
    }

    #[test]
    fn numbers_are_borrowed_where_they_lie() {
        let array: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let sliced = array.slice(10, 50);
        let mut scratch = Scratch::default();
        let column = scratch.column(&sliced, &RowsOf::Range(2..4)).unwrap();
        assert!(matches!(column.values, Bytes::Borrowed(_)));
        assert_eq!(column.pushed().values, [12i64.to_le_bytes(), 13i64.to_le_bytes()].concat());
        let (_, _, picked) = push(array, &RowsOf::Picked(&[99, 0]));
        assert_eq!(picked, [99i64.to_le_bytes(), 0i64.to_le_bytes()].concat());
    }
}
