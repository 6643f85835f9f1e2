//! One batch of a cut, with everything about it that is decided once: its columns as writers, its places' rules, what
//! became of each row.

use std::sync::Arc;

use arrow_array::Array;
use tidemill_change::{Change, Former, NO_ROW, Named, Names, ReplicaIdentity, Staged, Unreadable};

use crate::Error;
use crate::column::{Column, Rules};
use crate::conflicts;
use crate::document::{Shape, UnfitRow, columns, unfit_rows};
use crate::place::{Images, Places};

#[derive(Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) staged: &'a Staged,
    pub(crate) places: Arc<Places>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) columns: Vec<Column<'a>>,
    pub(crate) images: Images<'a>,
    /// Two rows of the table may be at one place within a transaction, and its old images tell them apart.
    pub(crate) shares_places: bool,
    /// Names that stages gave.
    pub(crate) named: Option<&'a Named>,
    /// Rows whose name a row of another key has too, ascending.
    pub(crate) conflicts: Vec<u32>,
    unfit: Vec<UnfitRow>,
    /// Rejects as (row, place in `staged.rejects`), ascending.
    rejects: Vec<(u32, u32)>,
    /// The next document, unreadable cell, reject and unfit document; changes name rows in ascending order.
    at: Cursor,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    document: usize,
    unreadable: usize,
    reject: usize,
    unfit: usize,
}

/// What became of a new image.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// The stages made this document of it.
    Document(u32),
    /// The stages made several documents of it.
    Several(usize),
    Filtered,
    /// It has a value that could not be read: the first such cell among `source.unreadable`.
    Unreadable(usize),
    /// A reject of the batch.
    Rejected(usize),
    Unfit(UnfitRow),
}

impl<'a> Lane<'a> {
    pub(crate) fn new(
        staged: &'a Staged,
        places: Arc<Places>,
        shape: Arc<Shape>,
        rules: Rules,
    ) -> Result<Lane<'a>, Error> {
        check(staged, &places)?;
        let columns = columns(&staged.documents)?;
        let unfit = unfit_rows(&columns, staged.documents.num_rows(), rules);
        let images = places.images(&staged.source.rows, &staged.source.old)?;
        let mut rejects: Vec<_> = staged.rejects.iter().zip(0..).map(|(reject, at)| (reject.row, at)).collect();
        rejects.sort_unstable();
        let shares_places = places.are_shared && places.relation.replica_identity == ReplicaIdentity::Full;
        let named = staged.named.as_deref();
        let conflicts = named.map(|named| conflicts::conflicts(named, staged, &places, &images)).unwrap_or_default();
        Ok(Lane {
            staged,
            places,
            shape,
            columns,
            images,
            shares_places,
            named,
            conflicts,
            unfit,
            rejects,
            at: Cursor::default(),
        })
    }

    pub(crate) fn change(&self, at: u32) -> &'a Change {
        &self.staged.source.changes[at as usize]
    }

    /// What became of a row; rows are asked for in ascending order.
    pub(crate) fn outcome(&mut self, row: u32) -> Outcome {
        let of = &self.staged.of;
        // A batch that lost nothing: the next document is the row's.
        let next = self.at.document;
        if of.get(next) == Some(&row)
            && of.get(next + 1) != Some(&row)
            && self.rejects.is_empty()
            && self.unfit.is_empty()
            && self.staged.source.unreadable.is_empty()
        {
            self.at.document += 1;
            return Outcome::Document(next as u32);
        }
        while of.get(self.at.document).is_some_and(|&of| of < row) {
            self.at.document += 1;
        }
        let unreadable = &self.staged.source.unreadable;
        while unreadable.get(self.at.unreadable).is_some_and(|cell| cell.row < row) {
            self.at.unreadable += 1;
        }
        if unreadable.get(self.at.unreadable).is_some_and(|cell| cell.row == row) {
            return Outcome::Unreadable(self.at.unreadable);
        }
        while self.rejects.get(self.at.reject).is_some_and(|&(of, _)| of < row) {
            self.at.reject += 1;
        }
        if let Some(&(of, reject)) = self.rejects.get(self.at.reject)
            && of == row
        {
            return Outcome::Rejected(reject as usize);
        }
        let document = self.at.document;
        match of[document..].iter().take_while(|&&of| of == row).count() {
            0 => Outcome::Filtered,
            1 => self.unfit(document as u32).map_or(Outcome::Document(document as u32), Outcome::Unfit),
            count => {
                let unfit = (document..document + count).find_map(|document| self.unfit(document as u32));
                unfit.map_or(Outcome::Several(count), Outcome::Unfit)
            }
        }
    }

    /// The documents that the stages made of a row.
    pub(crate) fn documents(&self, row: u32) -> std::ops::Range<u32> {
        let of = &self.staged.of;
        let from = of.partition_point(|of| *of < row);
        let count = of[from..].iter().take_while(|of| **of == row).count();
        from as u32..(from + count) as u32
    }

    /// The cells of an unreadable row, from its first on.
    pub(crate) fn unreadable(&self, first: usize) -> impl Iterator<Item = &'a Unreadable> {
        let cells = &self.staged.source.unreadable[first..];
        let row = cells.first().map(|cell| cell.row);
        cells.iter().take_while(move |cell| Some(cell.row) == row)
    }

    fn unfit(&mut self, document: u32) -> Option<UnfitRow> {
        while self.unfit.get(self.at.unfit).is_some_and(|unfit| unfit.document < document) {
            self.at.unfit += 1;
        }
        self.unfit.get(self.at.unfit).filter(|unfit| unfit.document == document).copied()
    }
}

