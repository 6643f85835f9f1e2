//! What an update or a delete has to remove, where stages name documents: these are asked for the names of the rows as they
//! were, as if the rows came once more.
//!
//! Filters are not asked: what they dropped has no document, and deleting it once more does no harm.
//!
//! Stages that say that their names are made of the key alone are held to it: of each batch some rows that became documents are
//! asked for once more, as their keys alone. Where that gives other names, documents would be left behind, so the stream pauses.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_select::interleave::interleave;
use tidemill_change::{Change, ChangeBatch, NO_ROW, OldImage, Op};

use crate::frame::Finished;
use crate::shape::Naming;

/// Rows whose names are asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) batch: Arc<ChangeBatch>,
    /// For each of its rows the change in the batch that it was made from.
    pub(crate) of: Vec<u32>,
    /// The first so many are rows as they were.
    pub(crate) were: usize,
    /// Those up to here are new rows that were refused; the others are the keys of rows that became documents.
    pub(crate) refused: usize,
}

/// So many rows of a batch are asked for as their keys alone.
const WITNESSES: usize = 16;

/// Where a row that is asked for lies.
#[derive(Clone, Copy, Debug)]
enum Image {
    Old(u32),
    New(u32),
    /// The columns of the key alone; all others are null.
    NewKey(u32),
}

/// What has to be asked about a batch that passed the stages; `None` where there is nothing.
pub(crate) fn ask(source: &ChangeBatch, finished: &Finished, naming: &Naming) -> Option<Asked> {
    let (mut images, mut of) = (Vec::new(), Vec::new());
    for (at, change) in (0..).zip(&source.changes) {
        if let Some(image) = was(source, change, finished, naming) {
            images.push(image);
            of.push(at);
        }
    }
    let were = images.len();
    for (at, change) in (0..).zip(&source.changes) {
        if let Some(image) = was_refused(source, change, finished, naming) {
            images.push(image);
            of.push(at);
        }
    }
    let refused = images.len();
    let witnesses = if naming.of_row { Vec::new() } else { witnesses(&finished.of) };
    for (at, change) in (0..).zip(&source.changes) {
        if witnesses.binary_search(&change.row).is_ok() && is_readable(source, change.row, |_| true) {
            images.push(Image::NewKey(change.row));
            of.push(at);
        }
    }
    if images.is_empty() {
        return None;
    }
    Some(Asked { batch: Arc::new(batch(source, &images, &of)), of, were, refused })
}

/// Some of the rows that became documents, from all over the batch, ascending.
fn witnesses(of: &[u32]) -> Vec<u32> {
    let step = of.len().div_ceil(WITNESSES).max(1);
    let mut rows: Vec<u32> = of.iter().copied().step_by(step).collect();
    rows.dedup();
    rows
}

/// The row as it was before a change, as far as it is told.
fn was(source: &ChangeBatch, change: &Change, finished: &Finished, naming: &Naming) -> Option<Image> {
    if matches!(change.op, Op::Read | Op::Insert) {
        return None;
    }
    if change.old != NO_ROW && (change.old_image == OldImage::Full || !naming.of_row) {
        return Some(Image::Old(change.old));
    }
    let row = Some(change.row).filter(|row| *row != NO_ROW)?;
    if naming.of_row {
        return is_readable(source, row, |_| true).then_some(Image::New(row));
    }
    // The key did not change, and with it the names; a row that became its documents has put others in their place.
    let became = finished.of.binary_search(&row).is_ok();
    if became && !naming.many {
        return None;
    }
    key_is_readable(source, row).then_some(Image::NewKey(row))
}

/// A new row that stages refused, or were not given.
fn was_refused(source: &ChangeBatch, change: &Change, finished: &Finished, naming: &Naming) -> Option<Image> {
    let row = Some(change.row).filter(|row| *row != NO_ROW)?;
    let is_refused = finished.rejects.binary_search_by_key(&row, |reject| reject.row).is_ok();
    if !is_refused && is_readable(source, row, |_| true) {
        return None;
    }
    match naming.of_row {
        true => is_readable(source, row, |_| true).then_some(Image::New(row)),
        false => key_is_readable(source, row).then_some(Image::NewKey(row)),
    }
}

fn key_is_readable(source: &ChangeBatch, row: u32) -> bool {
    is_readable(source, row, |column| source.relation.columns[column].identity)
}

/// Whether all those columns of a row could be read that are meant.
fn is_readable(source: &ChangeBatch, row: u32, is_meant: impl Fn(usize) -> bool) -> bool {
    let first = source.unreadable.partition_point(|cell| cell.row < row);
    let cells = source.unreadable[first..].iter().take_while(|cell| cell.row == row);
    !cells.into_iter().any(|cell| is_meant(cell.column as usize))
}

/// The images as a batch of its own, whose changes are those that they were made from.
fn batch(source: &ChangeBatch, images: &[Image], of: &[u32]) -> ChangeBatch {
    let relation = &source.relation;
    let column = |place: usize| -> ArrayRef {
        let nothing = new_null_array(source.rows.column(place).data_type(), 1);
        let parts: [&dyn Array; 3] = [source.rows.column(place), source.old.column(place), &nothing];
        let is_key = relation.columns[place].identity;
        let cells: Vec<(usize, usize)> = images
            .iter()
            .map(|image| match image {
                Image::Old(row) => (1, *row as usize),
                Image::New(row) => (0, *row as usize),
                Image::NewKey(row) if is_key => (0, *row as usize),
                Image::NewKey(_) => (2, 0),
            })
            .collect();
        interleave(&parts, &cells).expect("images of one table have its types")
    };
    let columns = (0..relation.columns.len()).map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(images.len()));
    let rows = RecordBatch::try_new_with_options(Arc::clone(relation.arrow()), columns, &options)
        .expect("each column has the table's type and a row for each image");
    let changes = (0..).zip(of).map(|(row, at)| Change {
        row,
        old: NO_ROW,
        old_image: OldImage::None,
        ..source.changes[*at as usize]
    });
    let (commits, old) = (source.commits.clone(), RecordBatch::new_empty(Arc::clone(relation.arrow())));
    let left_out = source.left_out.clone();
    ChangeBatch { left_out, ..ChangeBatch::new(Arc::clone(relation), commits, changes.collect(), rows, old) }
}
