//! Reads what a sink answered to a Bulk request, by status and `error.type` together.
//!
//! ```text
//!  status ─┬─ 2xx ─► items, one for each action sent: settled, or an Exception with its Outcome
//!          └─ else ► an answer for the request as a whole
//! ```
//!
//! An answer that does not account for each action sent, one by one and in order, is no answer: the outcome is unknown,
//! and the same lines go again. What differs between Elasticsearch and OpenSearch (order of keys, names of two errors)
//! does not matter here.

mod error;
mod items;

use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;
use tidemill_change::Version;

use crate::action::ActionKind;

pub use error::{Pause, PauseKind, SinkError};

/// What to ask of the sink (`filter_path=`): all that [`read`] needs, a tenth of what it would send otherwise. A filter
/// that leaves out more, for instance `items.*.error` alone, cannot be read where one action failed.
pub const FILTER_PATH: &str = "errors,items.*.status,items.*.error";

/// A response as it came.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub status: u16,
    /// The header `retry-after`, where it was a number of seconds.
    pub retry_after: Option<Duration>,
    /// The whole body, decompressed.
    pub body: &'a [u8],
    /// The request asked for a filter that leaves out `items` where nothing failed.
    pub items_left_out: bool,
}

/// An action as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    pub kind: ActionKind,
    pub version: Version,
    /// Where the caller knows it and the answer tells it, both must be the same.
    pub id: Option<&'a str>,
}

/// What to do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The sink answered for each action.
    Items(Items),
    /// The same lines again, later; some of them may have been applied.
    RetryWhole { trouble: Trouble, retry_after: Option<Duration> },
    /// The sink takes nothing in until somebody makes room.
    SinkFull(SinkError),
    /// One action or more makes the sink refuse them all: nothing was applied. Find it by halves.
    Bisect(SinkError),
    /// The sink refuses a body of that size.
    TooLarge,
    /// Nothing more until somebody mended it.
    Pause(Pause),
    /// Any of the actions may have been applied or not: the same lines again.
    Unknown(Unknown),
}

/// The outcomes of one request: each action that is not among the exceptions was indexed or deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// Ascending.
    pub exceptions: Vec<Exception>,
    /// The first reason to pause, where an outcome is [`Outcome::Pause`].
    pub pause: Option<Pause>,
    /// The first such error, where an outcome is [`Outcome::SinkFull`].
    pub full: Option<SinkError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The action's place in the request.
    pub index: u32,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A delete of what was not there: settled.
    NotFound,
    /// The index holds a higher version: settled, unless that version is none that this source can have given.
    Stale {
        stored: Option<Version>,
    },
    /// This action again, later.
    Retry(Trouble),
    SinkFull,
    /// The sink will never take this action.
    DeadLetter(Box<SinkError>),
    Pause,
}

/// Why something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A queue of the sink is full, or its memory is: 429.
    Busy,
    /// The request took too long for something in between: 408.
    TimedOut,
    /// The sink or a shard of it does not work at present: 5xx.
    Unavailable(u16),
}

impl Trouble {
    /// The sink said that it did not take the actions on; with any other trouble they may still be under way.
    pub fn is_refusal(self) -> bool {
        self == Trouble::Busy
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Busy => f.write_str("the sink is busy (status 429)"),
            Trouble::TimedOut => f.write_str("the request timed out on its way (status 408)"),
            Trouble::Unavailable(status) => write!(f, "the sink is not available (status {status})"),
        }
    }
}

/// Why an answer tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Cut, not JSON, or not the answer to a Bulk request.
    Unreadable,
    /// It has more or fewer items than actions were sent.
    ItemCount,
    /// An item names another operation or document than the action at its place.
    OtherItem,
    /// An item has a status that says nothing, or that its error contradicts.
    OddItem,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unknown::Unreadable => "the answer is no answer to a bulk request: is there a proxy before the sink?",
            Unknown::ItemCount => "the answer has another number of items than there were actions",
            Unknown::OtherItem => "the answer has items in another order than the actions",
            Unknown::OddItem => "the answer has an item whose status says nothing",
        })
    }
}

/// Reads a response. `sent` gives the actions of the request in their order.
pub fn read<'s>(response: &Response<'_>, sent: impl Iterator<Item = Sent<'s>>) -> Answer {
    match response.status {
        200..=299 => match items::read(response.body, response.items_left_out, sent) {
            Ok(items) => Answer::Items(items),
            Err(unknown) => Answer::Unknown(unknown),
        },
        _ => read_whole(response),
    }
}

fn read_whole(response: &Response<'_>) -> Answer {
    let error = SinkError::of_response(response.status, response.body);
    let retry = |trouble| Answer::RetryWhole { trouble, retry_after: response.retry_after };
    match response.status {
        // A 400 without an error of the sink's own form comes from something in between, and is no document's fault.
        400 if !error.kind.is_empty() && error.kind != error::INDEX_CLOSED => Answer::Bisect(error),
        408 => retry(Trouble::TimedOut),
        413 => Answer::TooLarge,
        429 if error.kind == error::CLUSTER_BLOCK => Answer::SinkFull(error),
        429 => retry(Trouble::Busy),
        status @ 500..=599 => retry(Trouble::Unavailable(status)),
        _ => Answer::Pause(Pause::from(error)),
    }
}

enum Verdict {
    Settled,
    Exception(Outcome),
    Pause(Pause),
    Full(SinkError),
    Odd,
}

/// The table of item answers, by status and `error.type`.
fn judge(kind: ActionKind, status: u16, error: Option<&RawValue>) -> Verdict {
    let Some(raw) = error else {
        return match status {
            200 | 201 => Verdict::Settled,
            404 if kind == ActionKind::Delete => Verdict::Exception(Outcome::NotFound),
            429 => Verdict::Exception(Outcome::Retry(Trouble::Busy)),
            500..=599 => Verdict::Exception(Outcome::Retry(Trouble::Unavailable(status))),
            401..=499 => Verdict::Pause(Pause::from(SinkError::of_item(status, ""))),
            _ => Verdict::Odd,
        };
    };
    let error = SinkError::of_item(status, raw.get());
    let outcome = match (status, error.kind.as_str()) {
        (409, error::VERSION_CONFLICT) => Outcome::Stale { stored: error.stored_version() },
        (429, error::CLUSTER_BLOCK) => return Verdict::Full(error),
        (429, _) => Outcome::Retry(Trouble::Busy),
        (408, _) => Outcome::Retry(Trouble::TimedOut),
        (500..=599, error::CIRCUIT_BREAKING) => Outcome::Retry(Trouble::Busy),
        (500..=599, _) => Outcome::Retry(Trouble::Unavailable(status)),
        (400, kind) if kind != error::INDEX_CLOSED => Outcome::DeadLetter(Box::new(error)),
        (400..=499, _) => return Verdict::Pause(Pause::from(error)),
        _ => return Verdict::Odd,
    };
    Verdict::Exception(outcome)
}
