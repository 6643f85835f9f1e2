//! The view columns of one table and the buffers that they point into: the crate's only unsafe code.
//!
//! Invariant, held by this module alone: each view in `text` is inline, or lies within the buffer that it names, and its
//! bytes are UTF-8. Views enter only by the `push_` functions, which check the bytes that they point at; chunks are
//! immutable, and [`Side`] only grows past `mark`, so nothing can change under a view.
#![expect(unsafe_code, reason = "arrow would validate every text cell a second time")]

use std::sync::Arc;

use arrow_array::{BinaryViewArray, StringViewArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};
use bytes::Bytes;

use crate::error::Fault;

/// Values of up to this many bytes are kept in the view itself.
const INLINE: usize = 12;
/// A side buffer is closed after this many bytes: growing copies it, so it shall not grow far.
const SIDE_BYTES: usize = 1 << 20;
/// Arrow's views have 32-bit lengths and offsets, signed in its specification.
pub(crate) const VIEW_BYTES_MAX: usize = i32::MAX as usize;

/// Where a cell's bytes are: in the chunk that was read, or anywhere (and then gone after the call).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    Chunk { chunk: &'a Bytes, start: usize, end: usize },
    Loose(&'a [u8]),
}

impl<'a> Cell<'a> {
    #[inline(always)]
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Cell::Chunk { chunk, start, end } => &chunk[start..end],
            Cell::Loose(bytes) => bytes,
        }
    }
}

/// A column of text in a [`Views`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextColumn(usize);

/// A column of bytes in a [`Views`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct BinaryColumn(usize);

/// Takes values that have to be rewritten. It can only be appended to.
#[derive(Debug, Default)]
pub(crate) struct Side(Vec<u8>);

impl Side {
    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.0.push(byte);
    }

    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A chunk that views may point into; it is among the buffers, so its memory cannot become another's.
#[derive(Debug)]
struct Registered {
    address: usize,
    len: usize,
    buffer: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Views {
    text: Vec<Vec<u128>>,
    binary: Vec<Vec<u128>>,
    buffers: Vec<Buffer>,
    chunk: Option<Registered>,
    side: Side,
    /// The place among `buffers` that is kept for `side`.
    side_buffer: Option<u32>,
    /// No view points into `side` from here on.
    mark: usize,
}

impl Views {
    pub(crate) fn add_text(&mut self) -> TextColumn {
        self.text.push(Vec::new());
        TextColumn(self.text.len() - 1)
    }

    pub(crate) fn add_binary(&mut self) -> BinaryColumn {
        self.binary.push(Vec::new());
        BinaryColumn(self.binary.len() - 1)
    }

    pub(crate) fn push_null_text(&mut self, column: TextColumn) {
        self.text[column.0].push(0);
    }

    pub(crate) fn push_null_binary(&mut self, column: BinaryColumn) {
        self.binary[column.0].push(0);
    }

    /// Text as it came: a view into its chunk, or a copy where it is in none.
    #[inline]
    pub(crate) fn push_text(&mut self, column: TextColumn, cell: Cell<'_>) -> Result<(), Fault> {
        let bytes = cell.bytes();
        let view = match cell {
            Cell::Chunk { chunk, start, .. } if bytes.len() <= INLINE => inline_text_in(chunk, start, bytes)?,
            _ if !is_utf8(bytes) => return Err(Fault::NotUtf8),
            Cell::Chunk { chunk, start, .. } => long_view(bytes, self.register(chunk)?, start)?,
            Cell::Loose(_) => self.copy(bytes)?,
        };
        self.text[column.0].push(view);
        Ok(())
    }

    /// A place for a value that has to be written anew; a `push_written_` function takes what was appended.
    pub(crate) fn write(&mut self) -> &mut Side {
        if self.side.0.len() >= SIDE_BYTES {
            self.close_side();
        }
        self.mark = self.side.0.len();
        &mut self.side
    }

