//! What can go wrong between us and the database, told apart where a caller does different things about it.
//!
//! Servers speak their users' language, so an error is told by its SQLSTATE and by what we were doing, not by its text.
//! Whether it may pass by itself is decided here, where it enters.

use std::error::Error as StdError;
use std::fmt;
use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The URL, a file that it names, or the name of a slot or table is wrong: told without the server.
    Config,
    /// No TLS, or not with whom we wanted it.
    Tls,
    /// Not reached, or the connection was lost.
    Connection,
    /// No host of the URL is of the kind that `target_session_attrs` asks for.
    SessionAttributes,
    /// The server did not let us in.
    Authentication,
    /// The database does not exist.
    Database,
    /// A connection pooler stands between.
    Pooler,
    /// The role may not replicate.
    NoReplicationPrivilege,
    /// The role may not publish a table; [`Error::sql`] has the script for the owner.
    NotOwner,
    /// The role may not read a table; [`Error::sql`] has the grant.
    NoSelect,
    /// Row-level security would hide rows.
    RowSecurity,
    /// `wal_level` is not `logical`.
    WalLevel,
    NoFreeSlot,
    NoFreeSender,
    /// The slot is held by another process.
    SlotActive,
    /// A slot of another plugin, database or shape has the name.
    SlotForeign,
    /// The server threw away WAL that the slot needs.
    SlotLost,
    SlotGone,
    SlotExists,
    /// The publication does not exist.
    PublicationGone,
    /// The publication lacks tables or actions, and is not ours to change.
    PublicationLacks,
    /// The publication hides columns or rows, and is not ours to change.
    PublicationShape,
    TableMissing,
    /// A view, a foreign table and the like: nothing of it is in the WAL.
    TableKind,
    NoPrimaryKey,
    /// The table has no replica identity: publishing it would make updates of it fail.
    NoReplicaIdentity,
    /// Commits would wait for us.
    SynchronousStandby,
    /// A transaction that the stream delivered is not visible to others yet.
    NotVisible,
    /// The snapshot is gone with the session that exported it.
    SnapshotGone,
    /// The server is older than what we need.
    ServerVersion,
    /// The server said what the protocol does not allow here.
    Protocol,
    /// Any other error of the server.
    Server,
}

/// Who may run the statements that mend something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runner {
    /// Whoever owns the tables.
    #[default]
    Owner,
    /// A superuser, in any transaction.
    Administrator,
    /// A superuser, outside of transactions, and the server has to be started anew afterwards.
    AdministratorAlone,
}

/// An error as the server reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    pub severity: String,
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)?;
        for part in [&self.detail, &self.hint].into_iter().flatten() {
            write!(f, "; {part}")?;
        }
        Ok(())
    }
}

impl StdError for ServerError {}

impl ServerError {
    /// Fields of an ErrorResponse: a type byte and a string each, ended by a zero.
    pub(crate) fn parse(mut body: &[u8]) -> ServerError {
        let mut error = ServerError::default();
        while let Some((&field, rest)) = body.split_first() {
            if field == 0 {
                break;
            }
            let end = memchr(rest).unwrap_or(rest.len());
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            match field {
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                _ => {}
            }
            body = rest.get(end + 1..).unwrap_or_default();
        }
        error
    }

