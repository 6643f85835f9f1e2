use std::ops::Range;
use std::sync::Arc;

use tidemill_change::{Change, ChangeBatch, Commit, LeftOut, NO_ROW, OldImage, Op, Relation, Unreadable};

use crate::bits::Bits;
use crate::column::{Images, Shared};
use crate::error::{At, Fault, ValueFault};
use crate::line::Line;
use crate::pgoutput::Reader;
use crate::views::Cell;

/// Where in the WAL a row stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) commit: Commit,
    pub(crate) bucket: u16,
    pub(crate) ordinal: u32,
}

/// The pending changes of one table, all of one shape.
#[derive(Debug)]
pub(crate) struct Table {
    relation: Arc<Relation>,
    left_out: LeftOut,
    shared: Shared,
    rows: Images,
    old: Images,
    unchanged: Vec<Bits>,
    unreadable: Vec<Unreadable>,
    commits: Vec<Commit>,
    changes: Vec<Change>,
    bytes: usize,
    /// The cells of the update's old image that is being read: what did not change in the new one is taken from here.
    old_cells: Vec<Option<Range<usize>>>,
}

impl Table {
    pub(crate) fn new(relation: Arc<Relation>, left_out: LeftOut) -> Table {
        let mut shared = Shared::default();
        let rows = Images::new(&relation, &left_out, &mut shared.views);
        let old = Images::new(&relation, &left_out, &mut shared.views);
        let unchanged = relation.columns.iter().map(|_| Bits::default()).collect();
        let (commits, changes, old_cells) = (Vec::new(), Vec::new(), Vec::new());
        let unreadable = Vec::new();
        Table { relation, left_out, shared, rows, old, unchanged, unreadable, commits, changes, bytes: 0, old_cells }
    }

    /// The same table with nothing pending.
    pub(crate) fn anew(&self) -> Table {
        Table::new(Arc::clone(&self.relation), self.left_out.clone())
    }

