//! The database's end of the engine.
pub mod catalog;
mod connect;
mod error;
mod pattern;
mod pins;
pub mod publication;
pub mod quote;
pub mod reread;
pub mod slot;
pub mod snapshot;
mod sql;
mod tls;
mod url;
pub mod wire;

pub use connect::Connector;
pub use error::{Error, Kind, Result, ServerError};
pub use pattern::TablePattern;
pub use sql::Session;
pub use url::{ChannelBinding, Host, RootCert, Secret, SessionAttributes, SslMode, Url};

#[cfg(test)]
mod tests;
