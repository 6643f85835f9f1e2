//! What Postgres would answer with an error, for one row.

use std::borrow::Cow;

/// The SQLSTATE and Postgres' message, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub message: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault { code, message: message.into() }
    }

    pub(crate) fn range(message: &'static str) -> Fault {
        Fault::new("22003", message)
    }

    pub(crate) fn division() -> Fault {
        Fault::new("22012", "division by zero")
    }

    pub(crate) fn syntax(of: &str) -> Fault {
        Fault::new("22P02", format!("invalid input syntax for type {of}"))
    }

    /// Not Postgres' error, but the doubt that only a row can raise.
    pub(crate) fn locale(what: &str) -> Fault {
        Fault::new(
            "locale",
            format!("{what} of letters beyond ASCII depends on the database's locale: add collate \"C\""),
        )
    }
}
