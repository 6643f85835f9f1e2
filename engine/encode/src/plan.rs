//! Which actions a cut comes to: its changes in the order of their commits, each turned into what it does to documents,
//! and of all that is done to one document only the last.
//!
//! ```text
//! changes ──► order (commit, ordinal) ──► index / delete at a place ──► last of each place
//! ```
//!
//! Invariant: applied in order, the actions that stay leave the same documents as all of them would.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow_array::RecordBatch;
use hashbrown::HashTable;
use tidemill_change::{BUCKET_LAST, Change, ChangeBatch, Lsn, NO_ROW, Named, OldImage, Op, Staged, Version};

use crate::given::{self, Given};
use crate::lane::{Lane, Outcome};
use crate::moves::{self, MOVES_MAX, Moves, Whose};
use crate::place::{Arena, Image, Place};
use crate::placeless::Placeless;
use crate::planned::Planned;
use crate::{Counts, Encoding, Error};

/// A change that makes no action because it was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) batch: u32,
    pub(crate) change: u32,
    pub(crate) version: Version,
    pub(crate) place: Option<Place>,
    /// The places of its other documents, where there were to be several.
    pub(crate) also: Vec<Place>,
    pub(crate) why: Why,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    Outcome(Outcome),
    Placeless(Placeless),
    /// Its name is that of a row with another key, too.
    Conflict,
    /// Only a whole old image tells which documents a delete means.
    Unnamed,
    /// A reject of a row that was asked for its names, among `named.untold`.
    Untold(usize),
}

/// Memory that one cut leaves to the next, and what the cut came to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) arena: Arena,
    pub(crate) actions: Vec<Planned>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) counts: Counts,
    /// The last action of each document.
    last: HashTable<u32>,
    /// What earlier cuts of a transaction leave to its next.
    moves: Moves,
    /// Places whose row was last refused, so that nothing is known of what is there.
    forgotten: Vec<u64>,
}

impl Plan {
    /// After an error nothing is kept of the cut. `goes_on`: it ends inside a transaction.
    pub(crate) fn make(&mut self, encoding: &Encoding, lanes: &mut [Lane<'_>], goes_on: bool) -> Result<(), Error> {
        self.moves.begin(lanes);
        self.arena.bytes.clear();
        self.forgotten.clear();
        self.actions.clear();
        self.refused.clear();
        self.counts = Counts::default();
        self.last.clear();
        let changes = lanes.iter().map(|lane| lane.staged.source.changes.len()).sum();
        let actions = &self.actions;
        self.last.reserve(changes, |&at| actions[at as usize].place.key);
        let mut planner = Planner { encoding, plan: self };
        in_order(lanes, |lanes, batch, change| planner.change(lanes, batch, change))?;
        if goes_on {
            self.moves.keep(lanes, &self.actions, &self.forgotten, &self.arena.bytes)
        } else {
            self.moves.clear();
            Ok(())
        }
    }
}

/// When a change happened.
type Moment = (Lsn, u32);

fn moment(staged: &Staged, at: usize) -> Option<Moment> {
    let change = staged.source.changes.get(at)?;
    Some((staged.source.commit_of(change).lsn, change.ordinal))
}

/// Calls for every change of the cut in WAL order. Batches are each in order; mostly one is wholly before the next, so
/// a batch is followed for as long as it is the earliest.
fn in_order<'a>(
    lanes: &mut [Lane<'a>],
    mut call: impl FnMut(&mut [Lane<'a>], u32, u32) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = |(batch, lane): (usize, &Lane<'_>)| Some(Reverse((moment(lane.staged, 0)?, batch, 0)));
    let mut heads: BinaryHeap<Reverse<(Moment, usize, usize)>> = lanes.iter().enumerate().filter_map(start).collect();
    while let Some(Reverse((_, batch, mut at))) = heads.pop() {
        let staged = lanes[batch].staged;
        let count = staged.source.changes.len();
        let until = heads.peek().map(|Reverse((moment, ..))| *moment);
        while at < count {
            call(lanes, batch as u32, at as u32)?;
            at += 1;
            if let Some(until) = until
                && let Some(next) = moment(staged, at)
                && next > until
            {
                heads.push(Reverse((next, batch, at)));
                break;
            }
        }
    }
    Ok(())
}

struct Planner<'a> {
    encoding: &'a Encoding,
    plan: &'a mut Plan,
}

/// A change with what is known of it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    batch: u32,
    at: u32,
    change: &'a Change,
    version: Version,
}

