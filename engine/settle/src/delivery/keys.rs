use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::items::ItemRef;

const NIL: u32 = u32::MAX;

/// Which documents have an action under way, and the later actions that wait for it.
///
/// A document is held from the moment an action of it goes into a request until that action has settled, so retries
/// keep it. Later actions of a held document are parked behind it, in order, and nothing else waits for them. Parked
/// items are links in one vector: nothing is allocated for an item.
#[derive(Debug, Default)]
pub(super) struct Keys {
    held: HashMap<u64, Chain, FixedState>,
    links: Vec<Link>,
    free: u32,
    parked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    parked: Parked,
    next: u32,
}

/// An action that waited for an earlier one of its document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    pub(super) item: ItemRef,
    pub(super) bytes: u32,
}

impl Keys {
    pub(super) fn new() -> Keys {
        Keys { free: NIL, ..Keys::default() }
    }

    /// Takes hold of a document, or parks the action behind the one that has it. Says whether it may be sent.
    pub(super) fn take(&mut self, key: u64, parked: Parked) -> bool {
        match self.held.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Chain { first: NIL, last: NIL });
                true
            }
            Entry::Occupied(mut entry) => {
                let link = Link { parked, next: NIL };
                let at = match self.free {
                    NIL => {
                        self.links.push(link);
                        (self.links.len() - 1) as u32
                    }
                    free => {
                        self.free = self.links[free as usize].next;
                        self.links[free as usize] = link;
                        free
                    }
                };
                let chain = entry.get_mut();
                match chain.last {
                    NIL => chain.first = at,
                    last => self.links[last as usize].next = at,
                }
                chain.last = at;
                self.parked += 1;
                false
            }
        }
    }

    /// The action that held the document settled. The next one, if any, holds it now and may be sent.
    pub(super) fn release(&mut self, key: u64) -> Option<Parked> {
        let Entry::Occupied(mut entry) = self.held.entry(key) else { return None };
        let first = entry.get().first;
        if first == NIL {
            entry.remove();
            return None;
        }
        let Link { parked, next } = self.links[first as usize];
        let chain = entry.get_mut();
        chain.first = next;
        if next == NIL {
            chain.last = NIL;
        }
        self.links[first as usize].next = self.free;
        self.free = first;
        self.parked -= 1;
        Some(parked)
    }

    pub(super) fn parked(&self) -> usize {
        self.parked
    }
}
