//! Rows as structs: what `#[derive(Row)]` and `#[derive(Made)]` write, and what becomes of a row.

use std::borrow::Cow;
use std::fmt;

use crate::say::said;
use crate::{
    Batch, Bits, Buffers, Column, ColumnType, DataType, Error, List, Lists, MakeBytes, MakeNumbers, Number, Reject,
    TransformPlan,
};

/// Why a row cannot become a document. Any error turns into one by `?`; [`OrReject`] gives it a code of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    code: Cow<'static, str>,
    message: String,
}

impl RowError {
    /// `code` is short and the same for the same kind of fault: dead letters are counted by it. The message is for who
    /// mends the row: it names the column, and holds nothing that must not be read by everybody.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> RowError {
        RowError { code: code.into(), message: message.into() }
    }

    #[doc(hidden)]
    pub fn null(column: &str, null: Null) -> RowError {
        let is = match null {
            Null::Cell => "` is null",
            Null::Element => "` has a null in its list",
        };
        RowError::new("null", said(&["column `", column, is]))
    }

    pub fn code(&self) -> &str {
        &self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn at(self, row: usize) -> Reject {
        Reject { row: row as u32, code: self.code.into_owned(), message: self.message }
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: std::error::Error> From<E> for RowError {
    fn from(error: E) -> RowError {
        RowError::new("failed", error.to_string())
    }
}

/// Gives what is missing or wrong in a row a code.
pub trait OrReject<T> {
    fn or_reject(self, code: &'static str, message: &str) -> Result<T, RowError>;
}

impl<T> OrReject<T> for Option<T> {
    fn or_reject(self, code: &'static str, message: &str) -> Result<T, RowError> {
        self.ok_or_else(|| RowError::new(code, message))
    }
}

/// The message has the error's own behind it.
impl<T, E: fmt::Display> OrReject<T> for Result<T, E> {
    fn or_reject(self, code: &'static str, message: &str) -> Result<T, RowError> {
        self.map_err(|error| RowError::new(code, said(&[message, ": ", &error.to_string()])))
    }
}

/// A plan, of a filter or of a transform, that can be asked for columns.
pub trait Require {
    /// A column's place among the required ones. `misfit` says of its types, its own and its elements', what they would have
    /// to be; nothing where they fit.
    fn require_any(&mut self, name: &str, misfit: fn(&[DataType]) -> Option<DataType>) -> Result<usize, Error>;
}

#[doc(hidden)]
pub fn require_in<T: ColumnType + ?Sized>(plan: &mut dyn Require, name: &str) -> Result<Column<T>, Error> {
    plan.require_any(name, T::misfit).map(Column::at)
}

/// A typed row; `#[derive(Row)]` makes it of a struct whose fields are columns.
pub trait Row<'a>: Sized {
    /// The handles of its columns.
    type Columns: 'static;
    fn require(plan: &mut dyn Require) -> Result<Self::Columns, Error>;
    fn read(columns: &Self::Columns, batch: &Batch<'a>, row: usize) -> Result<Self, RowError>;
}

/// What a field of a typed row may be: a text, bytes, a bool, a number, a `Vec` of one where the column has lists, an `Option` of
/// any where there are nulls.
pub trait Cell<'a>: Sized {
    type Column: ColumnType + ?Sized;
    /// An error where there is a null that may not be.
    fn cell(view: &<Self::Column as ColumnType>::View<'a>, row: usize) -> Result<Self, Null>;
}

/// A null that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Null {
    /// The value itself.
    Cell,
    /// An element of a list.
    Element,
}

macro_rules! cell {
    ($($cell:ty: $column:ty,)*) => {$(
        impl<'a> Cell<'a> for $cell {
            type Column = $column;

            #[inline]
            fn cell(view: &<$column as ColumnType>::View<'a>, row: usize) -> Result<Self, Null> {
                view.get(row).ok_or(Null::Cell)
            }
        }
    )*};
}

cell! { &'a str: str, &'a [u8]: [u8], bool: bool, i16: i16, i32: i32, i64: i64, u32: u32, f32: f32, f64: f64, }

impl<'a, T: Cell<'a>> Cell<'a> for Option<T> {
    type Column = T::Column;

    #[inline]
    fn cell(view: &<T::Column as ColumnType>::View<'a>, row: usize) -> Result<Option<T>, Null> {
        match T::cell(view, row) {
            Ok(cell) => Ok(Some(cell)),
            Err(Null::Cell) => Ok(None),
            Err(Null::Element) => Err(Null::Element),
        }
    }
}

impl<'a, T: Cell<'a>> Cell<'a> for Vec<T> {
    type Column = List<T::Column>;

    fn cell(view: &Lists<'a, T::Column>, row: usize) -> Result<Vec<T>, Null> {
        let list = view.get(row).ok_or(Null::Cell)?;
        list.map(|at| T::cell(view.elements(), at).map_err(|_| Null::Element)).collect()
    }
}

/// Columns that a transform makes; `#[derive(Made)]` makes it of a struct.
pub trait Made {
    type Columns: Default;
    const NAMES: &'static [&'static str];
    fn plan(plan: &mut TransformPlan<'_>);
    fn push(self, columns: &mut Self::Columns);
    fn finish(columns: Self::Columns) -> Vec<Buffers>;
}

/// What a field of made columns may be.
pub trait MakeCell: Sized {
    type Column: Default;
    const DATA_TYPE: DataType;
    fn push(value: Option<Self>, column: &mut Self::Column);
    fn finish(column: Self::Column) -> Buffers;
}

macro_rules! make_bytes {
    ($($of:ty: $type:ident,)*) => {$(
        impl MakeCell for $of {
            type Column = MakeBytes;
            const DATA_TYPE: DataType = DataType::$type;

            fn push(value: Option<Self>, column: &mut MakeBytes) {
                column.push(value);
            }

            fn finish(column: MakeBytes) -> Buffers {
                column.finish()
            }
        }
    )*};
}

make_bytes! { String: Utf8, &str: Utf8, Vec<u8>: Binary, &[u8]: Binary, }

macro_rules! make_number {
    ($($of:ident)*) => {$(
        impl MakeCell for $of {
            type Column = MakeNumbers;
            const DATA_TYPE: DataType = <$of as Number>::OF[0];

            fn push(value: Option<Self>, column: &mut MakeNumbers) {
                column.push(value);
            }

            fn finish(column: MakeNumbers) -> Buffers {
                column.finish()
            }
        }
    )*};
}

make_number! { i16 i32 i64 u32 f32 f64 }

impl MakeCell for bool {
    type Column = (Bits, Bits);
    const DATA_TYPE: DataType = DataType::Boolean;

    fn push(value: Option<bool>, (values, validity): &mut (Bits, Bits)) {
        values.push(value.unwrap_or_default());
        validity.push(value.is_some());
    }

    fn finish((values, validity): (Bits, Bits)) -> Buffers {
        Buffers { validity: validity.into_validity(), offsets: Vec::new(), values: values.into_bytes() }
    }
}

impl<T: MakeCell> MakeCell for Option<T> {
    type Column = T::Column;
    const DATA_TYPE: DataType = T::DATA_TYPE;

    fn push(value: Option<Option<T>>, column: &mut T::Column) {
        T::push(value.flatten(), column);
    }

    fn finish(column: T::Column) -> Buffers {
        T::finish(column)
    }
}
