//! An action of a cut, before its lines are written.

use tidemill_change::Version;

use crate::place::Place;

/// An action that may yet be superseded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) place: Place,
    pub(crate) version: Version,
    pub(crate) batch: u32,
    pub(crate) change: u32,
    /// The document to index, or [`NO_ROW`] for a delete.
    pub(crate) document: u32,
    pub(crate) serial: bool,
    pub(crate) live: bool,
    /// A later change of the document was rejected, so that `document` is not what its row last was.
    pub(crate) outdated: bool,
    /// The rows that came to this place, but for as many as have left it since: so many may be about to leave it that
    /// were there before.
    pub(crate) arrivals: u32,
}
