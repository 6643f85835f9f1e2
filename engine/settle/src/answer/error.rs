use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidemill_change::Version;

pub(super) const VERSION_CONFLICT: &str = "version_conflict_engine_exception";
pub(super) const CLUSTER_BLOCK: &str = "cluster_block_exception";
pub(super) const CIRCUIT_BREAKING: &str = "circuit_breaking_exception";
pub(super) const INDEX_CLOSED: &str = "index_closed_exception";
const INDEX_NOT_FOUND: &str = "index_not_found_exception";

/// An error as the sink told it.
///
/// `reason` and `json` may quote a document's values: they belong into dead letters, never into logs. What is shown of
/// it is its type and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkError {
    pub status: u16,
    /// `error.type`; empty where the sink gave none.
    pub kind: String,
    pub reason: String,
    /// The error object in full, `caused_by` included; empty where there was none.
    pub json: String,
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

impl SinkError {
    /// Reads an item's error object.
    pub(super) fn of_item(status: u16, json: &str) -> SinkError {
        let (kind, reason) = match serde_json::from_str::<Parts<'_>>(json) {
            Ok(parts) => {
                let reason = parts.reason.and_then(|raw| serde_json::from_str(raw.get()).ok());
                (parts.kind.into_owned(), reason.unwrap_or_default())
            }
            // Some errors are a bare text.
            Err(_) => (String::new(), serde_json::from_str(json).unwrap_or_default()),
        };
        SinkError { status, kind, reason, json: json.to_owned() }
    }

    /// Reads the body of a response whose status is not 2xx: JSON of the sink, or whatever a proxy sends, or nothing.
    pub(super) fn of_response(status: u16, body: &[u8]) -> SinkError {
        match serde_json::from_slice::<Body<'_>>(body) {
            Ok(body) => SinkError::of_item(status, body.error.get()),
            Err(_) => SinkError { status, kind: String::new(), reason: String::new(), json: String::new() },
        }
    }

    /// The engine's own verdict on a single document that the sink finds too large.
    pub(crate) fn too_large(bytes: u64) -> SinkError {
        let reason = format!("the document alone makes a request of {bytes} bytes, more than the sink takes");
        SinkError { status: 413, kind: "content_too_large".to_owned(), reason, json: String::new() }
    }

    /// The version that a conflict names: `… current version [20] is higher than …`. Only the text has it.
    pub(super) fn stored_version(&self) -> Option<Version> {
        let (_, rest) = self.reason.split_once("current version [")?;
        let (number, _) = rest.split_once(']')?;
        number.parse::<u64>().ok().map(Version::from)
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.as_str() {
            "" => write!(f, "status {}", self.status),
            kind => write!(f, "status {}, `{kind}`", self.status),
        }
    }
}

/// Why a stream pauses, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub kind: PauseKind,
    /// What the sink said, where it said something.
    pub error: Option<SinkError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseKind {
    /// Whoever calls [`crate::Delivery::pause`].
    Asked,
    /// 401.
    Unauthorized,
    /// 403 of a role that lacks a privilege.
    Forbidden,
    /// 403 of an index with a write block.
    WriteBlock,
    IndexClosed,
    IndexMissing,
    /// The index holds a version that this database cannot have given.
    IndexAhead {
        stored: Version,
    },
    /// The sink's disk is full. The delivery tries one document now and then and goes on by itself.
    SinkFull,
    /// A redirect: credentials do not follow it.
    Redirected,
    /// Any other refusal.
    Refused,
}

impl PauseKind {
    /// The sink's reason speaks of roles, indices and blocks, never of a document: it may be shown.
    fn names_no_values(self) -> bool {
        use PauseKind::{Forbidden, IndexClosed, IndexMissing, SinkFull, Unauthorized, WriteBlock};
        matches!(self, Unauthorized | Forbidden | WriteBlock | IndexClosed | IndexMissing | SinkFull)
    }
}

impl Pause {
    pub(crate) fn full(error: Option<SinkError>) -> Pause {
        Pause { kind: PauseKind::SinkFull, error }
    }

    pub(crate) fn ahead(stored: Version) -> Pause {
        Pause { kind: PauseKind::IndexAhead { stored }, error: None }
    }

    pub(crate) fn asked() -> Pause {
        Pause { kind: PauseKind::Asked, error: None }
    }
}

impl From<SinkError> for Pause {
    fn from(error: SinkError) -> Pause {
        let kind = match (error.status, error.kind.as_str()) {
            (401, _) => PauseKind::Unauthorized,
            (403, CLUSTER_BLOCK) => PauseKind::WriteBlock,
            (403, _) => PauseKind::Forbidden,
            (_, INDEX_CLOSED) => PauseKind::IndexClosed,
            (_, INDEX_NOT_FOUND) => PauseKind::IndexMissing,
            (300..=399, _) => PauseKind::Redirected,
            _ => PauseKind::Refused,
        };
        Pause { kind, error: Some(error) }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PauseKind::Asked => f.write_str("paused as asked")?,
            PauseKind::Unauthorized => {
                f.write_str("the sink does not know these credentials: see `auth` of the sink")?
            }
            PauseKind::Forbidden => f.write_str("the sink forbids this: grant the role `write` on the index")?,
            PauseKind::WriteBlock => f.write_str("the index has a write block: take `index.blocks.write` off")?,
            PauseKind::IndexClosed => f.write_str("the index is closed: open it")?,
            PauseKind::IndexMissing => f.write_str("the index is gone, or is no alias: make it, then back-fill")?,
            PauseKind::IndexAhead { stored } => write!(
                f,
                "the index holds version {stored} (commit {}), which lies ahead of this database: is it another one, \
                 or restored? then name another index",
                stored.commit()
            )?,
            PauseKind::SinkFull => f.write_str("the sink's disk is full: make room there, the stream then goes on")?,
            PauseKind::Redirected => f.write_str("the sink redirects: set its `url` to where it really is")?,
            PauseKind::Refused => f.write_str("the sink refuses this")?,
        }
        match &self.error {
            Some(error) if self.kind.names_no_values() && !error.reason.is_empty() => {
                write!(f, " ({error}: {})", error.reason)
            }
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}
