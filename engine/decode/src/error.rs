use std::fmt;

use tidemill_change::{Lsn, Relation, TableId};

/// What is wrong with a cell or a message, before it is known where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The message ends before what it announces.
    Short,
    /// The message goes on after its end.
    Trailing,
    /// A cell or string that is not UTF-8.
    NotUtf8,
    /// A cell that is not written as its type is written.
    Malformed,
    /// A cell that its Arrow type cannot hold.
    OutOfRange,
    /// A cell, or a chunk, that is too long for a view.
    TooLong,
    /// A cell in binary format, which was not asked for.
    Binary,
    /// A tag inside a message that the protocol does not know.
    Tag(u8),
    ColumnCount {
        expected: usize,
        found: usize,
    },
}

impl Fault {
    /// The name that a dead letter has it by.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Fault::NotUtf8 => "value_not_utf8",
            Fault::OutOfRange => "value_out_of_range",
            Fault::TooLong => "value_too_long",
            _ => "value_malformed",
        }
    }
}

/// A fault and the column that has it, if it is one column's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) column: Option<usize>,
    pub(crate) fault: Fault,
}

impl From<Fault> for At {
    fn from(fault: Fault) -> At {
        At { column: None, fault }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fault { message: u8, fault: Fault },
    Value { fault: Fault, kind: tidemill_change::Kind },
    UnknownTag(u8),
    Streaming(u8),
    TwoPhase(u8),
    NoTransaction(u8),
    NestedBegin,
    CommitMismatch { found: Lsn },
    CommitOrder { last: Lsn },
    CommitEnd { end: Lsn },
    UnknownRelation(TableId),
    TruncateNotCut,
    Payload,
}

/// Input that cannot be decoded, with the table, column and transaction that it belongs to as far as they are known.
///
/// A value itself is never part of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    kind: Kind,
    table: Option<String>,
    column: Option<String>,
    commit: Option<Lsn>,
    line: Option<u64>,
}

impl Error {
    #[cold]
    pub(crate) fn new(kind: Kind) -> Error {
        Error(Box::new(Inner { kind, table: None, column: None, commit: None, line: None }))
    }

    #[cold]
    pub(crate) fn fault(message: u8, fault: Fault) -> Error {
        Error::new(Kind::Fault { message, fault })
    }

    #[cold]
    pub(crate) fn row(message: u8, at: At, relation: &Relation) -> Error {
        let column = at.column.and_then(|index| relation.columns.get(index));
        let mut error = Error::new(match column {
            Some(column) => Kind::Value { fault: at.fault, kind: column.kind },
            None => Kind::Fault { message, fault: at.fault },
        });
        error.0.table = Some(relation.to_string());
        error.0.column = column.map(|column| column.name.clone());
        error
    }

    pub(crate) fn in_commit(mut self, lsn: Option<Lsn>) -> Error {
        self.0.commit = lsn;
        self
    }

    pub(crate) fn in_line(mut self, line: u64) -> Error {
        self.0.line = Some(line);
        self
    }