    pub(crate) fn push_written_text(&mut self, column: TextColumn) -> Result<(), Fault> {
        if !is_utf8(&self.side.0[self.mark..]) {
            return Err(Fault::NotUtf8);
        }
        let view = self.written()?;
        self.text[column.0].push(view);
        Ok(())
    }

    pub(crate) fn push_written_binary(&mut self, column: BinaryColumn) -> Result<(), Fault> {
        let view = self.written()?;
        self.binary[column.0].push(view);
        Ok(())
    }

    fn copy(&mut self, bytes: &[u8]) -> Result<u128, Fault> {
        if bytes.len() <= INLINE {
            return Ok(inline_view(bytes));
        }
        self.write().extend(bytes);
        self.written()
    }

    /// The view of what was written since the mark.
    fn written(&mut self) -> Result<u128, Fault> {
        let bytes = &self.side.0[self.mark..];
        if bytes.len() <= INLINE {
            let view = inline_view(bytes);
            self.side.0.truncate(self.mark);
            return Ok(view);
        }
        let buffer = *self.side_buffer.get_or_insert_with(|| {
            self.buffers.push(Buffer::from(&[] as &[u8]));
            self.buffers.len() as u32 - 1
        });
        let view = long_view(bytes, buffer, self.mark)?;
        self.mark = self.side.0.len();
        Ok(view)
    }

    fn close_side(&mut self) {
        let side = std::mem::take(&mut self.side.0);
        self.mark = 0;
        if let Some(buffer) = self.side_buffer.take() {
            self.buffers[buffer as usize] = Buffer::from_vec(side);
        }
    }

    #[inline]
    fn register(&mut self, chunk: &Bytes) -> Result<u32, Fault> {
        match &self.chunk {
            Some(known) if known.address == chunk.as_ptr() as usize && known.len == chunk.len() => Ok(known.buffer),
            _ => self.register_new(chunk),
        }
    }

    #[cold]
    fn register_new(&mut self, chunk: &Bytes) -> Result<u32, Fault> {
        if chunk.len() > VIEW_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        self.buffers.push(Buffer::from(chunk.clone()));
        let buffer = self.buffers.len() as u32 - 1;
        self.chunk = Some(Registered { address: chunk.as_ptr() as usize, len: chunk.len(), buffer });
        Ok(buffer)
    }

    /// Takes all columns; the next ones start empty, with room for as many values.
    pub(crate) fn finish(&mut self) -> Finished {
        self.close_side();
        self.chunk = None;
        let renew = |columns: &mut Vec<Vec<u128>>| {
            columns.iter_mut().map(|views| std::mem::replace(views, Vec::with_capacity(views.len()))).collect()
        };
        Finished {
            text: renew(&mut self.text),
            binary: renew(&mut self.binary),
            buffers: std::mem::take(&mut self.buffers).into(),
        }
    }
}

/// The columns of a [`Views`] with the list of buffers that all of them share.
#[derive(Debug)]
pub(crate) struct Finished {
    text: Vec<Vec<u128>>,
    binary: Vec<Vec<u128>>,
    buffers: Arc<[Buffer]>,
}

impl Finished {
    pub(crate) fn text(&mut self, column: TextColumn, nulls: Option<NullBuffer>) -> StringViewArray {
        let views = ScalarBuffer::from(std::mem::take(&mut self.text[column.0]));
        assert!(nulls.as_ref().is_none_or(|nulls| nulls.len() == views.len()), "a null bit for each view");
        // SAFETY: by the module's invariant every view lies within the buffer that it names in `self.buffers`, which is
        // the list that it was made against, is zero-padded where inline, has the prefix of its bytes, and is UTF-8;
        // a null's view is 0, the empty text. The nulls' length was asserted.
        unsafe { StringViewArray::new_unchecked(views, self.buffers.clone(), nulls) }
    }

