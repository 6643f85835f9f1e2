//! The engine around the pure crates: sockets, files, the command line.

pub mod cli;
pub mod config;
pub mod control;
pub mod deliver;
pub mod error;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod private_postgres;
pub mod secret;
pub mod source;
pub mod state;
