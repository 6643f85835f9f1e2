//! The thin adapter between the delivery machine and a sink: HTTP requests out, answers in.

mod client;
mod index;
mod making;
mod mapping;
mod preflight;
mod prepare;
mod tls;

pub(crate) use client::is_loopback;
pub use client::{Answer, Sink, SinkError, SinkOptions};
pub use index::{Ensured, GC_DELETES, IndexInfo, Product, ScrolledId};
pub use mapping::{Origin, propose};
pub use prepare::{Identities, Known, Preparation, Prepared, options};
