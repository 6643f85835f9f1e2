//! When a request goes, and what is in it.

use std::collections::VecDeque;

use super::items::{Command, Group, Item, ItemRef, Lot, RequestId, Slice};
use super::keys::{Keys, Parked};
use super::{Delivery, Load};
use crate::ids::GroupId;

/// A request in flight.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) lots: Vec<Lot>,
    pub(super) documents: u32,
    pub(super) bytes: u64,
    serial: bool,
    /// Half of one that was refused as a whole: until it succeeds it goes without others.
    pub(super) alone: bool,
}

/// How large a request may get, and whether it would be the only one.
#[derive(Clone, Copy, Debug)]
struct Room {
    documents: u32,
    bytes: u64,
    only: bool,
}

/// A request that is being put together.
#[derive(Debug)]
struct Draft {
    room: Room,
    lots: Vec<Lot>,
    documents: u32,
    bytes: u64,
    serial: bool,
}

impl Draft {
    fn new(room: Room) -> Draft {
        Draft { room, lots: Vec::new(), documents: 0, bytes: 0, serial: false }
    }

    /// Whether an item goes in. The first one does however large it is, else it never would.
    fn takes(&self, item: &Item) -> bool {
        if self.documents == 0 {
            return self.room.only || !item.serial;
        }
        self.documents < self.room.documents
            && self.bytes + u64::from(item.bytes) <= self.room.bytes
            && self.serial == item.serial
    }

    fn push(&mut self, at: ItemRef, failures: u32, item: &Item) {
        Lot::push(&mut self.lots, at, failures);
        self.documents += 1;
        self.bytes += u64::from(item.bytes);
        self.serial = item.serial;
    }

    /// Takes items of a group from the queue, parking those whose document is held. Says whether it took them all.
    fn fill(&mut self, id: GroupId, group: &mut Group, keys: &mut Keys, waiting: &mut Load) -> bool {
        let mut passed = Load::default();
        for (item, index) in group.items[group.next as usize..].iter().zip(group.next..) {
            if !self.takes(item) {
                break;
            }
            let at = ItemRef { group: id, index };
            if keys.take(item.key, Parked { item: at, bytes: item.bytes }) {
                self.push(at, 0, item);
            }
            passed.add(1, u64::from(item.bytes));
        }
        group.next += passed.documents as u32;
        waiting.sub(passed.documents, passed.bytes);
        group.next as usize == group.items.len()
    }

    /// Takes from a lot whose documents are held already. Returns what is left of it.
    fn fill_ready(&mut self, lot: Lot, group: &Group, waiting: &mut Load) -> Option<Lot> {
        let Slice { group: id, start, len } = lot.slice;
        for (item, index) in group.slice(lot.slice).iter().zip(start..) {
            if !self.takes(item) {
                let slice = Slice { group: id, start: index, len: start + len - index };
                return Some(Lot { slice, ..lot });
            }
            self.push(ItemRef { group: id, index }, lot.failures, item);
            waiting.sub(1, u64::from(item.bytes));
        }
        None
    }

    fn finish(self, alone: bool) -> Option<Request> {
        let Draft { lots, documents, bytes, serial, .. } = self;
        (documents > 0).then_some(Request { lots, documents, bytes, serial, alone })
    }
}

impl Delivery {
    /// Sends whatever may be sent now.
    pub(super) fn pump(&mut self) {
        self.wake_later();
        while let Some(room) = self.room() {
            let Some(request) = self.next_request(room) else { break };
            self.send(request);
        }
    }

