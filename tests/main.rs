//! The integration suite: the built binary against a real Postgres and a real index.
//!
//! A test reads like a story: it makes a world, says something in SQL, runs the engine, and looks at the documents.

mod author;
mod backfill;
mod bad_input;
mod bulk_cases;
mod cli;
mod continuity;
mod demo;
mod documented;
mod harness;
mod keys;
mod kill;
mod misdeeds;
mod naming;
mod needs;
mod predicates;
mod said;
mod servers;
mod shipped;
mod sink;
mod stream;
mod trouble;
mod unreadable;
