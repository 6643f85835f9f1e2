//! Turns what Postgres sends, pgoutput messages and COPY text, straight into Arrow columns.
//!
//! ```text
//! socket ──► chunk (Bytes) ──┬─► Decoder::message ──► Table ──► Cut        (stream)
//!                            └─► CopyDecoder::row ──► Table ──► ChangeBatch (backfill)
//! ```
//!
//! A text cell becomes a view into the chunk that was read from the socket: its bytes are not copied, and nothing is
//! allocated for a row. Each column's parser is chosen once a relation, by [`tidemill_change::Kind`]. Only what has to
//! be rewritten (bytea, arrays, json with whitespace, COPY cells with escapes) goes into a buffer of its own.
//!
//! Invariants: a batch never mixes two shapes of a table; all changes of one bucket are in one cut; no input, however
//! broken, makes the decoder panic or hand on text that is not UTF-8. A value that its type cannot hold is set aside
//! and named ([`tidemill_change::Unreadable`]): one row stops no other. After an error, which is the protocol's, a decoder
//! only repeats it: what was pending comes again from the slot.

mod array;
mod bits;
mod column;
mod copy;
mod decoder;
mod error;
mod json;
mod line;
mod number;
mod pgoutput;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod time;
mod views;

pub use copy::CopyDecoder;
pub use decoder::{Decoder, Message, Wanted};
pub use error::Error;