    /// Items whose delay is over may go again.
    fn wake_later(&mut self) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            for lot in entry.remove() {
                self.make_ready(lot, VecDeque::push_back);
            }
        }
    }

    /// Puts a lot whose documents are held among those that may be sent, at either end.
    pub(super) fn make_ready(&mut self, lot: Lot, push: fn(&mut VecDeque<Lot>, Lot)) {
        let items = self.groups[&lot.slice.group].slice(lot.slice);
        self.waiting.add(items.len(), items.iter().map(|item| u64::from(item.bytes)).sum());
        push(&mut self.ready, lot);
    }

    /// Whether a request may go now, and how large it may be.
    ///
    /// While none is in flight, whatever is there goes; beside others only a full one, unless they take long. So
    /// requests are small while the sink is idle and full under load, by one rule.
    fn room(&self) -> Option<Room> {
        let in_flight = self.requests.len();
        let only = in_flight == 0;
        if self.paused.is_some() || self.requests.values().any(|request| request.serial) {
            return None;
        }
        let room = Room { documents: self.pace.documents(), bytes: self.pace.bytes(), only };
        let now = self.now;
        if let Some(full) = self.full {
            return (only && now >= full.probe_at && now >= self.gate.opens_at())
                .then_some(Room { documents: 1, ..room });
        }
        let window = if self.gate.is_failing() { 1 } else { self.pace.in_flight() as usize };
        if in_flight >= window || now < self.gate.opens_at() {
            return None;
        }
        let enough = self.waiting.documents >= room.documents as usize || self.waiting.bytes >= room.bytes;
        let long = now >= self.last_sent + self.limits.partial_wait;
        (only || !self.pieces.is_empty() || (self.waiting.documents > 0 && (enough || long))).then_some(room)
    }

    fn next_request(&mut self, room: Room) -> Option<Request> {
        // A probe of a full sink is one document, and the refused ones are in front of `ready`.
        let probes = self.full.is_some() && self.waiting.documents > 0;
        if let Some(lots) = self.pieces.pop_front_if(|_| !probes) {
            return self.whole(lots, room);
        }
        let mut draft = Draft::new(room);
        while let Some(lot) = self.ready.pop_front() {
            let group = &self.groups[&lot.slice.group];
            if let Some(rest) = draft.fill_ready(lot, group, &mut self.waiting) {
                self.ready.push_front(rest);
                return draft.finish(false);
            }
        }
        while let Some(&id) = self.queue.front() {
            let group = self.groups.get_mut(&id).expect("a queued group has items that did not settle");
            if !draft.fill(id, group, &mut self.keys, &mut self.waiting) {
                break;
            }
            self.queue.pop_front();
        }
        draft.finish(false)
    }

    /// A piece as a request of its own, or back again if it has to be the only one and is not.
    fn whole(&mut self, lots: Vec<Lot>, room: Room) -> Option<Request> {
        let mut draft = Draft::new(Room { documents: u32::MAX, bytes: u64::MAX, ..room });
        for lot in &lots {
            for (item, index) in self.groups[&lot.slice.group].slice(lot.slice).iter().zip(lot.slice.start..) {
                if !draft.takes(item) {
                    self.pieces.push_front(lots);
                    return None;
                }
                draft.push(ItemRef { group: lot.slice.group, index }, lot.failures, item);
            }
        }
        draft.finish(true)
    }

    fn send(&mut self, request: Request) {
        let id = self.next_request;
        self.next_request = RequestId(id.0 + 1);
        self.last_sent = self.now;
        self.totals.requests += 1;
        if let Some(full) = &mut self.full {
            full.probe = Some(id);
        }
        self.commands.push_back(Command::Send {
            request: id,
            slices: pieces_of_bodies(&request.lots),
            documents: request.documents,
            bytes: request.bytes,
        });
        self.requests.insert(id, request);
    }
}

/// Lots as the caller sees them: how often they were refused is of no interest there, so neighbours are one.
fn pieces_of_bodies(lots: &[Lot]) -> Vec<Slice> {
    let mut slices: Vec<Slice> = Vec::with_capacity(lots.len());
    for lot in lots {
        match slices.last_mut() {
            Some(last) if last.group == lot.slice.group && last.start + last.len == lot.slice.start => {
                last.len += lot.slice.len;
            }
            _ => slices.push(lot.slice),
        }
    }
    slices
}
