//! Why a row has no place.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeless {
    Null(What),
    Empty(What),
    /// The id's length in bytes.
    TooLong(usize),
    /// The old image of a delete does not hold this column of the relation.
    Untold(usize),
    /// A stage named an index as none can be called.
    NoIndexName,
    /// A stage named an index that it was not granted.
    NotGranted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Index,
    Id,
    Routing,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            What::Index => "index",
            What::Id => "id",
            What::Routing => "routing",
        }
    }
}
