//! A batch between its stages: columns as they lie, and beside them which of their rows still count.
//!
//! A filter changes no column, so nothing is copied when it answers: its selection is laid over those before it. Columns of
//! one origin (the source, or one stage that made some) share one selection. At the end each column that a document
//! shows is taken through its selection once; where all rows stayed it is handed on as it is. A column that was left out of the
//! batch is looked for wherever values are read: a mistake about who needs what is an error, and never a null.

use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_select::take::take;
use tidemill_change::{ChangeBatch, Reject};

use crate::error::{Error, Kind};
use crate::known::{Known, KnownColumns};
use crate::picked::Picked;
use crate::plan::{From, Given, Plan};
use crate::push::RowsOf;

/// The source's place among the origins.
const SOURCE: usize = 0;

#[derive(Clone, Debug)]
struct FrameColumn {
    array: ArrayRef,
    origin: usize,
    /// The column of the table that it is, where that was left out: it may be handed on and not read.
    left_out: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Frame {
    source: Arc<ChangeBatch>,
    /// For each origin the rows that still count, in their present order; `None`: all, as they lie.
    selections: Vec<Option<Vec<u32>>>,
    columns: Vec<FrameColumn>,
    rows: usize,
    known: KnownColumns,
    pub(crate) rejects: Vec<Reject>,
}

/// What came of a frame.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) columns: Vec<ArrayRef>,
    /// For each row that came out, the row of the source.
    pub(crate) of: Vec<u32>,
    /// By the rows of the source, in order.
    pub(crate) rejects: Vec<Reject>,
}

/// The rows that stages may see, where some cannot be read: a null in place of their value would be an untruth.
fn readable(source: &ChangeBatch) -> Option<Vec<u32>> {
    if source.unreadable.is_empty() {
        return None;
    }
    let mut unreadable = source.unreadable.iter().map(|cell| cell.row).peekable();
    let rows = (0..source.rows.num_rows() as u32).filter(|row| {
        let mut is_readable = true;
        while unreadable.next_if_eq(row).is_some() {
            is_readable = false;
        }
        is_readable
    });
    Some(rows.collect())
}

