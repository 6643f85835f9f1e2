//! Makes of a cut's staged batches what the index is sent: Bulk NDJSON in one body, and the list of its actions.
//!
//! ```text
//! Staged batches ──► plan: changes in order, their places, the last action of each document
//!                ──► body: {"index":{"_index":…,"_id":…,"version":…}} and the document, line by line
//! ```
//!
//! Pure: no clock, no I/O, the same cut always gives the same bytes. A text's bytes are copied once, from the Arrow column
//! into the body; nothing is allocated a row. Invariants: no two actions of one document (index, id and routing) come of
//! one cut; a row that was refused makes no document and takes none back, but for one that it had under another name.
//!
//! Of two actions that have one [`Action::key`] the later may be sent only once the earlier has its answer: a document
//! that moves between two routings is deleted at the one and indexed at the other under one version, and both may be
//! the same shard.

mod body;
mod column;
mod conflicts;
mod document;
mod encoder;
mod error;
mod given;
mod lane;
mod moves;
mod number;
mod place;
mod placeless;
mod plan;
mod planned;
mod refuse;
mod template;
mod text;
mod time;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tidemill_change::{Epoch, Op, TableId, Version};

pub use encoder::Encoder;
pub use error::Error;
pub use given::{matches, overlap};
pub use place::{ID_BYTES_MAX, LONG_ID_PREFIX};
pub use template::Template;

/// How a stream's changes become actions: everything resolved that the configuration says of it.
#[derive(Clone, Debug)]
pub struct Encoding {
    pub index: Template,
    pub id: IdRule,
    pub routing: Option<Template>,
    /// An ingest pipeline of the sink, for documents.
    pub pipeline: Option<String>,
    pub numbers: Numbers,
    pub nonfinite: Nonfinite,
    pub long_id: LongId,
    pub actions: Actions,
    pub epoch: Epoch,
    /// Tables whose documents have their ids of a key that is not deferrable: no two rows ever meet at one place.
    pub exclusive: HashSet<TableId>,
    /// Where stages may name documents: each table's primary key, by the names of its columns. By it rows are told apart that
    /// a stage gives one name.
    pub keys: Option<HashMap<TableId, Vec<String>>>,
}

/// What a document's id is made of. Where several columns make it, `%`, `-` and the signs that a template has between two of
/// them are escaped in those that are neither numbers nor uuids, as `%25` and `%2D`; in numbers too where a template joins
/// them by signs that numbers have. So two rows never have one id; but that what stands between two columns is something, and
/// does not begin with `%`, is the caller's to see to.
#[derive(Clone, Debug)]
pub enum IdRule {
    /// Each table's key by the names of its columns, in the key's order; joined by `-`.
    Key(HashMap<TableId, Vec<String>>),
    Template(Template),
}

/// How numbers stand that a reader of doubles would round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// As numbers, with every digit.
    #[default]
    Exact,
    /// numeric and whole numbers of 64 bits as text.
    Strings,
}

/// What becomes of NaN and the infinities, in numbers, dates and times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonfinite {
    /// Their names as text, as Postgres writes them.
    #[default]
    String,
    Null,
    /// The row is refused.
    DeadLetter,
}

/// What becomes of an id over [`ID_BYTES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongId {
    /// The row is refused.
    #[default]
    Refuse,
    /// The id is [`LONG_ID_PREFIX`] and the SHA-256 of the long one in base64url without padding.
    Hash,
}

/// Which changes are taken in. An update that is taken in may delete: where its row leaves the filter or its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
}

impl Default for Actions {
    fn default() -> Actions {
        Actions { insert: true, update: true, delete: true }
    }
}

impl Encoding {
    pub(crate) fn takes(&self, op: Op) -> bool {
        match op {
            Op::Read | Op::Insert => self.actions.insert,
            Op::Update => self.actions.update,
            Op::Delete => self.actions.delete,
        }
    }

    /// The index of all documents, where it is one.
    pub(crate) fn constant_index(&self) -> Option<String> {
        self.index.constant().filter(|_| self.keys.is_none())
    }

    pub(crate) fn takes_all_rows(&self) -> bool {
        self.actions.insert && self.actions.update
    }
}

/// What a cut came to.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub body: Bytes,
    /// In the order in which they must reach each document.
    pub actions: Vec<Action>,
    pub rejected: Vec<Rejected>,
    pub counts: Counts,
    /// The indices of the actions, each with a batch that names it, where stages may name them: they are not known before.
    pub indices: Vec<(String, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    Index,
    Delete,
}

/// One action and its lines in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    pub kind: ActionKind,
    /// The bucket is past the last that versions can tell apart: requests that hold such actions go one at a time.
    pub serial: bool,
    /// The batch of the cut that the change is in, and its place in `source.changes`.
    pub batch: u32,
    pub change: u32,
    /// A hash of index and id: the same for all actions of a document, whatever its routing.
    pub key: u64,
    pub version: Version,
    /// Its lines in the body, the last line break included.
    pub start: usize,
    pub end: usize,
}

/// A change that was refused: it makes no action, and belongs into the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub batch: u32,
    pub change: u32,
    pub version: Version,
    /// What a program may go by; a plugin's own code where a plugin refused the row.
    pub code: String,
    pub message: String,
    /// The stage that refused the row and its plugin's digest, where one did.
    pub stage: Option<String>,
    pub plugin_sha256: Option<String>,
    /// Where the document would be, if that can be told.
    pub place: Option<DocumentPlace>,
    /// Where the others would be, of a row of which several are made.
    pub also: Vec<DocumentPlace>,
    /// The row as one JSON object: its new image, or of a delete the old one. Columns that nobody reads are not in it.
    pub document: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPlace {
    pub index: String,
    pub id: String,
    pub routing: Option<String>,
    /// See [`Action::key`].
    pub key: u64,
}

/// How the changes ended that became no action of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows that the stages filtered out; an update among them may have become a delete.
    pub filtered: usize,
    /// Actions that a later one of the same document made needless.
    pub superseded: usize,
    /// Changes of a kind that the stream does not take in.
    pub excluded: usize,
    /// Deletes of rows that could have no document, such as one whose id is null.
    pub placeless: usize,
}
