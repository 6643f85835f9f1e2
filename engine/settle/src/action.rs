//! What is sent, as answers and delivery both speak of it.

/// What an action does to its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    Index,
    Delete,
}
