//! What is known of the change that brought each row, as columns beside the row's own: made only where a plan asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, TimestampMicrosecondArray, UInt32Array};
use arrow_select::take::take;
use tidemill_change::{ChangeBatch, NO_ROW, Op};

use crate::abi::Fact;

/// A column that is no part of the row itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    Fact(Fact),
    /// A column of the table, as it was before the change.
    Old(usize),
}

/// The known columns of one batch, a row for each of its new images.
#[derive(Debug)]
pub(crate) struct KnownColumns {
    /// Rows of which only names are wanted, since they are there no more.
    pub(crate) removes: bool,
    /// For each row its change; made with the first column.
    of: Option<Vec<u32>>,
    made: BTreeMap<Known, ArrayRef>,
}

impl KnownColumns {
    pub(crate) fn new(removes: bool) -> KnownColumns {
        KnownColumns { removes, of: None, made: BTreeMap::new() }
    }

    pub(crate) fn make(&mut self, known: Known, batch: &ChangeBatch) {
        if self.made.contains_key(&known) {
            return;
        }
        let of = self.of.get_or_insert_with(|| changes(batch));
        let column = match known {
            Known::Fact(fact) => self::fact(fact, batch, of, self.removes),
            Known::Old(column) => old(column, batch, of),
        };
        self.made.insert(known, column);
    }

    /// A column that was made.
    pub(crate) fn get(&self, known: Known) -> &ArrayRef {
        &self.made[&known]
    }
}

/// For each row the change that it came by.
fn changes(batch: &ChangeBatch) -> Vec<u32> {
    let mut of = vec![0; batch.rows.num_rows()];
    for (at, change) in (0..).zip(&batch.changes) {
        if change.row != NO_ROW {
            of[change.row as usize] = at;
        }
    }
    of
}

fn fact(fact: Fact, batch: &ChangeBatch, of: &[u32], removes: bool) -> ArrayRef {
    let changes = || of.iter().map(|at| &batch.changes[*at as usize]);
    match fact {
        Fact::Op => {
            let name = |op| match op {
                _ if removes => "remove",
                Op::Read => "read",
                Op::Insert => "insert",
                Op::Update => "update",
                Op::Delete => "remove",
            };
            let mut names = StringViewBuilder::with_capacity(of.len());
            changes().for_each(|change| names.append_value(name(change.op)));
            Arc::new(names.finish())
        }
        Fact::Lsn => {
            let commits: Vec<String> = batch.commits.iter().map(|commit| commit.lsn.to_string()).collect();
            let mut lsns = StringViewBuilder::with_capacity(of.len()).with_deduplicate_strings();
            changes().for_each(|change| lsns.append_value(&commits[change.commit as usize]));
            Arc::new(lsns.finish())
        }
        Fact::Time => {
            let time = |change: &tidemill_change::Change| {
                (change.op != Op::Read).then(|| batch.commits[change.commit as usize].time_us)
            };
            Arc::new(changes().map(time).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        Fact::Namespace => same(&batch.relation.schema, of.len()),
        Fact::Table => same(&batch.relation.name, of.len()),
    }
}

/// One text, as often as there are rows.
fn same(text: &str, rows: usize) -> ArrayRef {
    let mut texts = StringViewBuilder::with_capacity(rows).with_deduplicate_strings();
    (0..rows).for_each(|_| texts.append_value(text));
    Arc::new(texts.finish())
}

/// A column of the old images; null where a change brought none, and, of a key, where the column is not in it.
fn old(column: usize, batch: &ChangeBatch, of: &[u32]) -> ArrayRef {
    let rows = of.iter().map(|at| Some(batch.changes[*at as usize].old).filter(|old| *old != NO_ROW));
    let rows: UInt32Array = rows.collect();
    take(batch.old.column(column), &rows, None).expect("changes name rows of their batch")
}
