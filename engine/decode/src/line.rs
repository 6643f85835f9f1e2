//! A line of COPY text, taken apart.

use std::ops::Range;

use bytes::Bytes;

use crate::error::Fault;
use crate::views::Cell;

/// A line of COPY text, without its end, cell by cell.
///
/// Tabs, newlines and backslashes inside values are written as escapes, so a raw tab always ends a cell.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    chunk: &'a Bytes,
    /// Where the next cell starts; `None` after the last.
    start: Option<usize>,
    end: usize,
    /// The tabs, newlines and backslashes from `base` on.
    stops: memchr::Memchr3<'a>,
    base: usize,
    unescaped: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(chunk: &'a Bytes, line: Range<usize>, columns: usize, unescaped: &'a mut Vec<u8>) -> Line<'a> {
        // A table without columns has empty lines, and no cell in them.
        let start = (columns > 0 || !line.is_empty()).then_some(line.start);
        let stops = memchr::memchr3_iter(b'\t', b'\n', b'\\', &chunk[line.clone()]);
        Line { chunk, start, end: line.end, stops, base: line.start, unescaped }
    }

    /// The next cell, `None` inside where it is null.
    #[inline]
    pub(crate) fn next_cell(&mut self) -> Option<Result<Option<Cell<'_>>, Fault>> {
        let start = self.start?;
        let Some(stop) = self.stops.next() else {
            self.start = None;
            return Some(Ok(Some(Cell::Chunk { chunk: self.chunk, start, end: self.end })));
        };
        let stop = self.base + stop;
        match self.chunk[stop] {
            b'\t' => {
                self.start = Some(stop + 1);
                Some(Ok(Some(Cell::Chunk { chunk: self.chunk, start, end: stop })))
            }
            b'\\' => Some(self.escaped(start, stop)),
            _ => Some(Err(Fault::Malformed)),
        }
    }

    /// The cell that starts at `start` and has its first backslash at `stop`: null, or rewritten without escapes.
    fn escaped(&mut self, start: usize, mut stop: usize) -> Result<Option<Cell<'_>>, Fault> {
        self.unescaped.clear();
        let mut from = start;
        let mut null = false;
        let end = loop {
            match self.chunk[stop] {
                b'\t' => break stop,
                b'\\' if stop >= from => {
                    self.unescaped.extend_from_slice(&self.chunk[from..stop]);
                    let code = self.chunk[..self.end].get(stop + 1).ok_or(Fault::Malformed)?;
                    null |= *code == b'N';
                    self.unescaped.push(unescape(*code)?);
                    from = stop + 2;
                }
                // The second one of a pair.
                b'\\' => {}
                _ => return Err(Fault::Malformed),
            }
            match self.stops.next() {
                Some(next) => stop = self.base + next,
                None => break self.end,
            }
        };
        self.start = (end < self.end).then_some(end + 1);
        if null {
            return if end - start == 2 { Ok(None) } else { Err(Fault::Malformed) };
        }
        self.unescaped.extend_from_slice(&self.chunk[from..end]);
        Ok(Some(Cell::Loose(self.unescaped)))
    }
}

/// What the letter after a backslash stands for, among those that COPY TO writes.
fn unescape(code: u8) -> Result<u8, Fault> {
    Ok(match code {
        b'\\' => b'\\',
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'v' => 11,
        // `\N`, which is no escape: the caller looks whether it is the whole cell.
        b'N' => b'N',
        _ => return Err(Fault::Malformed),
    })
}