    pub(crate) fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }

    pub(crate) fn change_count(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads the rest of an insert message.
    pub(crate) fn insert(&mut self, place: Place, reader: &mut Reader<'_>) -> Result<(), At> {
        expect_tag(reader, b'N')?;
        self.old_cells.clear();
        let row = self.new_image(reader)?;
        self.change(place, Op::Insert, OldImage::None, row, NO_ROW);
        Ok(())
    }

    /// Reads the rest of an update message.
    pub(crate) fn update(&mut self, place: Place, reader: &mut Reader<'_>) -> Result<(), At> {
        self.old_cells.clear();
        let (old_image, old) = match reader.u8()? {
            b'N' => (OldImage::None, NO_ROW),
            tag => {
                let old = self.old_image(tag, reader)?;
                expect_tag(reader, b'N')?;
                old
            }
        };
        let row = self.new_image(reader)?;
        self.change(place, Op::Update, old_image, row, old);
        Ok(())
    }

    /// Reads the rest of a delete message.
    pub(crate) fn delete(&mut self, place: Place, reader: &mut Reader<'_>) -> Result<(), At> {
        let tag = reader.u8()?;
        let (old_image, old) = self.old_image(tag, reader)?;
        reader.end()?;
        self.change(place, Op::Delete, old_image, NO_ROW, old);
        Ok(())
    }

    /// Reads one line of COPY text, its end cut off, as an insert. It has a cell for each of these columns, which are those
    /// that are not left out.
    pub(crate) fn copy(&mut self, place: Place, line: &mut Line<'_>, columns: &[usize]) -> Result<(), At> {
        let row = self.rows.rows;
        let expected = columns.len();
        let mut found = 0;
        while let Some(cell) = line.next_cell() {
            let index = *columns.get(found).ok_or(Fault::ColumnCount { expected, found: found + 1 })?;
            let at = |fault| At { column: Some(index), fault };
            let column = &mut self.rows.columns[index];
            match cell.map_err(at)? {
                Some(cell) => {
                    if let Err(fault) = column.push(row, cell, &mut self.shared) {
                        column.push_null(row, &mut self.shared);
                        self.unreadable.push(unreadable(&self.relation, row, index, cell, fault));
                    }
                }
                None => column.push_null(row, &mut self.shared),
            }
            found += 1;
        }
        if found != expected {
            return Err(Fault::ColumnCount { expected, found }.into());
        }
        self.rows.rows += 1;
        self.change(place, Op::Read, OldImage::None, row as u32, NO_ROW);
        Ok(())
    }

    fn new_image(&mut self, reader: &mut Reader<'_>) -> Result<u32, At> {
        let row = self.rows.rows;
        expect_columns(reader, self.rows.columns.len())?;
        for (index, column) in self.rows.columns.iter_mut().enumerate() {
            let at = |fault| At { column: Some(index), fault };
            let cell = match reader.u8().map_err(at)? {
                b't' => reader.cell().map_err(at)?,
                b'n' => {
                    column.push_null(row, &mut self.shared);
                    continue;
                }
                b'u' => match self.old_cells.get(index).cloned().flatten() {
                    Some(Range { start, end }) => Cell::Chunk { chunk: reader.chunk(), start, end },
                    None => {
                        column.push_null(row, &mut self.shared);
                        if !column.is_left_out() {
                            self.unchanged[index].set(row);
                        }
                        continue;
                    }
                },
                other => return Err(at(bad_cell(other))),
            };
            if let Err(fault) = column.push(row, cell, &mut self.shared) {
                column.push_null(row, &mut self.shared);
                self.unreadable.push(unreadable(&self.relation, row, index, cell, fault));
            }
        }
        reader.end()?;
        self.rows.rows += 1;
        Ok(row as u32)
    }

    fn old_image(&mut self, tag: u8, reader: &mut Reader<'_>) -> Result<(OldImage, u32), At> {
        let image = match tag {
            b'K' => OldImage::Key,
            b'O' => OldImage::Full,
            other => return Err(Fault::Tag(other).into()),
        };
        let row = self.old.rows;
        self.old_cells.clear();
        expect_columns(reader, self.old.columns.len())?;
        for (index, column) in self.old.columns.iter_mut().enumerate() {
            let at = |fault| At { column: Some(index), fault };
            let cell = match reader.u8().map_err(at)? {
                b't' => Some(reader.cell().map_err(at)?),
                // Postgres writes old images whole; servers before 14.2 left large key parts out.
                b'n' | b'u' => None,
                other => return Err(at(bad_cell(other))),
            };
            match cell {
                Some(cell) => {
                    // Where a place is made of it, no document can be there: as with a null.
                    if column.push(row, cell, &mut self.shared).is_err() {
                        column.push_null(row, &mut self.shared);
                    }
                }
                None => column.push_null(row, &mut self.shared),
            }
            self.old_cells.push(match cell {
                Some(Cell::Chunk { start, end, .. }) => Some(start..end),
                _ => None,
            });
        }
        self.old.rows += 1;
        Ok((image, row as u32))
    }

    fn change(&mut self, place: Place, op: Op, old_image: OldImage, row: u32, old: u32) {
        if self.commits.last() != Some(&place.commit) {
            self.commits.push(place.commit);
        }
        let Place { bucket, ordinal, .. } = place;
        let commit = self.commits.len() as u32 - 1;
        self.changes.push(Change { op, old_image, bucket, commit, ordinal, row, old });
    }

    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Takes what is pending; the table goes on empty.
    pub(crate) fn take(&mut self) -> ChangeBatch {
        let mut views = self.shared.views.finish();
        let row_count = self.rows.rows;
        let unchanged = self.unchanged.iter_mut().map(|bits| (!bits.is_empty()).then(|| bits.take(row_count)));
        let unchanged = unchanged.collect();
        let room = Vec::with_capacity(self.changes.len());
        ChangeBatch {
            relation: self.relation.clone(),
            commits: std::mem::take(&mut self.commits),
            changes: std::mem::replace(&mut self.changes, room),
            rows: self.rows.take(&self.relation, &mut views),
            old: self.old.take(&self.relation, &mut views),
            unchanged,
            unreadable: std::mem::take(&mut self.unreadable),
            left_out: self.left_out.clone(),
            bytes: std::mem::take(&mut self.bytes),
        }
    }
}

/// A value that is at fault ends its row, and nothing else: the message around it is sound.
#[cold]
fn unreadable(relation: &Relation, row: usize, column: usize, cell: Cell<'_>, fault: Fault) -> Unreadable {
    Unreadable {
        row: row as u32,
        column: column as u32,
        code: fault.code(),
        message: ValueFault { fault, kind: relation.columns[column].kind }.to_string(),
        raw: cell.bytes().into(),
    }
}

fn expect_tag(reader: &mut Reader<'_>, tag: u8) -> Result<(), Fault> {
    match reader.u8()? {
        found if found == tag => Ok(()),
        found => Err(Fault::Tag(found)),
    }
}

fn expect_columns(reader: &mut Reader<'_>, expected: usize) -> Result<(), Fault> {
    let found = usize::from(reader.u16()?);
    if found == expected { Ok(()) } else { Err(Fault::ColumnCount { expected, found }) }
}

#[cold]
fn bad_cell(tag: u8) -> Fault {
    if tag == b'b' { Fault::Binary } else { Fault::Tag(tag) }
}
