use std::sync::Arc;

use arrow_array::RecordBatch;

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
}

impl Staged {
    /// A batch that no stage touched: every row is a document of all columns.
    pub fn untouched(source: Arc<ChangeBatch>) -> Staged {
        let documents = source.rows.clone();
        let of = (0..documents.num_rows() as u32).collect();
        Staged { source, documents, of, rejects: Vec::new() }
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