    pub(crate) fn binary(&mut self, column: BinaryColumn, nulls: Option<NullBuffer>) -> BinaryViewArray {
        let views = ScalarBuffer::from(std::mem::take(&mut self.binary[column.0]));
        BinaryViewArray::new(views, self.buffers.clone(), nulls)
    }
}

/// Most text is ASCII, which is told faster than UTF-8 where the text is short.
#[inline]
pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    (bytes.len() < 64 && bytes.is_ascii()) || simdutf8::basic::from_utf8(bytes).is_ok()
}

#[inline]
fn long_view(bytes: &[u8], buffer: u32, offset: usize) -> Result<u128, Fault> {
    let (len, end) = (bytes.len(), offset + bytes.len());
    if end > VIEW_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let prefix = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(len as u128 | u128::from(prefix) << 32 | u128::from(buffer) << 64 | (offset as u128) << 96)
}

fn inline_view(bytes: &[u8]) -> u128 {
    let mut view = [0; 16];
    view[0] = bytes.len() as u8;
    view[4..4 + bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(view)
}

const HIGH_BITS: u128 = u128::from_le_bytes([0x80; 16]);

/// The inline view of `bytes`, which start at `start` of the chunk: one load where the chunk goes on for 16 bytes, as
/// it nearly always does.
#[inline]
fn inline_text_in(chunk: &[u8], start: usize, bytes: &[u8]) -> Result<u128, Fault> {
    if let Some(word) = chunk.get(start..start + 16) {
        let word = u128::from_le_bytes(word.try_into().expect("sliced to 16 bytes"));
        let text = word & ((1 << (bytes.len() * 8)) - 1);
        if text & HIGH_BITS == 0 {
            return Ok(text << 32 | bytes.len() as u128);
        }
    }
    if is_utf8(bytes) { Ok(inline_view(bytes)) } else { Err(Fault::NotUtf8) }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use proptest::prelude::*;

    use super::*;

    /// A value and the way that it enters.
    fn entry() -> impl Strategy<Value = (Vec<u8>, u8)> {
        let bytes = prop_oneof![
            4 => ".{0,40}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..40),
        ];
        (bytes, 0..3u8)
    }

    proptest! {
        /// What arrow itself would refuse never comes out, and what came in comes out unchanged.
        #[test]
        fn every_view_is_one_that_arrow_accepts(chunks in prop::collection::vec(prop::collection::vec(entry(), 0..20), 1..4)) {
            let mut views = Views::default();
            let column = views.add_text();
            let mut expected = Vec::new();
            for values in chunks {
                let chunk: Bytes = values.iter().flat_map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>().into();
                let mut start = 0;
                for (bytes, way) in &values {
                    let end = start + bytes.len();
                    let pushed = match way {
                        0 => views.push_text(column, Cell::Chunk { chunk: &chunk, start, end }),
                        1 => views.push_text(column, Cell::Loose(bytes)),
                        _ => {
                            views.write().extend(bytes);
                            views.push_written_text(column)
                        }
                    };
                    start = end;
                    prop_assert_eq!(pushed.is_ok(), std::str::from_utf8(bytes).is_ok());
                    if pushed.is_ok() {
                        expected.push(String::from_utf8(bytes.clone()).unwrap());
                    }
                }
            }
            let array = views.finish().text(column, None);
            array.to_data().validate_full().unwrap();
            prop_assert_eq!(array.iter().map(|v| v.unwrap().to_owned()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn side_buffers_are_closed_before_they_grow_far() {
        let mut views = Views::default();
        let column = views.add_text();
        let text = "x".repeat(SIDE_BYTES / 2 + 1);
        for _ in 0..5 {
            views.push_text(column, Cell::Loose(text.as_bytes())).unwrap();
        }
        let array = views.finish().text(column, None);
        assert_eq!(array.data_buffers().len(), 3);
        assert!(array.iter().all(|value| value == Some(&text)));
        assert_eq!(views.finish().text(column, None).len(), 0);
    }
}
