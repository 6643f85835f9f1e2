//! The words that every step of the engine shares: where a change stands in the WAL ([`Lsn`], [`LsnSpan`]), which table
//! it belongs to ([`Relation`]), the rows themselves as Arrow columns ([`ChangeBatch`]), what the stages made of
//! them ([`Staged`]) and the version under which an action reaches the index ([`Version`]).
//!
//! This crate is a leaf: it holds data and its invariants, and does no work.

mod batch;
mod left_out;
mod lsn;
mod relation;
mod staged;
mod version;

pub use batch::{Change, ChangeBatch, Commit, Cut, NO_ROW, OldImage, Op, Truncate, Unreadable};
pub use left_out::LeftOut;
pub use lsn::{Lsn, LsnSpan, ParseLsnError, SpanError};
pub use relation::{
    Column, DOCUMENT, EXTENSION_JSON, EXTENSION_NAME, EXTENSION_NUMERIC, ElementKind, FACT, Kind, Relation,
    ReplicaIdentity, TableId,
};
pub use staged::{Former, Named, Names, Reject, Staged};
pub use version::{BUCKET_BYTES, BUCKET_LAST, BUCKET_ROWS, Epoch, Version};