    /// The table as `schema.name`.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }

    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// The commit LSN of the transaction that was being read.
    pub fn commit(&self) -> Option<Lsn> {
        self.0.commit
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, table, column, commit, line } = &*self.0;
        let parts = [
            table.as_ref().map(|table| format!("table `{table}`")),
            column.as_ref().map(|column| format!("column `{column}`")),
            line.map(|line| format!("row {line} of the copy")),
            commit.map(|commit| format!("transaction committed at {commit}")),
        ];
        let place: Vec<String> = parts.into_iter().flatten().collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(", "))?;
        }
        match kind {
            Kind::Value { fault, kind } => write!(f, "{}", ValueFault { fault: *fault, kind: *kind }),
            Kind::Fault { message, fault } => message_fault(f, *message, *fault),
            Kind::UnknownTag(tag) => {
                write!(f, "message `{}` is not one of pgoutput's: is the slot's plugin pgoutput?", Tag(*tag))
            }
            Kind::Streaming(tag) => write!(
                f,
                "message `{}` streams a transaction in progress, which was not asked for: start replication with streaming off",
                Tag(*tag)
            ),
            Kind::TwoPhase(tag) => write!(
                f,
                "message `{}` belongs to two-phase commits: use a slot that was made without two_phase",
                Tag(*tag)
            ),
            Kind::NoTransaction(tag) => {
                write!(f, "message `{}` came outside a transaction: read again from the slot", Tag(*tag))
            }
            Kind::NestedBegin => f.write_str("a transaction began inside another one: read again from the slot"),
            Kind::CommitMismatch { found } => {
                write!(f, "the commit message names {found} instead: read again from the slot")
            }
            Kind::CommitOrder { last } => {
                write!(f, "it came after the commit at {last}, which is not before it: read again from the slot")
            }
            Kind::CommitEnd { end } => write!(f, "it ends at {end}, before its own commit: read again from the slot"),
            Kind::UnknownRelation(table) => {
                write!(f, "table {table} was never described by a relation message: read again from the slot")
            }
            Kind::TruncateNotCut => {
                f.write_str("a change came before the truncate ahead of it was cut off: call cut first")
            }
            Kind::Payload => f.write_str("the payload lies outside its chunk, or the chunk is over 2 GiB"),
        }
    }
}

/// What is wrong with one cell, in words that do not tell its value.
pub(crate) struct ValueFault {
    pub(crate) fault: Fault,
    pub(crate) kind: tidemill_change::Kind,
}

impl fmt::Display for ValueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ValueFault { fault, kind } = *self;
        match fault {
            Fault::NotUtf8 => f.write_str(
                "the value is not UTF-8, as databases of encoding SQL_ASCII allow: mend the value, or leave the table out",
            ),
            Fault::OutOfRange => write!(
                f,
                "the value does not fit {} ({kind:?}), whose times end in the year 294247: mend the value, or leave the table out",
                kind.arrow()
            ),
            Fault::TooLong => f.write_str("the value is over 2 GiB as text: leave the table out"),
            Fault::Binary => {
                f.write_str("the value came in binary format, which was not asked for: start replication with binary off")
            }
            Fault::Short => f.write_str("the message ends inside the value: read again from the slot"),
            Fault::Tag(tag) => write!(f, "cell tag `{}` is not one of pgoutput's: read again from the slot", Tag(tag)),
            Fault::Malformed | Fault::Trailing | Fault::ColumnCount { .. } => write!(
                f,
                "the value is not written as {kind:?} is under the session's settings: is the connection made through a pooler?"
            ),
        }
    }
}

fn message_fault(f: &mut fmt::Formatter<'_>, message: u8, fault: Fault) -> fmt::Result {
    if message == COPY_LINE {
        f.write_str("the line ")?;
    } else {
        write!(f, "message `{}` ", Tag(message))?;
    }
    match fault {
        Fault::ColumnCount { expected, found } => {
            write!(f, "has {found} columns where the table has {expected}: read the table's columns again")
        }
        Fault::Short => f.write_str("ends too soon: read again"),
        Fault::Trailing => f.write_str("goes on after its end: read again"),
        Fault::NotUtf8 => f.write_str("holds a name that is not UTF-8: set client_encoding to UTF8"),
        Fault::Tag(tag) => write!(f, "has a part `{}` that pgoutput does not know: read again", Tag(tag)),
        Fault::Malformed | Fault::OutOfRange | Fault::TooLong | Fault::Binary => {
            f.write_str("is malformed: read again")
        }
    }
}

/// Stands for a line of COPY text where a message's tag is asked for.
pub(crate) const COPY_LINE: u8 = 0;

/// A message's tag: one printable letter, else its number.
struct Tag(u8);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b' '..=b'~' => write!(f, "{}", self.0 as char),
            other => write!(f, "0x{other:02x}"),
        }
    }
}
