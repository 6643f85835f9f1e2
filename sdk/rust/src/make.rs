//! What goes back: buffers for the columns that a transform makes, and bitmaps.

use crate::column::bit;
use crate::{Buffers, DataType, Keep, Number, Rows};

/// A bit a row, least significant first.
#[derive(Clone, Debug, Default)]
pub struct Bits {
    bytes: Vec<u8>,
    len: usize,
    ones: usize,
}

impl Bits {
    pub fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if bit && let Some(last) = self.bytes.last_mut() {
            *last |= 1 << (self.len % 8);
            self.ones += 1;
        }
        self.len += 1;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn into_keep(self) -> Keep {
        match self.ones {
            ones if ones == self.len => Keep::All,
            0 => Keep::None,
            _ => Keep::Bitmap(self.bytes),
        }
    }

    pub fn into_rows(self) -> Rows {
        match self.into_keep() {
            Keep::All => Rows::All,
            Keep::None => Rows::None,
            Keep::Bitmap(bits) => Rows::Bitmap(bits),
        }
    }

    pub(crate) fn into_validity(self) -> Option<Vec<u8>> {
        (self.ones < self.len).then_some(self.bytes)
    }
}

impl FromIterator<bool> for Bits {
    fn from_iter<I: IntoIterator<Item = bool>>(rows: I) -> Bits {
        let mut bits = Bits::default();
        rows.into_iter().for_each(|row| bits.push(row));
        bits
    }
}

/// A boolean column.
impl FromIterator<Option<bool>> for Buffers {
    fn from_iter<I: IntoIterator<Item = Option<bool>>>(rows: I) -> Buffers {
        let (mut values, mut validity) = (Bits::default(), Bits::default());
        for row in rows {
            values.push(row.unwrap_or_default());
            validity.push(row.is_some());
        }
        Buffers { validity: validity.into_validity(), offsets: Vec::new(), values: values.bytes }
    }
}

/// The lists of a column of lists, by how many elements each has: the column of all their elements goes behind it.
pub fn lists(lens: impl IntoIterator<Item = Option<usize>>) -> Buffers {
    let (mut offsets, mut validity, mut end) = (vec![0; 4], Bits::default(), 0_u32);
    for len in lens {
        end += len.unwrap_or_default() as u32;
        offsets.extend_from_slice(&end.to_le_bytes());
        validity.push(len.is_some());
    }
    Buffers { validity: validity.into_validity(), offsets, values: Vec::new() }
}

/// Makes a column of numbers, dates or times.
#[derive(Clone, Debug, Default)]
pub struct MakeNumbers {
    values: Vec<u8>,
    validity: Bits,
}

impl MakeNumbers {
    pub fn push<T: Number + Default>(&mut self, value: Option<T>) {
        value.unwrap_or_default().write(&mut self.values);
        self.validity.push(value.is_some());
    }

    pub fn finish(self) -> Buffers {
        Buffers { validity: self.validity.into_validity(), offsets: Vec::new(), values: self.values }
    }

    pub fn of<T: Number + Default>(values: impl IntoIterator<Item = Option<T>>) -> Buffers {
        let mut column = MakeNumbers::default();
        values.into_iter().for_each(|value| column.push(value));
        column.finish()
    }
}

/// Makes a column of texts or strings of bytes, or JSON documents.
#[derive(Clone, Debug)]
pub struct MakeBytes {
    values: Vec<u8>,
    offsets: Vec<u8>,
    validity: Bits,
}

impl Default for MakeBytes {
    fn default() -> MakeBytes {
        MakeBytes { values: Vec::new(), offsets: vec![0; 4], validity: Bits::default() }
    }
}

impl MakeBytes {
    /// # Panics
    ///
    /// Past 2 GiB in one batch.
    pub fn push(&mut self, value: Option<impl AsRef<[u8]>>) {
        if let Some(value) = &value {
            self.values.extend_from_slice(value.as_ref());
        }
        let end = i32::try_from(self.values.len()).expect("a column of a batch holds less than 2 GiB");
        self.offsets.extend_from_slice(&end.to_le_bytes());
        self.validity.push(value.is_some());
    }

    pub fn finish(self) -> Buffers {
        Buffers { validity: self.validity.into_validity(), offsets: self.offsets, values: self.values }
    }

    pub fn of(values: impl IntoIterator<Item = Option<impl AsRef<[u8]>>>) -> Buffers {
        let mut column = MakeBytes::default();
        values.into_iter().for_each(|value| column.push(value));
        column.finish()
    }
}

/// The values at these rows of a column of any type, told by its types: its own and behind it, of lists, those of its elements, as
/// are the buffers ([`Batch::raw`](crate::Batch::raw)).
pub fn take(types: &[DataType], column: &[Buffers], rows: &[usize]) -> Vec<Buffers> {
    let of = &column[0];
    let is_valid = |row: usize| of.validity.as_ref().is_none_or(|bits| bit(bits, row));
    let end = |at: usize| {
        let bytes = &of.offsets[at * 4..at * 4 + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
    };
    let width = match types[0] {
        DataType::Boolean => {
            return vec![rows.iter().map(|row| is_valid(*row).then(|| bit(&of.values, *row))).collect()];
        }
        DataType::Utf8 | DataType::Binary => {
            let value = |row: &usize| is_valid(*row).then(|| &of.values[end(*row)..end(row + 1)]);
            return vec![MakeBytes::of(rows.iter().map(value))];
        }
        DataType::List => {
            let range = |row: &usize| is_valid(*row).then(|| end(*row)..end(row + 1));
            let elements: Vec<usize> = rows.iter().filter_map(range).flatten().collect();
            let mut made = vec![lists(rows.iter().map(|row| range(row).map(|range| range.len())))];
            made.extend(take(&types[1..], &column[1..], &elements));
            return made;
        }
        DataType::Int16 => 2,
        DataType::Int32 | DataType::Uint32 | DataType::Float32 | DataType::Date32 => 4,
        DataType::Int64 | DataType::Float64 | DataType::Timestamp | DataType::TimestampUtc | DataType::Time64 => 8,
    };
    let mut values = Vec::with_capacity(rows.len() * width);
    rows.iter().for_each(|row| values.extend_from_slice(&of.values[row * width..][..width]));
    let validity: Bits = rows.iter().map(|row| is_valid(*row)).collect();
    vec![Buffers { validity: validity.into_validity(), offsets: Vec::new(), values }]
}
