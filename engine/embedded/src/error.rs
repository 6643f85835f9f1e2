//! Two kinds of failure: [`Error`] is what keeps the server from running, [`Refusal`] is an answer to one request (or one
//! item of a bulk) in Elasticsearch's shape.

use std::fmt;

use crate::json::{JsonError, write_string};

/// Why the embedded index cannot run.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    AddressInUse,
    DirectoryInUse,
    Damaged,
    Other,
}

impl Error {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error { kind, what: what.into(), source: None }
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Another process listens there.
    pub fn is_address_in_use(&self) -> bool {
        self.kind == Kind::AddressInUse
    }

    /// Another process has the directory open.
    pub fn is_directory_in_use(&self) -> bool {
        self.kind == Kind::DirectoryInUse
    }

    /// A log in the directory holds what this program never wrote.
    pub fn is_damaged(&self) -> bool {
        self.kind == Kind::Damaged
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// A request, or one action of it, that is refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    more: Option<Box<More>>,
}

/// Apart, so that a result stays small.
#[derive(Debug, Clone, Default)]
struct More {
    cause: Option<(&'static str, String)>,
    /// Name and uuid.
    index: Option<(String, String)>,
}

impl Refusal {
    pub(crate) fn new(status: u16, kind: &'static str, reason: impl Into<String>) -> Self {
        Refusal { status, kind, reason: reason.into(), more: None }
    }

    pub(crate) fn illegal(reason: impl Into<String>) -> Self {
        Refusal::new(400, "illegal_argument_exception", reason)
    }

    /// The whole request does not pass its checks; the real servers count the failures.
    pub(crate) fn validation(reason: &str) -> Self {
        Refusal::new(400, "action_request_validation_exception", format!("Validation Failed: 1: {reason};"))
    }

    pub(crate) fn parsing(reason: impl Into<String>) -> Self {
        Refusal::new(400, "parsing_exception", reason)
    }

    /// Something that the real servers have and this one has not.
    pub(crate) fn not_there(what: impl fmt::Display) -> Self {
        Refusal::illegal(format!(
            "{what} is not there: this is Tidemill's embedded index, made for demos and tests; use Elasticsearch or \
             OpenSearch for it"
        ))
    }

    pub(crate) fn no_index(name: &str) -> Self {
        Refusal::new(404, "index_not_found_exception", format!("no such index [{name}]")).of(name, "_na_")
    }

    pub(crate) fn json(error: &JsonError) -> Self {
        Refusal::new(400, "x_content_parse_exception", format!("[1:{}] {}", error.at + 1, error.what))
    }

    /// The log could not be written or read.
    pub(crate) fn log(what: impl fmt::Display) -> Self {
        Refusal::new(500, "translog_exception", what.to_string())
    }

    pub(crate) fn caused_by(mut self, kind: &'static str, reason: impl Into<String>) -> Self {
        self.more.get_or_insert_default().cause = Some((kind, reason.into()));
        self
    }

    /// Names the index that it is about.
    pub(crate) fn of(mut self, name: &str, uuid: &str) -> Self {
        self.more.get_or_insert_default().index = Some((name.to_owned(), uuid.to_owned()));
        self
    }

    /// The whole answer's body.
    pub(crate) fn body(&self) -> String {
        let mut out = String::from("{\"error\":{\"root_cause\":[{");
        self.fields(&mut out);
        out.push_str("}],");
        self.fields(&mut out);
        self.write_cause(&mut out);
        out.push_str("},\"status\":");
        out.push_str(&self.status.to_string());
        out.push('}');
        out
    }

    /// The `error` object of a bulk item.
    pub(crate) fn write_item(&self, out: &mut String) {
        out.push('{');
        self.fields(out);
        self.write_cause(out);
        out.push('}');
    }

    fn fields(&self, out: &mut String) {
        out.push_str("\"type\":");
        write_string(self.kind, out);
        out.push_str(",\"reason\":");
        write_string(&self.reason, out);
        if let Some((name, uuid)) = self.more.as_ref().and_then(|more| more.index.as_ref()) {
            out.push_str(",\"index_uuid\":");
            write_string(uuid, out);
            if self.status == 409 {
                out.push_str(",\"shard\":\"0\"");
            }
            out.push_str(",\"index\":");
            write_string(name, out);
        }
    }

    fn write_cause(&self, out: &mut String) {
        if let Some((kind, reason)) = self.more.as_ref().and_then(|more| more.cause.as_ref()) {
            out.push_str(",\"caused_by\":{\"type\":");
            write_string(kind, out);
            out.push_str(",\"reason\":");
            write_string(reason, out);
            out.push('}');
        }
    }
}
