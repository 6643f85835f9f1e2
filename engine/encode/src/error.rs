use std::fmt;

use tidemill_change::Relation;

/// What keeps a stream from being encoded. Nothing of a cut has been lost: it can be encoded again once the cause is gone.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Template,
    Shape,
    Unfilled,
    LeftOut,
    Batch,
}

impl Error {
    pub(crate) fn template(message: impl Into<String>) -> Error {
        Error { kind: Kind::Template, message: message.into() }
    }

    pub(crate) fn shape(message: impl Into<String>) -> Error {
        Error { kind: Kind::Shape, message: message.into() }
    }

    pub(crate) fn unfilled(message: impl Into<String>) -> Error {
        Error { kind: Kind::Unfilled, message: message.into() }
    }

    pub(crate) fn left_out(relation: &Relation, column: usize, what: &str) -> Error {
        let name = &relation.columns[column].name;
        let message = format!(
            "{what} needs column `{name}` of {relation}, which nobody was to read, so that it was left out: start the engine again"
        );
        Error { kind: Kind::LeftOut, message }
    }

    pub(crate) fn batch(message: impl Into<String>) -> Error {
        Error { kind: Kind::Batch, message: message.into() }
    }

    /// A template is not one, or names a column that the table does not have.
    pub fn is_template(&self) -> bool {
        self.kind == Kind::Template
    }

    /// The table, or what the stages made of it, no longer fits the stream: pause the stream and say so.
    pub fn is_shape(&self) -> bool {
        self.kind == Kind::Shape
    }

    /// A column is needed that was left out of its batch, since nobody was to read it.
    pub fn is_left_out(&self) -> bool {
        self.kind == Kind::LeftOut
    }

    /// A cell whose large value the WAL left out was not filled before it came here.
    pub fn is_unfilled(&self) -> bool {
        self.kind == Kind::Unfilled
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
