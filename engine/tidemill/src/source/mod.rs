//! The database's end of the engine.
mod connect;
mod error;
mod pins;
pub mod quote;
mod sql;
mod tls;
mod url;
pub mod wire;

pub use connect::Connector;
pub use error::{Error, Kind, Result, ServerError};
pub use sql::Session;
pub use url::{ChannelBinding, Host, RootCert, Secret, SessionAttributes, SslMode, Url};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
