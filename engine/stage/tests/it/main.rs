//! The stages with real components: those that are shipped, and those that misbehave.

mod cache;
mod digests;
mod harness;
mod hostile;
mod load;
mod names;
mod select;
mod trio;
mod where_;
