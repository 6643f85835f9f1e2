//! The engine around the pure crates: sockets, files, the command line.

pub mod cli;
pub mod config;
pub mod error;
pub mod logging;
pub mod secret;
pub mod state;
