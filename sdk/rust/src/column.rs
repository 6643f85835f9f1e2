//! What came with a batch: columns as raw Arrow buffers, read through typed handles without copying and without any
//! assumption about alignment.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use crate::{Buffers, DataType};

/// A required column, by its Rust type. [`FilterPlan::require`](crate::FilterPlan::require) makes it and checks the type.
pub struct Column<T: ?Sized> {
    place: usize,
    of: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> Column<T> {
    /// The column at this place among the required ones.
    pub(crate) fn at(place: usize) -> Column<T> {
        Column { place, of: PhantomData }
    }
}

impl<T: ?Sized> Clone for Column<T> {
    fn clone(&self) -> Column<T> {
        *self
    }
}

impl<T: ?Sized> Copy for Column<T> {}

impl<T: ?Sized> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Column({})", self.place)
    }
}

/// The rows of one call.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    rows: usize,
    columns: &'a [Buffers],
}

impl<'a> Batch<'a> {
    /// A batch as it comes from the host; tests make one of what [`MakeNumbers`](crate::MakeNumbers) and its sisters give.
    pub fn new(rows: usize, columns: &'a [Buffers]) -> Batch<'a> {
        Batch { rows, columns }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn column<T: ColumnType + ?Sized>(&self, column: Column<T>) -> T::View<'a> {
        T::view(self.rows, &self.columns[column.place..])
    }

    /// The buffers of a column of any type as they crossed, behind a list's own those of its elements; other columns' follow.
    pub fn raw<T: ?Sized>(&self, column: Column<T>) -> &'a [Buffers] {
        &self.columns[column.place..]
    }

    /// Whether each row has a value; `None` where all have one. For a column of any type.
    pub fn validity<T: ?Sized>(&self, column: Column<T>) -> Option<&'a [u8]> {
        self.columns[column.place].validity.as_deref()
    }
}

/// A Rust type that a column can be read as.
pub trait ColumnType {
    type View<'a>;
    /// The Arrow types that are read as this one.
    const OF: &'static [DataType];
    /// The column's buffers come first, behind them those of its elements.
    fn view(rows: usize, buffers: &[Buffers]) -> Self::View<'_>;

    /// What it is read as where a column of these fields, its own and its elements', does not fit.
    #[doc(hidden)]
    fn misfit(fields: &[DataType]) -> Option<DataType> {
        let fits = Self::OF.is_empty() || Self::OF.contains(&fields[0]);
        (!fits).then(|| Self::OF[0])
    }
}

/// A column of lists of this type: `plan.require::<List<str>>("tags")`.
#[derive(Debug)]
pub struct List<T: ?Sized>(PhantomData<fn() -> Box<T>>);

impl<T: ColumnType + ?Sized> ColumnType for List<T> {
    type View<'a> = Lists<'a, T>;
    const OF: &'static [DataType] = &[DataType::List];

    fn view(_rows: usize, buffers: &[Buffers]) -> Lists<'_, T> {
        let ends: &[[u8; 4]] = buffers[0].offsets.as_chunks().0;
        let elements = ends.last().map_or(0, |last| u32::from_le_bytes(*last) as usize);
        Lists { ends, validity: Validity::of(&buffers[0]), elements: T::view(elements, &buffers[1..]) }
    }

    fn misfit(fields: &[DataType]) -> Option<DataType> {
        match fields {
            [DataType::List, elements @ ..] if !elements.is_empty() => T::misfit(elements),
            _ => Some(DataType::List),
        }
    }
}

/// A column of lists.
pub struct Lists<'a, T: ColumnType + ?Sized> {
    ends: &'a [[u8; 4]],
    validity: Validity<'a>,
    elements: T::View<'a>,
}

impl<'a, T: ColumnType + ?Sized> Lists<'a, T> {
    /// Where the elements of a row's list are among [`elements`](Lists::elements).
    pub fn get(&self, row: usize) -> Option<Range<usize>> {
        let end = |at: usize| u32::from_le_bytes(self.ends[at]) as usize;
        self.validity.is_valid(row).then(|| end(row)..end(row + 1))
    }

    /// The elements of all rows' lists, one list after the other.
    pub fn elements(&self) -> &T::View<'a> {
        &self.elements
    }
}

/// Any column, of which only the validity is read.
impl ColumnType for () {
    type View<'a> = Validity<'a>;
    const OF: &'static [DataType] = &[];

    fn view(_rows: usize, buffers: &[Buffers]) -> Validity<'_> {
        Validity::of(&buffers[0])
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Validity<'a>(Option<&'a [u8]>);

impl<'a> Validity<'a> {
    fn of(buffers: &'a Buffers) -> Validity<'a> {
        Validity(buffers.validity.as_deref())
    }

    pub fn is_valid(self, row: usize) -> bool {
        self.0.is_none_or(|bits| bit(bits, row))
    }

    /// The bits, least significant first; `None` where no row is null.
    pub fn bits(self) -> Option<&'a [u8]> {
        self.0
    }
}

pub(crate) fn bit(bits: &[u8], row: usize) -> bool {
    bits[row / 8] >> (row % 8) & 1 == 1
}

/// A number of fixed width, as it lies in a buffer.
pub trait Number: Copy + 'static {
    type Bytes: Copy;
    const OF: &'static [DataType];
    fn chunks(bytes: &[u8]) -> &[Self::Bytes];
    fn read(bytes: Self::Bytes) -> Self;
    fn write(self, into: &mut Vec<u8>);
}