impl Frame {
    /// A frame of the batch's new images; `removes`: they are only there to be named, since they are there no more.
    pub(crate) fn new(source: Arc<ChangeBatch>, removes: bool) -> Frame {
        let columns = source.rows.columns().iter();
        let columns = columns.enumerate().map(|(place, array)| FrameColumn {
            array: Arc::clone(array),
            origin: SOURCE,
            left_out: source.left_out.has(place).then_some(place),
        });
        let columns = columns.collect();
        let selection = readable(&source);
        let rows = selection.as_ref().map_or(source.rows.num_rows(), Vec::len);
        let known = KnownColumns::new(removes);
        Frame { source, selections: vec![selection], columns, rows, known, rejects: Vec::new() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether its rows are only there to be named.
    pub(crate) fn removes(&self) -> bool {
        self.known.removes
    }

    /// A column, and which of its rows are the frame's rows from `from` on.
    pub(crate) fn column(&self, given: Given, from: usize, len: usize) -> (&ArrayRef, RowsOf<'_>) {
        let (array, origin) = match given {
            Given::Input(place) => (&self.columns[place].array, self.columns[place].origin),
            Given::Known(known) => (self.known.get(known), SOURCE),
        };
        let rows = match &self.selections[origin] {
            Some(selection) => RowsOf::Picked(&selection[from..from + len]),
            None => RowsOf::Range(from..from + len),
        };
        (array, rows)
    }

    /// Refuses what a stage would read though it was left out.
    pub(crate) fn require(&self, stage: &str, requires: &[Given]) -> Result<(), Error> {
        match requires.iter().find_map(|given| self.left_out(*given)) {
            Some(column) => Err(self.is_left_out(stage, column)),
            None => Ok(()),
        }
    }

    fn left_out(&self, given: Given) -> Option<usize> {
        match given {
            Given::Input(place) => self.columns[place].left_out,
            Given::Known(Known::Old(column)) => self.source.left_out.has(column).then_some(column),
            Given::Known(Known::Fact(_)) => None,
        }
    }

    fn is_left_out(&self, stage: &str, column: usize) -> Error {
        let relation = &self.source.relation;
        let message = format!(
            "column `{}` of table `{relation}`, which no stage asked for and no document showed when the stream began, so that it was \
             left out: start the engine again; does a plugin give another plan each time?",
            relation.columns[column].name
        );
        Error::new(Kind::LeftOut, stage, message)
    }

    /// Makes a column of what is known of the changes, so that it can be asked for.
    pub(crate) fn make(&mut self, known: Known) {
        self.known.make(known, &self.source);
    }

    /// The row of the source that a row of the frame was made from.
    pub(crate) fn source_row(&self, row: usize) -> u32 {
        self.selections[SOURCE].as_ref().map_or(row as u32, |selection| selection[row])
    }

    /// Lays a stage's answer over the frame. The made columns have a row for each that is picked.
    pub(crate) fn apply(&mut self, plan: &Plan, picked: Picked, made: Vec<ArrayRef>) {
        let rows = picked.len(self.rows);
        if let Some(picked) = picked.into_rows() {
            for (origin, selection) in self.selections.iter_mut().enumerate() {
                if origin == SOURCE || self.columns.iter().any(|column| column.origin == origin) {
                    *selection = Some(match selection {
                        Some(old) => picked.iter().map(|row| old[*row as usize]).collect(),
                        None => picked.clone(),
                    });
                }
            }
        }
        self.rows = rows;
        let Some(outputs) = &plan.outputs else { return };
        let origin = self.selections.len();
        self.selections.push(None);
        let column = |from: &From| match from {
            From::Given(Given::Input(place)) => self.columns[*place].clone(),
            From::Given(given @ Given::Known(known)) => FrameColumn {
                array: Arc::clone(self.known.get(*known)),
                origin: SOURCE,
                left_out: self.left_out(*given),
            },
            From::Answer(place) => FrameColumn { array: Arc::clone(&made[*place]), origin, left_out: None },
        };
        self.columns = outputs.iter().map(column).collect();
    }

    /// Takes every column through its selection.
    pub(crate) fn finish(mut self) -> Result<Finished, Error> {
        if let Some(column) = self.columns.iter().find_map(|column| column.left_out) {
            return Err(self.is_left_out("", column));
        }
        self.restore_order();
        let of = self.selections[SOURCE].clone().unwrap_or_else(|| (0..self.rows as u32).collect());
        let indices: Vec<Option<UInt32Array>> =
            self.selections.into_iter().map(|selection| selection.map(UInt32Array::from)).collect();
        let columns = self.columns.into_iter().map(|column| match &indices[column.origin] {
            Some(rows) => take(&column.array, rows, None).expect("selections hold rows that were checked to be there"),
            None => column.array,
        });
        Ok(Finished { columns: columns.collect(), of, rejects: self.rejects })
    }

    /// Documents stand in the order of their source rows; those of one row stay in the order that the stages gave them. A
    /// row that was rejected leaves none, also where another of its documents passed.
    fn restore_order(&mut self) {
        self.rejects.sort_by_key(|reject| reject.row);
        self.rejects.dedup_by_key(|reject| reject.row);
        let Some(of) = &self.selections[SOURCE] else { return };
        let is_strict = of.windows(2).all(|pair| pair[0] < pair[1]);
        if is_strict {
            return;
        }
        let is_rejected = |row: u32| self.rejects.binary_search_by_key(&row, |reject| reject.row).is_ok();
        let mut order: Vec<u32> = (0..self.rows as u32).filter(|at| !is_rejected(of[*at as usize])).collect();
        order.sort_by_key(|at| of[*at as usize]);
        self.rows = order.len();
        for selection in &mut self.selections {
            *selection = Some(match selection {
                // An origin that no column has any more was not kept up to date.
                Some(old) => order.iter().map(|at| old.get(*at as usize).copied().unwrap_or_default()).collect(),
                None => order.clone(),
            });
        }
    }
}
