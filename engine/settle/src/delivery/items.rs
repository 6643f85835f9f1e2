use std::fmt;

use tidemill_change::Version;

use crate::action::ActionKind;
use crate::answer::{Pause, SinkError};
use crate::ids::GroupId;

/// A request, numbered by the delivery in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One action as far as delivery has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The document: equal for equal index and `_id`. A hash will do, since two documents that share one are only sent
    /// one after the other.
    pub key: u64,
    pub version: Version,
    /// The size of its lines, with their newlines.
    pub bytes: u32,
    pub kind: ActionKind,
    /// Its version is shared with other actions of the document ([`tidemill_change::BUCKET_LAST`]): nothing else may
    /// be in flight beside its request.
    pub serial: bool,
}

/// An action's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemRef {
    pub group: GroupId,
    pub index: u32,
}

/// Neighbouring actions of one group: one piece of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    pub group: GroupId,
    pub start: u32,
    pub len: u32,
}

/// What the caller has to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send these lines, in this order, as one request.
    Send { request: RequestId, slices: Vec<Slice>, documents: u32, bytes: u64 },
    /// Make this action a durable dead letter, then say [`super::Delivery::dead_lettered`].
    DeadLetter { item: ItemRef, error: SinkError },
    /// A delete settled whose document an earlier request of unknown outcome may still bring back: read it back once
    /// the tombstone is gone. Take the id out of the body before the group is done.
    ReadBack { item: ItemRef },
    /// So many actions of a group settled.
    Settled { group: GroupId, counts: Counts },
    /// All of a group settled: its body is not needed any more.
    GroupDone(GroupId),
    /// Nothing is sent any more, until [`super::Delivery::resume`], or until the sink has room again.
    Pause(Pause),
    /// The sink has room again.
    Resumed,
}

/// How actions settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub indexed: u32,
    pub deleted: u32,
    /// Deletes of what was not there.
    pub not_found: u32,
    /// The index had a higher version.
    pub stale: u32,
    pub dead: u32,
}

impl Counts {
    pub fn total(&self) -> u32 {
        self.indexed + self.deleted + self.not_found + self.stale + self.dead
    }
}

/// A slice whose documents this delivery holds, and how often in a row it was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lot {
    pub(super) slice: Slice,
    pub(super) failures: u32,
}

impl Lot {
    /// Appends an item to lots, to the last one where it follows it.
    pub(super) fn push(lots: &mut Vec<Lot>, item: ItemRef, failures: u32) {
        if let Some(last) = lots.last_mut() {
            let end = last.slice.start + last.slice.len;
            if (last.slice.group, end, last.failures) == (item.group, item.index, failures) {
                last.slice.len += 1;
                return;
            }
        }
        lots.push(Lot { slice: Slice { group: item.group, start: item.index, len: 1 }, failures });
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) items: Vec<Item>,
    /// The first item that was neither sent nor parked yet.
    pub(super) next: u32,
    /// Items that have not settled.
    pub(super) left: u32,
}

impl Group {
    pub(super) fn slice(&self, slice: Slice) -> &[Item] {
        &self.items[slice.start as usize..][..slice.len as usize]
    }
}