/// Whether a batch is what it says; what is wrong here is a fault of an earlier step, told before it can do harm.
fn check(staged: &Staged, places: &Places) -> Result<(), Error> {
    let source = &staged.source;
    let relation = &source.relation;
    let (rows, old) = (source.rows.num_rows() as u32, source.old.num_rows() as u32);
    let wrong = |what: &str| Err(Error::batch(format!("a batch of {relation} is not sound: {what}")));
    if staged.of.len() != staged.documents.num_rows() {
        return wrong("it has not one row for each document");
    }
    if !staged.of.is_sorted() || staged.of.last().is_some_and(|&row| row >= rows) {
        return wrong("its documents do not come from its rows in order");
    }
    let within = |at: u32, end: u32| at == NO_ROW || at < end;
    let commits = source.commits.len() as u32;
    let columns = relation.columns.len() as u32;
    if !source.unreadable.iter().all(|cell| cell.row < rows && cell.column < columns)
        || !source.unreadable.is_sorted_by_key(|cell| cell.row)
    {
        return wrong("its unreadable cells are not its rows' in order");
    }
    if !source.changes.iter().all(|c| within(c.row, rows) && within(c.old, old) && c.commit < commits) {
        return wrong("a change names a row or a commit that it does not have");
    }
    if !staged.named.as_deref().is_none_or(|named| are_sound(named, staged)) {
        return wrong("its names are not those of its documents and changes");
    }
    if let Some(column) = places.used.iter().find(|column| source.left_out.has(**column)) {
        return Err(Error::left_out(relation, *column, "the document's place"));
    }
    check_filled(staged, places)
}

fn are_sound(named: &Named, staged: &Staged) -> bool {
    let changes = staged.source.changes.len() as u32;
    let is_of = |names: &Names, rows: usize| {
        [&names.index, &names.id, &names.routing].into_iter().flatten().all(|column| column.len() == rows)
    };
    let is_former = |former: &Former| {
        is_of(&former.names, former.of.len())
            && former.of.is_sorted()
            && former.of.last().is_none_or(|change| *change < changes)
    };
    is_of(&named.documents, staged.documents.num_rows())
        && is_former(&named.were)
        && is_former(&named.refused)
        && named.untold.is_sorted_by_key(|reject| reject.row)
}

/// Refuses a document that would lose a large value which the WAL left out.
fn check_filled(staged: &Staged, places: &Places) -> Result<(), Error> {
    let source = &staged.source;
    for (at, unchanged) in source.unchanged.iter().enumerate() {
        let Some(unchanged) = unchanged else { continue };
        let column = source.rows.column(at);
        let name = &source.relation.columns[at].name;
        let needed = places.used.contains(&at) || staged.documents.schema_ref().column_with_name(name).is_some();
        if needed && unchanged.set_indices().any(|row| column.is_null(row)) {
            return Err(Error::unfilled(format!(
                "column `{name}` of {} has a value that the WAL left out and that was not filled in",
                source.relation
            )));
        }
    }
    Ok(())
}
