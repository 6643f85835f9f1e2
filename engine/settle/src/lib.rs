//! What has been delivered, what may be confirmed, and what goes to the sink next: decided here, done elsewhere.
//!
//! ```text
//!  cuts ──► Ledger (a stream's spans) ──► Confirm (least of all streams) ──► Progress ──► standby status updates
//!              ▲ settled parts
//!  items ──► Delivery ──► Command::Send ──► (the sink) ──► read(response) ──► Answer ──┐
//!              ▲───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every part is a machine: it takes a [`Time`] and an event and gives commands back. There is no I/O here, no clock,
//! no task and no randomness but a seed that is given in, so the same inputs give the same commands, and a simulator
//! drives the very code that runs.
//!
//! Invariant of the crate: nothing is confirmed that has not settled, and of one document never two requests are in
//! flight.

mod action;
mod answer;
mod backoff;
mod confirm;
mod delivery;
mod error;
mod ids;
mod ledger;
pub mod limits;
mod progress;
mod time;

pub use action::ActionKind;
pub use answer::{
    Answer, Exception, FILTER_PATH, Items, Outcome, Pause, PauseKind, Response, Sent, SinkError, Trouble, Unknown, read,
};
pub use backoff::Backoff;
pub use confirm::Confirm;
pub use delivery::{Command, Counts, Delivery, Failure, Item, ItemRef, RequestId, Slice, Status, Totals};
pub use error::Error;
pub use ids::{GroupId, SpanId, StreamId};
pub use ledger::Ledger;
pub use limits::Limits;
pub use progress::{Progress, StatusUpdate};
pub use time::Time;
