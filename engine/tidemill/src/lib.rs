//! The engine around the pure crates: sockets, files, the command line.

pub mod author;
pub mod cli;
pub mod config;
pub mod control;
mod cpu;
pub mod deliver;
pub mod demo;
pub mod error;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod pipeline;
pub mod plan;
pub mod private_postgres;
pub mod secret;
pub mod signals;
pub mod source;
pub mod state;
