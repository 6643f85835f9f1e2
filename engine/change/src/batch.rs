use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::BooleanBuffer;

use crate::{LeftOut, Lsn, LsnSpan, Relation, TableId};

/// What a change did to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing: the row was there before, and a backfill read it.
    Read,
    Insert,
    Update,
    Delete,
}

/// What the WAL tells of a changed row as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldImage {
    /// Nothing: an insert, or an update whose identity did not change.
    None,
    /// The replica identity's columns; all others are null.
    Key,
    /// Every column (REPLICA IDENTITY FULL).
    Full,
}

/// Stands in [`Change::row`] and [`Change::old`] where there is no row.
pub const NO_ROW: u32 = u32::MAX;

/// One change of one row: what it did, and where its images are in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub op: Op,
    pub old_image: OldImage,
    /// The part of its transaction that the change is in; see [`crate::BUCKET_ROWS`].
    pub bucket: u16,
    /// Its transaction: an index into [`ChangeBatch::commits`].
    pub commit: u32,
    /// Its place among all row messages of its transaction, from 0, whatever their table.
    pub ordinal: u32,
    /// Its new image: a row of [`ChangeBatch::rows`], or [`NO_ROW`] for a delete.
    pub row: u32,
    /// Its old image: a row of [`ChangeBatch::old`], or [`NO_ROW`].
    pub old: u32,
}

/// A transaction as its begin message describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The LSN of the commit record: what versions are made of.
    pub lsn: Lsn,
    pub xid: u32,
    /// Microseconds since 1970-01-01 UTC.
    pub time_us: i64,
}

/// Changes of one table in WAL order, their images as Arrow columns.
///
/// Invariants: `rows` and `old` have the relation's schema; each row of either belongs to exactly one change, and the
/// changes name them in ascending order; commits ascend.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    pub relation: Arc<Relation>,
    pub commits: Vec<Commit>,
    pub changes: Vec<Change>,
    /// The new images of inserts and updates, in order: what the stages see.
    pub rows: RecordBatch,
    /// The old images of deletes and of updates that carry one, in order.
    pub old: RecordBatch,
    /// For each column, the cells of `rows` that the WAL left out because a large value did not change; such a cell
    /// is null in `rows` until it has been filled. `None` where the batch has no such cell in that column.
    pub unchanged: Vec<Option<BooleanBuffer>>,
    /// The cells of `rows` whose value could not be read, in the order of their rows: such a cell is null, and its row
    /// becomes no document.
    pub unreadable: Vec<Unreadable>,
    /// Columns of `rows` and `old` that hold no values, since nobody reads them: nothing is `unchanged` or unreadable there.
    pub left_out: LeftOut,
    /// The size of the row messages, as they came.
    pub bytes: usize,
}

/// A value of a new image that its type cannot hold, such as a time past the year 294247. Old images keep none: at a
/// place that cannot be read no document ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// A row of [`ChangeBatch::rows`].
    pub row: u32,
    pub column: u32,
    /// What a program may go by.
    pub code: &'static str,
    /// What is wrong, without the value.
    pub message: String,
    /// The value as it came.
    pub raw: Box<[u8]>,
}

impl ChangeBatch {
    /// Changes of which all values came and could be read.
    pub fn new(
        relation: Arc<Relation>,
        commits: Vec<Commit>,
        changes: Vec<Change>,
        rows: RecordBatch,
        old: RecordBatch,
    ) -> ChangeBatch {
        let unchanged = vec![None; relation.columns.len()];
        let (unreadable, left_out) = (Vec::new(), LeftOut::default());
        ChangeBatch { relation, commits, changes, rows, old, unchanged, unreadable, left_out, bytes: 0 }
    }

    /// Rows that one commit put in.
    pub fn inserts(relation: Arc<Relation>, commit: Commit, rows: RecordBatch) -> ChangeBatch {
        let (op, old_image, old) = (Op::Insert, OldImage::None, NO_ROW);
        let insert = |row| Change { op, old_image, bucket: 0, commit: 0, ordinal: row, row, old };
        let changes = (0..rows.num_rows() as u32).map(insert).collect();
        let old = RecordBatch::new_empty(Arc::clone(relation.arrow()));
        ChangeBatch::new(relation, vec![commit], changes, rows, old)
    }

    pub fn commit_of(&self, change: &Change) -> &Commit {
        &self.commits[change.commit as usize]
    }

    /// Whether a cell waits to be filled.
    pub fn has_unchanged(&self) -> bool {
        self.unchanged.iter().any(Option::is_some)
    }

    /// The same changes for a reader of fewer columns, whom nothing concerns that is amiss in the others.
    #[must_use]
    pub fn without(&self, left_out: &LeftOut) -> ChangeBatch {
        let mut batch = self.clone();
        batch.unreadable.retain(|cell| !left_out.has(cell.column as usize));
        let unchanged = batch.unchanged.iter_mut().enumerate();
        unchanged.filter(|(column, _)| left_out.has(*column)).for_each(|(_, cells)| *cells = None);
        batch.left_out = left_out.clone();
        batch
    }
}

/// Tables emptied by one TRUNCATE, at its place in the WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncate {
    pub tables: Vec<TableId>,
    pub commit: Commit,
    pub bucket: u16,
}

/// What is taken out of the stream in one piece: whole buckets in WAL order, across tables.
///
/// A cut ends between two commits, or, inside a transaction that is too large for one, between two of its buckets:
/// so all changes of a document that share a version are in one cut. Where `truncate` is set it comes after the
/// batches, and nothing follows it in this cut.
#[derive(Clone, Debug)]
pub struct Cut {
    pub batches: Vec<ChangeBatch>,
    pub truncate: Option<Truncate>,
    /// Where the span that this cut belongs to began, exclusive.
    pub from: Lsn,
    /// The end of the last whole commit, where the cut ends between two commits: the span's end. `None` inside a
    /// transaction; a later cut then closes the span.
    pub to: Option<Lsn>,
}

impl Cut {
    /// The span that this cut completes.
    pub fn span(&self) -> Option<LsnSpan> {
        self.to.and_then(|to| LsnSpan::new(self.from, to).ok())
    }

    pub fn change_count(&self) -> usize {
        self.batches.iter().map(|batch| batch.changes.len()).sum()
    }
}
