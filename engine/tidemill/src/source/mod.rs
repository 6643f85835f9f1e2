//! The database's end of the engine: how it is reached, what its catalog says, and how rows and changes come out of it.
//!
//! ```text
//! Url ─► Connector ─┬─ sql()          Session      tokio-postgres: catalog, publication, slots seen
//!                   ├─ wire()         Connection   COPY in a snapshot, rows read again
//!                   └─ replication()  Connection   slot made, stream read, progress confirmed
//! ```
//!
//! In the order of a first start: [`catalog::tables`], [`publication::ensure`], [`slot::create`] with its snapshot,
//! [`snapshot::SnapshotSource`] for the rows that are there, [`slot::Stream`] for what comes after. Nothing here retries:
//! [`Error::is_transient`] says whether it would help.
//!
//! Invariants: nothing done here makes an application's write fail; no default of a role, database or server changes the
//! text that is read; no password shows in an error, a log or a debug output.

pub mod catalog;
mod connect;
mod error;
mod pins;
pub mod publication;
pub mod quote;
pub mod reread;
mod server;
pub mod slot;
pub mod snapshot;
mod sql;
mod tls;
mod url;
pub mod wire;

pub use connect::Connector;
pub use error::{Error, Kind, Result, Runner, ServerError};
pub use server::{SERVER_VERSION_MIN, ServerInfo};
pub use sql::Session;
pub use url::{ChannelBinding, Host, RootCert, SessionAttributes, SslMode, Url};

#[cfg(test)]
mod tests;
