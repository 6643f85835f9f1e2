use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tidemill_change::{ChangeBatch, Commit, LeftOut, Relation};

use crate::error::{At, COPY_LINE, Error, Fault, Kind};
use crate::table::{Place, Table};
use crate::views::{Cell, VIEW_BYTES_MAX};

/// Decodes the lines of `COPY … TO STDOUT` in text format: the rows that were there before the stream.
///
/// Every row becomes an insert of one commit, the point at which the rows were read.
#[derive(Debug)]
pub struct CopyDecoder {
    table: Table,
    /// The columns of the COPY, in its order.
    columns: Vec<usize>,
    commit: Commit,
    row_count: u32,
    unescaped: Vec<u8>,
    line_count: u64,
    failed: Option<Error>,
}

impl CopyDecoder {
    /// The relation's columns are those of the COPY, in its order.
    pub fn new(relation: Arc<Relation>, commit: Commit) -> CopyDecoder {
        CopyDecoder::without(relation, LeftOut::default(), commit)
    }

    /// The COPY has the relation's columns in its order, but for those that are left out.
    pub fn without(relation: Arc<Relation>, left_out: LeftOut, commit: Commit) -> CopyDecoder {
        CopyDecoder {
            columns: left_out.kept(relation.columns.len()),
            table: Table::new(relation, left_out),
            commit,
            row_count: 0,
            unescaped: Vec::new(),
            line_count: 0,
            failed: None,
        }
    }

    /// Takes one CopyData body, a line with its newline, at `line` of the buffer that was read from the socket.
    pub fn row(&mut self, chunk: &Bytes, line: Range<usize>) -> Result<(), Error> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.line_count += 1;
        let done = self.read(chunk, line);
        done.map_err(|error| self.failed.insert(error.in_line(self.line_count)).clone())
    }

    fn read(&mut self, chunk: &Bytes, line: Range<usize>) -> Result<(), Error> {
        let text = chunk.get(line.clone()).filter(|_| chunk.len() <= VIEW_BYTES_MAX);
        let text = text.ok_or_else(|| Error::new(Kind::Payload))?;
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if text == b"\\." {
            return Ok(());
        }
        let place = Place { commit: self.commit, bucket: 0, ordinal: self.row_count };
        self.row_count = self.row_count.saturating_add(1);
        let count = self.columns.len();
        let mut cells = Line::new(chunk, line.start..line.start + text.len(), count, &mut self.unescaped);
        let done = self.table.copy(place, &mut cells, &self.columns);
        self.table.add_bytes(line.len());
        done.map_err(|at: At| Error::row(COPY_LINE, at, self.table.relation()))
    }

    pub fn relation(&self) -> &Arc<Relation> {
        self.table.relation()
    }

    pub fn pending_rows(&self) -> usize {
        self.table.change_count()
    }

    pub fn pending_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Takes the pending rows as inserts of bucket 0. Their ordinals go on where the last ones ended: where a row stood may
    /// be all that tells it from another.
    ///
    /// # Panics
    ///
    /// After an error, since a row is then half there.
    pub fn take(&mut self) -> ChangeBatch {
        assert!(self.failed.is_none(), "nothing can be taken after an error");
        self.table.take()
    }
}

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
    fn new(chunk: &'a Bytes, line: Range<usize>, columns: usize, unescaped: &'a mut Vec<u8>) -> Line<'a> {
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
