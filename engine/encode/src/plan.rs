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

use hashbrown::HashTable;
use tidemill_change::{BUCKET_LAST, Change, Lsn, NO_ROW, OldImage, Op, Staged, Version};

use crate::lane::{Lane, Outcome};
use crate::place::{Arena, Image, Place, Placeless};
use crate::{Counts, Encoding, Error};

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
    outdated: bool,
}

/// A change that makes no action because it was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) batch: u32,
    pub(crate) change: u32,
    pub(crate) version: Version,
    pub(crate) place: Option<Place>,
    pub(crate) why: Why,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    Outcome(Outcome),
    Placeless(Placeless),
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
}

impl Plan {
    pub(crate) fn make(&mut self, encoding: &Encoding, lanes: &mut [Lane<'_>]) -> Result<(), Error> {
        self.arena.bytes.clear();
        self.actions.clear();
        self.refused.clear();
        self.counts = Counts::default();
        self.last.clear();
        let changes = lanes.iter().map(|lane| lane.staged.source.changes.len()).sum();
        let actions = &self.actions;
        self.last.reserve(changes, |&at| actions[at as usize].place.key);
        let mut planner = Planner { encoding, plan: self };
        in_order(lanes, |lanes, batch, change| planner.change(lanes, batch, change))
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
        if change.op == Op::Delete {
            return self.delete(lanes, seen);
        }
        if change.row == NO_ROW {
            return Err(Error::batch(format!("a batch of {} is not sound: a row is missing", lane.places.relation)));
        }
        match lane.outcome(change.row) {
            Outcome::Document(document) => self.index(lanes, seen, document),
            Outcome::Filtered => self.filtered(lanes, seen),
            Outcome::Unreadable(first) => {
                placeable(lane, first)?;
                self.refuse_outcome(lanes, seen, Outcome::Unreadable(first));
            }
            refused => self.refuse_outcome(lanes, seen, refused),
        }
        Ok(())
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
            Ok(place) => self.push_delete(lanes, seen, place),
            Err(why @ Placeless::Untold(_)) => self.refuse(seen, None, Why::Placeless(why)),
            // No document can be there.
            Err(_) => self.plan.counts.placeless += 1,
        }
        Ok(())
    }

    /// Indexes a row, and where it came from another place deletes it there.
    fn index(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, document: u32) {
        let lane = &lanes[seen.batch as usize];
        let new = match self.place(lane, seen, Image::New) {
            Ok(new) => new,
            Err(why) => return self.refuse(seen, None, Why::Placeless(why)),
        };
        if let Some(old) = self.old_place(lane, seen)
            && !old.is(new, &self.plan.arena.bytes)
        {
            self.push_delete(lanes, seen, old);
        }
        self.push(seen, new, document);
    }

    /// A row that no document was made of: an update may have made it leave, an insert changes nothing.
    fn filtered(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>) {
        self.plan.counts.filtered += 1;
        if seen.change.op == Op::Insert {
            return;
        }
        let lane = &lanes[seen.batch as usize];
        let place = match seen.change.old_image {
            OldImage::None => self.place(lane, seen, Image::New).ok(),
            OldImage::Key | OldImage::Full => self.old_place(lane, seen),
        };
        if let Some(place) = place {
            self.push_delete(lanes, seen, place);
        }
    }

    fn refuse_outcome(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, outcome: Outcome) {
        let lane = &lanes[seen.batch as usize];
        let place = self.place(lane, seen, Image::New).ok();
        if let Some(place) = place
            && let Some(&last) = self.last(place)
        {
            self.plan.actions[last as usize].outdated = true;
        }
        self.refuse(seen, place, Why::Outcome(outcome));
    }

    fn refuse(&mut self, seen: Seen<'_>, place: Option<Place>, why: Why) {
        self.plan.refused.push(Refused { batch: seen.batch, change: seen.at, version: seen.version, place, why });
    }

    fn place(&mut self, lane: &Lane<'_>, seen: Seen<'_>, image: Image) -> Result<Place, Placeless> {
        lane.places.write(seen.change, image, &lane.images, &mut self.plan.arena)
    }

    /// Where an update's row was before, if it tells and a document could be there.
    fn old_place(&mut self, lane: &Lane<'_>, seen: Seen<'_>) -> Option<Place> {
        if seen.change.old == NO_ROW || seen.change.old_image == OldImage::None {
            return None;
        }
        self.place(lane, seen, Image::Old).ok()
    }

    fn push_delete(&mut self, lanes: &[Lane<'_>], seen: Seen<'_>, place: Place) {
        if self.is_taken(lanes, seen, place) {
            self.plan.counts.superseded += 1;
            return;
        }
        self.push(seen, place, NO_ROW);
    }

    /// Whether another row has moved to the place that this row leaves, within its transaction: a deferred key lets two
    /// rows trade places, and the document there is then the other's. The full old image tells: it is not the image
    /// that was indexed.
    fn is_taken(&self, lanes: &[Lane<'_>], seen: Seen<'_>, place: Place) -> bool {
        if seen.change.old_image != OldImage::Full || !self.encoding.takes_all_rows() {
            return false;
        }
        let Some(&last) = self.last(place) else { return false };
        let last = &self.plan.actions[last as usize];
        if last.document == NO_ROW || last.outdated || last.batch != seen.batch {
            return false;
        }
        let lane = &lanes[seen.batch as usize];
        let source = &lane.staged.source;
        let indexed = lane.change(last.change);
        indexed.commit == seen.change.commit
            && source.rows.slice(indexed.row as usize, 1) != source.old.slice(seen.change.old as usize, 1)
    }

    fn last(&self, place: Place) -> Option<&u32> {
        let Plan { arena, actions, last, .. } = &*self.plan;
        last.find(place.key, |&at| same(&actions[at as usize], place, &arena.bytes))
    }

    fn push(&mut self, seen: Seen<'_>, place: Place, document: u32) {
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
                actions[earlier as usize].live = false;
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
        });
    }
}

/// A row that cannot be read becomes a dead letter by the name of its document. Where that name is what cannot be read,
/// nothing tells which document is no longer right, and only somebody who knows the row can.
fn placeable(lane: &Lane<'_>, first: usize) -> Result<(), Error> {
    let Some(cell) = lane.unreadable(first).find(|cell| lane.places.used.contains(&(cell.column as usize))) else {
        return Ok(());
    };
    let relation = &lane.places.relation;
    let name = &relation.columns[cell.column as usize].name;
    Err(Error::batch(format!(
        "column `{name}` of {relation}, which names the documents, has a value that cannot be read ({}): mend or delete the row;          a backfill can then go on, and a change that is in the WAL already is passed by `tidemill teardown` and `tidemill run`, which          reads all rows anew",
        cell.message
    )))
}

/// Whether a planned action is about the document at that place. The index is in the arena for all of a stream's batches
/// or for none.
fn same(planned: &Planned, place: Place, arena: &[u8]) -> bool {
    planned.place.key == place.key && planned.place.is(place, arena)
}
