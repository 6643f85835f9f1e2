//! Which rows came to which places in a transaction that is too large for one cut.
//!
//! Under a deferrable key two rows can be at one place for a while: one moves in, later the other moves out. The second
//! change's delete is of a document that is no longer its row's. Within a cut the actions tell that; from cut to cut this
//! memory does.
//!
//! Invariants: it knows nothing but the transaction that the last cut ended in, from its beginning; so it is a function of
//! the WAL, however the cuts fell. Of each place it knows the image that was last indexed there, or nothing.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow_array::RecordBatch;
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use tidemill_change::{ChangeBatch, Lsn, NO_ROW, Relation};

use crate::Error;
use crate::document::columns;
use crate::lane::Lane;
use crate::place::Place;
use crate::planned::Planned;

/// The places that are known of one transaction at most: some 40 MB. Those that were left again by the row that was there
/// before are not among them, so keys that are moved up one after the other need hardly any.
pub(crate) const MOVES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// The transaction, and the ordinal behind the last of its changes that were seen.
    within: Option<(Lsn, u32)>,
    places: HashMap<u64, Came>,
    shapes: Vec<Arc<Relation>>,
    /// There were more places than are kept.
    is_full: bool,
}

/// The row that was last indexed at a place.
#[derive(Clone, Copy, Debug)]
struct Came {
    digest: u64,
    shape: u32,
}

/// What is known of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The row's own, or nothing speaks against that.
    Its,
    Anothers,
    /// It was not kept.
    Unknown,
}

impl Moves {
    /// Before a cut: forgets what another transaction left, or an earlier reading of the same one.
    pub(crate) fn begin(&mut self, lanes: &[Lane<'_>]) {
        let Some((within, next)) = self.within else { return };
        let is_again = lanes.iter().any(|lane| {
            let source = &lane.staged.source;
            let mut changes = source.changes.iter();
            changes.find(|change| source.commit_of(change).lsn == within).is_some_and(|change| change.ordinal < next)
        });
        if is_again {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Moves::default();
    }

    /// Whose document is at the place that a row leaves, as far as earlier cuts of its transaction tell.
    pub(crate) fn whose(
        &self,
        commit: Lsn,
        place: u64,
        relation: &Relation,
        row: &RecordBatch,
    ) -> Result<Whose, Error> {
        if self.within.is_none_or(|(within, _)| within != commit) {
            return Ok(Whose::Its);
        }
        let Some(came) = self.places.get(&place) else {
            return Ok(if self.is_full { Whose::Unknown } else { Whose::Its });
        };
        let shape = &self.shapes[came.shape as usize];
        if shape.id != relation.id {
            return Ok(Whose::Anothers);
        }
        // A column may have been added in between.
        let named: Option<Vec<usize>> = shape.columns.iter().map(|column| relation.column(&column.name)).collect();
        let Some(named) = named else { return Ok(Whose::Its) };
        let row = row.project(&named).map_err(|error| Error::batch(error.to_string()))?;
        let digest = Digests::of(&row)?.row(0);
        Ok(if digest == came.digest { Whose::Its } else { Whose::Anothers })
    }

    /// After a cut that ended inside a transaction: keeps where its rows came to. Of a place whose row was deleted or
    /// refused (`forgotten`) nothing is known.
    pub(crate) fn keep(
        &mut self,
        lanes: &[Lane<'_>],
        actions: &[Planned],
        forgotten: &[u64],
        arena: &[u8],
    ) -> Result<(), Error> {
        let last = lanes.iter().filter_map(|lane| {
            let change = lane.staged.source.changes.last()?;
            Some((lane.staged.source.commit_of(change).lsn, change.ordinal + 1))
        });
        let Some(within) = last.max() else { return Ok(()) };
        if self.within.is_some_and(|(before, _)| before != within.0) {
            self.clear();
        }
        self.within = Some(within);
        forgotten.iter().for_each(|place| {
            self.places.remove(place);
        });
        let mut digests: Vec<Option<Digests<'_>>> = lanes.iter().map(|_| None).collect();
        for planned in actions.iter().filter(|planned| planned.live) {
            let lane = &lanes[planned.batch as usize];
            let source = &lane.staged.source;
            let change = lane.change(planned.change);
            if source.commit_of(change).lsn != within.0 {
                continue;
            }
            let place = hash(planned.place, arena);
            if planned.document == NO_ROW || planned.outdated {
                self.places.remove(&place);
                continue;
            }
            let is_known = self.places.contains_key(&place);
            let is_of_interest = planned.arrivals > 0 && lane.shares_places;
            if !is_known && (!is_of_interest || self.places.len() >= MOVES_MAX) {
                self.is_full |= is_of_interest;
                continue;
            }
            if lane.shares_places {
                require_whole(source)?;
            }
            let digests = match &mut digests[planned.batch as usize] {
                Some(digests) => digests,
                empty => empty.insert(Digests::of(&source.rows)?),
            };
            let came = Came { digest: digests.row(change.row as usize), shape: self.shape(&source.relation) };
            self.places.insert(place, came);
        }
        Ok(())
    }

    fn shape(&mut self, relation: &Arc<Relation>) -> u32 {
        let known = self.shapes.iter().position(|known| Arc::ptr_eq(known, relation) || known == relation);
        known.unwrap_or_else(|| {
            self.shapes.push(Arc::clone(relation));
            self.shapes.len() - 1
        }) as u32
    }
}

/// Rows that may meet at one place are told apart by all of their columns.
pub(crate) fn require_whole(source: &ChangeBatch) -> Result<(), Error> {
    match (0..source.relation.columns.len()).find(|column| source.left_out.has(*column)) {
        Some(column) => Err(Error::left_out(&source.relation, column, "telling rows apart that may be at one place")),
        None => Ok(()),
    }
}

/// A place by index, id and routing.
pub(crate) fn hash(place: Place, arena: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(place.key).build_hasher();
    hasher.write(place.routing(arena));
    hasher.finish()
}

/// The rows of a batch as numbers, which differ where the rows do.
struct Digests<'a> {
    columns: Vec<crate::column::Column<'a>>,
    text: Vec<u8>,
}

impl<'a> Digests<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Digests<'a>, Error> {
        Ok(Digests { columns: columns(batch)?, text: Vec::new() })
    }

    fn row(&mut self, row: usize) -> u64 {
        let mut hasher = FixedState::with_seed(0).build_hasher();
        for column in &self.columns {
            self.text.clear();
            let is_null = column.is_null(row);
            if !is_null {
                column.append_text(row, &mut self.text);
            }
            hasher.write_u64(if is_null { u64::MAX } else { self.text.len() as u64 });
            hasher.write(&self.text);
        }
        hasher.finish()
    }
}
