//! The stages with real components: those that are shipped, and those that misbehave.

mod cache;
mod contract;
mod digests;
mod grants;
mod harness;
mod hostile;
mod kept;
mod load;
mod names;
mod raw;
mod sdks;
mod select;
mod trio;
mod where_;