macro_rules! number {
    ($($type:ident $width:literal: $($of:ident)*;)*) => {$(
        impl Number for $type {
            type Bytes = [u8; $width];
            const OF: &'static [DataType] = &[$(DataType::$of),*];

            fn chunks(bytes: &[u8]) -> &[[u8; $width]] {
                bytes.as_chunks().0
            }

            #[inline]
            fn read(bytes: [u8; $width]) -> $type {
                $type::from_le_bytes(bytes)
            }

            fn write(self, into: &mut Vec<u8>) {
                into.extend_from_slice(&self.to_le_bytes());
            }
        }

        impl ColumnType for $type {
            type View<'a> = Numbers<'a, $type>;
            const OF: &'static [DataType] = <$type as Number>::OF;

            fn view(_rows: usize, buffers: &[Buffers]) -> Numbers<'_, $type> {
                Numbers { values: $type::chunks(&buffers[0].values), validity: Validity::of(&buffers[0]) }
            }
        }
    )*};
}

number! {
    i16 2: Int16;
    i32 4: Int32 Date32;
    i64 8: Int64 Timestamp TimestampUtc Time64;
    u32 4: Uint32;
    f32 4: Float32;
    f64 8: Float64;
}

/// A column of numbers, dates or times.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a, T: Number> {
    values: &'a [T::Bytes],
    validity: Validity<'a>,
}

impl<'a, T: Number> Numbers<'a, T> {
    pub fn get(&self, row: usize) -> Option<T> {
        self.validity.is_valid(row).then(|| T::read(self.values[row]))
    }

    /// Every value; at a null row, anything.
    pub fn values(&self) -> impl ExactSizeIterator<Item = T> + use<'a, T> {
        self.values.iter().map(|bytes| T::read(*bytes))
    }

    /// The values as they lie there, for loops that the compiler turns into vector code.
    pub fn raw(&self) -> &'a [T::Bytes] {
        self.values
    }

    pub fn validity(&self) -> Validity<'a> {
        self.validity
    }
}

impl ColumnType for bool {
    type View<'a> = Bools<'a>;
    const OF: &'static [DataType] = &[DataType::Boolean];

    fn view(_rows: usize, buffers: &[Buffers]) -> Bools<'_> {
        Bools { values: &buffers[0].values, validity: Validity::of(&buffers[0]) }
    }
}

/// A column of booleans, a bit a row.
#[derive(Clone, Copy, Debug)]
pub struct Bools<'a> {
    values: &'a [u8],
    validity: Validity<'a>,
}

impl<'a> Bools<'a> {
    pub fn get(&self, row: usize) -> Option<bool> {
        self.validity.is_valid(row).then(|| bit(self.values, row))
    }

    /// The bits, least significant first; at a null row, anything.
    pub fn bits(&self) -> &'a [u8] {
        self.values
    }

    pub fn validity(&self) -> Validity<'a> {
        self.validity
    }
}

impl ColumnType for str {
    type View<'a> = Texts<'a>;
    const OF: &'static [DataType] = &[DataType::Utf8];

    fn view(rows: usize, buffers: &[Buffers]) -> Texts<'_> {
        Texts(<[u8]>::view(rows, buffers))
    }
}

/// A column of texts.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a>(Bytes<'a>);

impl<'a> Texts<'a> {
    pub fn get(&self, row: usize) -> Option<&'a str> {
        self.0.get(row).map(text)
    }

    /// The same without the check of UTF-8, for what compares bytes.
    pub fn bytes(&self) -> Bytes<'a> {
        self.0
    }
}

/// Not by `expect`, which would bring the formatting of its error into every component.
fn text(bytes: &[u8]) -> &str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("the host sends valid UTF-8"),
    }
}

impl ColumnType for [u8] {
    type View<'a> = Bytes<'a>;
    const OF: &'static [DataType] = &[DataType::Binary, DataType::Utf8];

    fn view(_rows: usize, buffers: &[Buffers]) -> Bytes<'_> {
        let buffers = &buffers[0];
        Bytes { ends: buffers.offsets.as_chunks().0, values: &buffers.values, validity: Validity::of(buffers) }
    }
}

/// A column of strings of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    ends: &'a [[u8; 4]],
    values: &'a [u8],
    validity: Validity<'a>,
}

impl<'a> Bytes<'a> {
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        self.validity.is_valid(row).then(|| self.value(row))
    }

    /// The bytes of a row; at a null row, anything.
    #[inline]
    pub fn value(&self, row: usize) -> &'a [u8] {
        let (from, to) = (u32::from_le_bytes(self.ends[row]), u32::from_le_bytes(self.ends[row + 1]));
        &self.values[from as usize..to as usize]
    }

    /// The offsets and the bytes as they lie there: each row's begin at its offset and end at the next.
    pub fn raw(&self) -> (&'a [[u8; 4]], &'a [u8]) {
        (self.ends, self.values)
    }

    /// The bytes of every row, in order; at a null row, anything.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let values = self.values;
        self.ends.array_windows().map(|[from, to]| {
            let (from, to) = (u32::from_le_bytes(*from), u32::from_le_bytes(*to));
            &values[from as usize..to as usize]
        })
    }

    pub fn validity(&self) -> Validity<'a> {
        self.validity
    }
}
