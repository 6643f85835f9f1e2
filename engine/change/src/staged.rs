use std::sync::Arc;

use arrow_array::{RecordBatch, StringViewArray};

use crate::ChangeBatch;

/// A batch after its stages: the documents that its rows became.
///
/// A row of `source.rows` that no document names was filtered out, unless a reject names it. Deletes do not pass the
/// stages: they are in `source.changes` as they came.
#[derive(Clone, Debug)]
pub struct Staged {
    pub source: Arc<ChangeBatch>,
    /// The documents, a row each; the columns are what the documents consist of.
    pub documents: RecordBatch,
    /// For each document the row of `source.rows` that it came from, ascending.
    pub of: Vec<u32>,
    pub rejects: Vec<Reject>,
    /// What stages named themselves.
    pub named: Option<Box<Named>>,
}

/// Names of documents, a row each; what is missing is the configuration's to name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub index: Option<StringViewArray>,
    pub id: Option<StringViewArray>,
    pub routing: Option<StringViewArray>,
}

/// Names of documents that rows may have had, each with the change that tells of its row.
#[derive(Clone, Debug, Default)]
pub struct Former {
    /// For each name a place in `source.changes`, ascending.
    pub of: Vec<u32>,
    pub names: Names,
}

/// What stages say of names: of the documents, and of those that have to go.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// A row for each of the documents.
    pub documents: Names,
    /// Of the rows as they were before their change.
    pub were: Former,
    /// Of new rows that were refused, as far as that can be told.
    pub refused: Former,
    /// Changes whose rows' names could not be told: `row` is a place in `source.changes`. In their order.
    pub untold: Vec<Reject>,
    /// What an index that a stage names has to match: `*` stands for anything.
    pub index_pattern: Option<Arc<str>>,
    /// Names are made of more than the key, so that only a whole old image tells them.
    pub of_row: bool,
}

impl Staged {
    /// A batch that no stage touched: every row is a document of all columns.
    pub fn untouched(source: Arc<ChangeBatch>) -> Staged {
        let documents = source.rows.clone();
        let of = (0..documents.num_rows() as u32).collect();
        Staged { source, documents, of, rejects: Vec::new(), named: None }
    }
}

/// A row that a plugin refused, or that made it fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// A row of `source.rows`.
    pub row: u32,
    pub code: String,
    pub message: String,
    /// The stage that refused it, by the name it has in the configuration.
    pub stage: String,
    /// The digest of that stage's plugin.
    pub plugin_sha256: String,
}
