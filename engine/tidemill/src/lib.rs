//! The engine around the pure crates: sockets, files, the command line.

pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod secret;
pub mod state;
