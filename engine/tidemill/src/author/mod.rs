//! Tools for the authors of plugins: a new one from a template, its build, its tests, its figures, and real rows to try it on.
//!
//! ```text
//! new ─► folder ─► build ─► NAME.wasm ─┬─► test      cases: rows in, documents out
//!                                      ├─► bench     beside a plugin that only passes rows through
//!                                      ├─► inspect   what it is, without running it
//! Postgres ─► capture ─► file ─────────┴─► replay    documents of one plugin beside another's
//! ```
//!
//! Rows of cases and captures are written as the text that Postgres sends and go through the engine's own decoder, stages and
//! encoder: what comes out here is what would be in the index. Nothing in here prints; the answers are data.

mod bench;
mod build;
mod capture;
mod case;
mod component;
mod create;
mod diff;
mod inspect;
mod json;
mod language;
mod line;
mod made;
mod mask;
mod project;
mod recording;
mod replay;
mod row;
mod runner;
mod table;
mod test;
mod wal;

pub use bench::{Bench, BenchOptions, BenchRows, Measured, bench};
pub use build::{Built, build, convert};
pub use capture::{CaptureOptions, Captured, capture};
pub use create::{Created, Kind, create};
pub use diff::Difference;
pub use inspect::{Opened, config, grants, inspect, open};
pub use language::{LANGUAGES, Language};
pub use line::FieldDifference;
pub use project::{Component, Project};
pub use recording::{Head, PluginDigest};
pub use replay::{Comparison, Cost, Example, ReplayOptions, Replayed, Side, replay};
pub use table::{Column, Identity, Table};
pub use test::{CaseResult, Options as TestOptions, TestResult, test};
pub use tidemill_stage::{Inspection, NamedInfo, granted_by};

/// All files of `sdk/` and `wit/`, by their paths in the repository.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));
