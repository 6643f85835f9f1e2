//! Runs the stages of a stream: WebAssembly components that filter and transform whole Arrow batches.
//!
//! ```text
//! ChangeBatch.rows ─► [push: required columns as raw buffers] ─► guest ─► [check: every length, offset, bit] ─┐
//!        │                                                                                                   │
//!        └── all other columns stay here ────────────► the guest's selection, applied once at the end ◄──────┘─► Staged
//! ```
//!
//! wasmtime lives only here. [`Engine`] compiles, [`Plugin`] is a compiled component, [`Chain`] runs a stream's stages, each in
//! instances of its own. Invariants: a guest can fail its rows, its batch or itself, never the host; nothing is built on
//! an answer before all of it was checked; what a stage did not ask for is never copied.

mod abi;
mod cache;
mod chain;
mod check;
mod crossing;
mod engine;
mod error;
mod frame;
mod grants;
mod inspect;
mod instance;
mod known;
mod limits;
mod picked;
mod plan;
mod plugin;
mod push;
mod removal;
mod said;
mod shape;
mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use cache::Cache;
pub use chain::{Chain, NamedInfo, OpenedInfo, OutColumn};
pub use engine::Engine;
pub use error::Error;
pub use grants::{Folder, Grants, Identity, givers};
pub use inspect::{Inspection, granted_by, inspect};
pub use limits::Limits;
pub use plugin::{Plugin, World};
pub use said::{Beyond, Level, LogLine, Logs, Metric, Warning};
pub use stage::{Required, Stage, StageStats};

// Columns cross as they lie in memory, and the contract says little-endian.
#[cfg(target_endian = "big")]
compile_error!("tidemill-stage needs a little-endian machine");
