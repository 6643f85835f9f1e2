use std::fmt;

use tidemill_change::{Lsn, SpanError};

use crate::ids::{GroupId, SpanId, StreamId};

/// A step that would break the account of what was delivered. Each is a defect of the caller: the way out is to stop
/// the stream and take it up again from what was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gap { end: Lsn, from: Lsn },
    Overlap { end: Lsn, from: Lsn },
    StillOpen(SpanId),
    NotOpen(SpanId),
    EndsEarly(SpanError),
    UnknownSpan(SpanId),
    OverSettled { span: SpanId, parts: u32, left: u64 },
    BehindConfirmed { stream: StreamId, settled: Lsn, confirmed: Lsn },
    StreamTwice(StreamId),
    UnknownStream(StreamId),
    GroupTwice(GroupId),
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Error {
        Error { kind }
    }

    /// A span begins after the end of the one before it: changes in between would count as delivered.
    pub fn is_gap(&self) -> bool {
        matches!(self.kind, Kind::Gap { .. })
    }

    /// A span begins before the end of the one before it.
    pub fn is_overlap(&self) -> bool {
        matches!(self.kind, Kind::Overlap { .. })
    }

    /// More parts were settled than a span has, or a settled span once more.
    pub fn is_over_settled(&self) -> bool {
        matches!(self.kind, Kind::OverSettled { .. })
    }

    /// A stream would need WAL that the server may have removed.
    pub fn is_behind_confirmed(&self) -> bool {
        matches!(self.kind, Kind::BehindConfirmed { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Gap { end, from } => write!(f, "a span begins at {from}, after the end {end} of the one before it"),
            Kind::Overlap { end, from } => {
                write!(f, "a span begins at {from}, before the end {end} of the one before it")
            }
            Kind::StillOpen(span) => write!(f, "span {span} is still open: close it before the next is opened"),
            Kind::NotOpen(span) => write!(f, "span {span} is not open: nothing can be added to it"),
            Kind::EndsEarly(error) => error.fmt(f),
            Kind::UnknownSpan(span) => write!(f, "span {span} was never opened"),
            Kind::OverSettled { span, parts, left } => {
                write!(f, "{parts} parts of span {span} settle, but only {left} are left: each settles once")
            }
            Kind::BehindConfirmed { stream, settled, confirmed } => {
                write!(
                    f,
                    "stream {stream} settled only up to {settled}, but {confirmed} is confirmed: back-fill it anew"
                )
            }
            Kind::StreamTwice(stream) => write!(f, "stream {stream} is there already"),
            Kind::UnknownStream(stream) => write!(f, "stream {stream} was never added"),
            Kind::GroupTwice(group) => write!(f, "group {group} is there already: give each its own number"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::EndsEarly(error) => Some(error),
            _ => None,
        }
    }
}