    /// Whether the same may succeed later, with nothing changed by anybody.
    fn is_transient(&self) -> bool {
        let state = self.sqlstate.as_str();
        match state.get(..2).unwrap_or_default() {
            // connection exceptions; lack of resources, but not a limit that was configured
            "08" => true,
            "53" => state != "53400",
            // shutdown, crash, starting up, canceled by an admin
            "57" => matches!(state, "57P01" | "57P02" | "57P03" | "57P05" | "57014"),
            // serialization failure, deadlock
            "40" => true,
            // object in use (a slot that its last holder has not let go yet), lock not available
            "55" => matches!(state, "55006" | "55P03"),
            // a read-only transaction: this host was demoted
            "25" => matches!(state, "25006" | "25P03" | "25P04"),
            "58" => state == "58030",
            _ => false,
        }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

impl From<&tokio_postgres::error::DbError> for ServerError {
    fn from(error: &tokio_postgres::error::DbError) -> ServerError {
        ServerError {
            severity: error.severity().to_owned(),
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        }
    }
}

/// An error of the source. Never holds a secret or a row's value, but for what the server's own message quotes.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    transient: bool,
    sql: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A permanent error: somebody has to do what the message says.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), transient: false, sql: None, cause: None }))
    }

    pub(crate) fn io(what: impl fmt::Display, error: io::Error) -> Error {
        Error::new(Kind::Connection, what.to_string()).because(error).transient(true)
    }

    pub(crate) fn protocol(what: impl fmt::Display) -> Error {
        Error::new(Kind::Protocol, format!("the server broke the protocol: {what}"))
    }

    pub(crate) fn server(error: ServerError) -> Error {
        let transient = error.is_transient();
        Error::new(Kind::Server, "the database refused").because(error).transient(transient)
    }

    pub(crate) fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.cause = Some(cause.into());
        self
    }

    pub(crate) fn transient(mut self, transient: bool) -> Error {
        self.0.transient = transient;
        self
    }

    /// Says what it is and what to do about it; the cause and whether it passes stay.
    pub(crate) fn explain(mut self, kind: Kind, message: impl Into<String>) -> Error {
        self.0.kind = kind;
        self.0.message = message.into();
        self
    }

    /// Says in front what was tried.
    pub(crate) fn during(mut self, what: impl fmt::Display) -> Error {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    pub(crate) fn with_sql(mut self, sql: String) -> Error {
        self.0.sql = Some(sql);
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether trying again may help, with nothing changed by anybody.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// The server's code, where the server reported the error.
    pub fn sqlstate(&self) -> Option<&str> {
        self.server_error().map(|error| error.sqlstate.as_str())
    }

    pub fn server_error(&self) -> Option<&ServerError> {
        self.0.cause.as_deref()?.downcast_ref()
    }

    /// Who may run [`Error::sql`].
    pub fn runner(&self) -> Runner {
        match self.kind() {
            Kind::WalLevel => Runner::AdministratorAlone,
            Kind::NoReplicationPrivilege | Kind::RowSecurity => Runner::Administrator,
            _ => Runner::Owner,
        }
    }

    /// The statements that mend it, for whoever may run them.
    pub fn sql(&self) -> Option<&str> {
        self.0.sql.as_deref()
    }

    pub(crate) fn is_sqlstate(&self, state: &str) -> bool {
        self.sqlstate() == Some(state)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        // One line tells all: few callers walk the chain of causes.
        match &self.0.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl StdError for Error {}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        match error.as_db_error() {
            Some(db) => Error::server(db.into()),
            // What is not the server's word is a lost connection, or a mistake of ours in asking.
            None if error.is_closed() || error.source().is_some_and(|cause| cause.is::<io::Error>()) => {
                Error::new(Kind::Connection, "the connection to the database was lost").because(error).transient(true)
            }
            None => Error::new(Kind::Protocol, "a query failed").because(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_response_keeps_its_fields() {
        let body = b"SFEHLER\0VERROR\0C42501\0Mnein\0Dweil\0Hdarum\0Pjunk\0\0";
        let error = Error::server(ServerError::parse(body));
        assert_eq!(error.sqlstate(), Some("42501"));
        assert_eq!(error.server_error().unwrap().severity, "ERROR");
        assert_eq!(error.to_string(), "the database refused: nein (SQLSTATE 42501); weil; darum");
        assert!(!error.is_transient());
    }

    #[test]
    fn a_cut_error_response_does_not_panic() {
        let body = b"SERROR\0C57P01\0Mbye\0\0";
        for end in 0..body.len() {
            ServerError::parse(&body[..end]);
        }
        assert!(Error::server(ServerError::parse(body)).is_transient());
    }

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let transient = |state: &str| ServerError { sqlstate: state.into(), ..ServerError::default() }.is_transient();
        for state in ["08006", "53300", "57P03", "40001", "55006", "25006"] {
            assert!(transient(state), "{state}");
        }
        for state in ["", "28P01", "42501", "53400", "55000", "58P01", "XX000"] {
            assert!(!transient(state), "{state}");
        }
    }
}