impl Planner<'_> {
    fn change(&mut self, lanes: &mut [Lane<'_>], batch: u32, at: u32) -> Result<(), Error> {
        let lane = &mut lanes[batch as usize];
        let change = lane.change(at);
        if !self.encoding.takes(change.op) {
            self.plan.counts.excluded += 1;
            return Ok(());
        }
        let commit = lane.staged.source.commit_of(change).lsn;
        let version = Version::new(self.encoding.epoch, commit, change.bucket).ok_or_else(|| {
            Error::batch(format!("the commit at {commit} no longer fits a version: 8 PiB of WAL is their limit"))
        })?;
        let seen = Seen { batch, at, change, version };
        if let Some(named) = lane.named {
            let outcome = (change.row != NO_ROW).then(|| lane.outcome(change.row));
            return self.named(lanes, seen, named, outcome);
        }
        if change.op == Op::Delete {
            return self.delete(lanes, seen);
        }
        if change.row == NO_ROW {
            return Err(Error::batch(format!("a batch of {} is not sound: a row is missing", lane.places.relation)));
        }
        match lane.outcome(change.row) {
            Outcome::Document(document) => self.index(lanes, seen, document),
            Outcome::Filtered => self.filtered(lanes, seen),
            refused => self.refuse_outcome(lanes, seen, refused),
        }
    }

    fn delete(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>) -> Result<(), Error> {
        let lane = &lanes[seen.batch as usize];
        if seen.change.old == NO_ROW || seen.change.old_image == OldImage::None {
            let relation = &lane.places.relation;
            return Err(Error::shape(format!(
                "a delete of {relation} does not tell its row: set it by `alter table {relation} replica identity full`"
            )));
        }
        match self.place(lane, seen, Image::Old) {
            Ok(place) => return self.push_delete(lanes, seen, place),
            Err(why @ Placeless::Untold(_)) => self.refuse(seen, None, Why::Placeless(why)),
            // No document can be there.
            Err(_) => self.plan.counts.placeless += 1,
        }
        Ok(())
    }

    /// Indexes a row, and where it came from another place deletes it there.
    fn index(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, document: u32) -> Result<(), Error> {
        let lane = &lanes[seen.batch as usize];
        let new = match self.place(lane, seen, Image::New) {
            Ok(new) => new,
            Err(why) => {
                self.leave(lanes, seen, None)?;
                self.refuse(seen, None, Why::Placeless(why));
                return Ok(());
            }
        };
        let has_moved = self.leave(lanes, seen, Some(new))?;
        self.push(seen, new, document, u32::from(has_moved || seen.change.op != Op::Update));
        Ok(())
    }

    /// Deletes the document that a row had at another place than its new one. Whatever becomes of the row, its key or what
    /// else named that document is not there any more.
    fn leave(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, new: Option<Place>) -> Result<bool, Error> {
        let Some(old) = self.old_place(&lanes[seen.batch as usize], seen) else { return Ok(false) };
        if new.is_some_and(|new| old.is(new, &self.plan.arena.bytes)) {
            return Ok(false);
        }
        self.push_delete(lanes, seen, old)?;
        Ok(true)
    }

    /// A row that no document was made of: an update may have made it leave, an insert changes nothing.
    fn filtered(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>) -> Result<(), Error> {
        self.plan.counts.filtered += 1;
        if seen.change.op != Op::Update {
            return Ok(());
        }
        let lane = &lanes[seen.batch as usize];
        let place = match seen.change.old_image {
            OldImage::None => self.place(lane, seen, Image::New).ok(),
            OldImage::Key | OldImage::Full => self.old_place(lane, seen),
        };
        place.map_or(Ok(()), |place| self.push_delete(lanes, seen, place))
    }

    /// A row that nothing can be made of. Where its name is what cannot be read, no document of it can be there.
    fn refuse_outcome(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, outcome: Outcome) -> Result<(), Error> {
        let lane = &lanes[seen.batch as usize];
        let place = self.place(lane, seen, Image::New).ok();
        self.leave(lanes, seen, place)?;
        if let Some(place) = place {
            self.forget(place);
        }
        self.refuse(seen, place, Why::Outcome(outcome));
        Ok(())
    }

    /// A change of a table whose documents stages name: they told the names of its row as it was.
    fn named(
        &mut self,
        lanes: &[Lane<'_>],
        seen: Seen<'_>,
        named: &Named,
        outcome: Option<Outcome>,
    ) -> Result<(), Error> {
        let lane = &lanes[seen.batch as usize];
        let mut why = match outcome {
            None | Some(Outcome::Document(_) | Outcome::Several(_) | Outcome::Filtered) => None,
            Some(refused) => Some(Why::Outcome(refused)),
        };
        let documents = if seen.change.row == NO_ROW { 0..0 } else { lane.documents(seen.change.row) };
        let mut new = Vec::with_capacity(documents.len());
        for document in documents {
            match self.given_place(lane, seen, Image::New, Given::of(named, &named.documents, document as usize)) {
                Ok(place) => new.push((place, document)),
                Err(placeless) => why = why.or(Some(Why::Placeless(placeless))),
            }
        }
        if !self.are_distinct(&new) {
            why = why.or(Some(Why::Outcome(Outcome::Several(new.len()))));
        } else if lane.conflicts.binary_search(&seen.change.row).is_ok() {
            why = why.or(Some(Why::Conflict));
        }
        let mut old = Vec::new();
        why = why.or(self.were(lane, seen, named, &mut old));
        let mut stay: Vec<Place> = new.iter().map(|(place, _)| *place).collect();
        if why.is_some() {
            // What the row would have been called, had it not been refused.
            for at in given::range(&named.refused, seen.at) {
                let given = Given::of(named, &named.refused.names, at);
                stay.extend(self.given_place(lane, seen, Image::New, given));
            }
        }
        let is_among = |planner: &Planner<'_>, places: &[Place], place: Place| {
            places.iter().any(|other| other.is(place, &planner.plan.arena.bytes))
        };
        for place in &old {
            if !is_among(self, &stay, *place) {
                self.push_delete(lanes, seen, *place)?;
            }
        }
        if let Some(why) = why {
            stay.iter().for_each(|place| self.forget(*place));
            self.refuse(seen, stay, why);
            return Ok(());
        }
        match outcome {
            Some(Outcome::Filtered) => self.plan.counts.filtered += 1,
            None if old.is_empty() => self.plan.counts.placeless += 1,
            _ => {}
        }
        for (place, document) in new {
            let arrivals = u32::from(!is_among(self, &old, place));
            self.push(seen, place, document, arrivals);
        }
        Ok(())
    }

    /// Adds where the documents of the row as it was may be; gives why that cannot be told.
    fn were(&mut self, lane: &Lane<'_>, seen: Seen<'_>, named: &Named, old: &mut Vec<Place>) -> Option<Why> {
        let is_delete = seen.change.op == Op::Delete;
        if is_delete && named.of_row && seen.change.old_image != OldImage::Full {
            return Some(Why::Unnamed);
        }
        for at in given::range(&named.were, seen.at) {
            match self.given_place(lane, seen, Image::Old, Given::of(named, &named.were.names, at)) {
                Ok(place) => old.push(place),
                Err(why @ Placeless::Untold(_)) if is_delete => return Some(Why::Placeless(why)),
                // No document can be there.
                Err(_) => {}
            }
        }
        named.untold.binary_search_by_key(&seen.at, |reject| reject.row).ok().map(Why::Untold)
    }

    fn given_place(
        &mut self,
        lane: &Lane<'_>,
        seen: Seen<'_>,
        image: Image,
        given: Given<'_>,
    ) -> Result<Place, Placeless> {
        lane.places.write(seen.change, image, &lane.images, given, &mut self.plan.arena)
    }

    /// Whether no two documents of one row are at one place.
    fn are_distinct(&self, places: &[(Place, u32)]) -> bool {
        let arena = &self.plan.arena.bytes;
        let mut bytes: Vec<_> = places.iter().map(|(place, _)| (place.index(arena), place.id(arena))).collect();
        bytes.sort_unstable();
        bytes.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Nothing is known any more of what is at a place.
    fn forget(&mut self, place: Place) {
        self.plan.forgotten.push(moves::hash(place, &self.plan.arena.bytes));
        if let Some(&last) = self.last(place) {
            self.plan.actions[last as usize].outdated = true;
        }
    }

    /// Keeps what would have been at these places.
    fn refuse(&mut self, seen: Seen<'_>, places: impl IntoIterator<Item = Place>, why: Why) {
        let mut places = places.into_iter();
        let (place, also) = (places.next(), places.collect());
        let Seen { batch, at: change, version, .. } = seen;
        self.plan.refused.push(Refused { batch, change, version, place, also, why });
    }

    fn place(&mut self, lane: &Lane<'_>, seen: Seen<'_>, image: Image) -> Result<Place, Placeless> {
        lane.places.write(seen.change, image, &lane.images, Given::default(), &mut self.plan.arena)
    }

    /// Where an update's row was before, if it tells and a document could be there.
    fn old_place(&mut self, lane: &Lane<'_>, seen: Seen<'_>) -> Option<Place> {
        if seen.change.old == NO_ROW || seen.change.old_image == OldImage::None {
            return None;
        }
        self.place(lane, seen, Image::Old).ok()
    }

    fn push_delete(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, place: Place) -> Result<(), Error> {
        if self.is_taken(lanes, seen, place)? {
            self.plan.counts.superseded += 1;
            return Ok(());
        }
        self.push(seen, place, NO_ROW, 0);
        Ok(())
    }

    /// Whether another row has moved to the place that this row leaves, within its transaction: a deferred key lets two
    /// rows trade places, and the document there is then the other's. The full old image tells: it is not the image
    /// that was indexed.
    fn is_taken(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, place: Place) -> Result<bool, Error> {
        if seen.change.old_image != OldImage::Full || !self.encoding.takes_all_rows() {
            return Ok(false);
        }
        let lane = &lanes[seen.batch as usize];
        let source = &lane.staged.source;
        let row = source.old.slice(seen.change.old as usize, 1);
        let Some(&last) = self.last(place) else { return self.was_taken(lane, seen, place, &row) };
        let action = &self.plan.actions[last as usize];
        if action.document == NO_ROW || action.outdated {
            return Ok(false);
        }
        let its = &lanes[action.batch as usize];
        let indexed = its.change(action.change);
        let is_same_commit = its.staged.source.commit_of(indexed).lsn == source.commit_of(seen.change).lsn;
        let told = [&**source, &*its.staged.source];
        if lane.places.are_shared {
            told.into_iter().try_for_each(moves::require_whole)?;
        }
        let taken = is_same_commit && is_another(told[1], indexed.row, told[0], &row);
        if taken {
            let arrivals = &mut self.plan.actions[last as usize].arrivals;
            *arrivals = arrivals.saturating_sub(1);
        }
        Ok(taken)
    }

    /// The same, by what earlier cuts of the transaction brought there.
    fn was_taken(&self, lane: &Lane<'_>, seen: Seen<'_>, place: Place, row: &RecordBatch) -> Result<bool, Error> {
        if !lane.shares_places {
            return Ok(false);
        }
        moves::require_whole(&lane.staged.source)?;
        let relation = &lane.places.relation;
        let place = moves::hash(place, &self.plan.arena.bytes);
        if self.plan.forgotten.contains(&place) {
            return Ok(false);
        }
        let commit = lane.staged.source.commit_of(seen.change).lsn;
        match self.plan.moves.whose(commit, place, relation, row)? {
            Whose::Its => Ok(false),
            Whose::Anothers => Ok(true),
            Whose::Unknown => Err(Error::batch(format!(
                "the transaction committed at {commit} brings rows of {relation} to more than {MOVES_MAX} keys and takes others away from \
                 them, which its deferrable key allows, and nothing tells any more which of them stay: `tidemill teardown` and \
                 `tidemill run` reads all rows anew"
            ))),
        }
    }

    fn last(&self, place: Place) -> Option<&u32> {
        let Plan { arena, actions, last, .. } = &*self.plan;
        last.find(place.key, |&at| same(&actions[at as usize], place, &arena.bytes))
    }

    fn push(&mut self, seen: Seen<'_>, place: Place, document: u32, mut arrivals: u32) {
        let Plan { arena, actions, last, counts, .. } = &mut *self.plan;
        let next = actions.len() as u32;
        let entry = last.entry(
            place.key,
            |&at| same(&actions[at as usize], place, &arena.bytes),
            |&at| actions[at as usize].place.key,
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut entry) => {
                let earlier = std::mem::replace(entry.get_mut(), next);
                let earlier = &mut actions[earlier as usize];
                earlier.live = false;
                arrivals += earlier.arrivals;
                counts.superseded += 1;
            }
            hashbrown::hash_table::Entry::Vacant(entry) => {
                entry.insert(next);
            }
        }
        actions.push(Planned {
            place,
            version: seen.version,
            batch: seen.batch,
            change: seen.at,
            document,
            serial: seen.change.bucket >= BUCKET_LAST,
            live: true,
            outdated: false,
            arrivals,
        });
    }
}

/// Whether the row that was indexed is not the one whose old image this is. Of a table that changed its shape in between,
/// the columns tell that both shapes have; of one whose rows never meet at a place, those that neither leaves out.
fn is_another(source: &ChangeBatch, indexed: u32, leaving: &ChangeBatch, old: &RecordBatch) -> bool {
    let relation = &leaving.relation;
    if source.relation.id != relation.id {
        return true;
    }
    let named = source.relation.columns.iter().zip(source.rows.columns()).enumerate();
    named.filter(|(place, _)| !source.left_out.has(*place)).any(|(_, (column, values))| {
        let at = relation.column(&column.name).filter(|&at| relation.columns[at].kind == column.kind);
        let at = at.filter(|&at| !leaving.left_out.has(at));
        at.is_some_and(|at| values.slice(indexed as usize, 1).as_ref() != old.column(at).as_ref())
    })
}

/// Whether a planned action is about the document at that place. The index is in the arena for all of a stream's batches
/// or for none.
fn same(planned: &Planned, place: Place, arena: &[u8]) -> bool {
    planned.place.key == place.key && planned.place.is(place, arena)
}
