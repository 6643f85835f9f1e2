use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tidemill_change::{ChangeBatch, Commit, LeftOut, Relation};

use crate::error::{At, COPY_LINE, Error, Kind};
use crate::line::Line;
use crate::table::{Place, Table};
use crate::views::VIEW_BYTES_MAX;

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
