//! Settle as its callers see it.

mod answers;
mod delivery;
mod delivery_model;
mod ledger;
mod progress;

#[path = "../../../../tests/fuzz/src/answer.rs"]
mod fuzz;
