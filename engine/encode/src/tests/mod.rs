//! The crate from its outside: batches in, lines out.

mod changes;
mod documents;
mod moves;
mod names;
mod places;
mod properties;
mod story;
