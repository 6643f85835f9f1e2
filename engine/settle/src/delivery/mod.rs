//! What goes to the sink, in which request, in which order: one machine for each stream and sink.
//!
//! ```text
//!            offer                 a later action of a held document
//!              │                      ┌──────────► parked ────────┐
//!              ▼                      │                           ▼ its turn
//!            queue ───────────────────┴───► request ◄─────────── ready ◄── refused, its delay over: later
//!                                              │  ▲                           ▲
//!                               bisected: pieces  └── Answer: settled, refused ┘, dead letter, …
//! ```
//!
//! Invariants:
//! - Of one document never two requests are in flight, and a later action of it is sent only once the earlier settled.
//! - A retry sends the same lines; only how they are grouped into requests may differ.
//! - A serial action (its version is shared) is in flight only with others of its kind, in one request.
//! - Each action settles exactly once, as what the sink made of it or as a durable dead letter; what can succeed is tried
//!   until it does.
//! - A document that waits holds nothing but its own later actions.

mod items;
mod keys;
mod pace;
mod request;
mod suspects;
mod take;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tidemill_change::Version;

pub use items::{Command, Counts, Item, ItemRef, RequestId, Slice};

use self::items::{Group, Lot};
use self::keys::Keys;
use self::pace::{Gate, Pace};
use self::request::Request;
use self::suspects::Suspects;
use crate::answer::{Answer, Pause, Sent};
use crate::backoff::Backoff;
use crate::error::{Error, Kind};
use crate::ids::GroupId;
use crate::limits::Limits;
use crate::time::Time;

/// How a request failed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It never reached the sink: no connection was made.
    NotSent,
    /// It may have reached the sink: timeout, reset, an answer that was cut.
    Unknown,
}

/// A number of documents and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    documents: usize,
    bytes: u64,
}

impl Load {
    fn add(&mut self, documents: usize, bytes: u64) {
        self.documents += documents;
        self.bytes += bytes;
    }

    fn sub(&mut self, documents: usize, bytes: u64) {
        self.documents -= documents;
        self.bytes -= bytes;
    }
}

/// The sink's disk is full: one document is tried now and then.
#[derive(Clone, Copy, Debug)]
struct Full {
    probe_at: Time,
    probe: Option<RequestId>,
}

#[derive(Debug)]
pub struct Delivery {
    limits: Limits,
    now: Time,
    groups: HashMap<GroupId, Group, FixedState>,
    /// Groups with items that were neither sent nor parked yet, in order.
    queue: VecDeque<GroupId>,
    /// Items that hold their documents and may be sent.
    ready: VecDeque<Lot>,
    /// Halves of refused requests, each to be sent without others.
    pieces: VecDeque<Vec<Lot>>,
    /// Items that hold their documents and wait for their delay; the number keeps equal times apart.
    later: BTreeMap<(Time, u64), Vec<Lot>>,
    keys: Keys,
    requests: BTreeMap<RequestId, Request>,
    /// Dead letters that are not durable yet.
    lettering: BTreeSet<ItemRef>,
    suspects: Suspects,
    pace: Pace,
    gate: Gate,
    full: Option<Full>,
    paused: Option<Pause>,
    /// The highest version that the source can have given by now.
    horizon: Option<Version>,
    /// What is in the queue and in `ready`.
    waiting: Load,
    /// What was offered and has not settled.
    held: Load,
    next_request: RequestId,
    next_later: u64,
    last_sent: Time,
    commands: VecDeque<Command>,
    totals: Totals,
}

/// What happened since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    pub indexed: u64,
    pub deleted: u64,
    pub not_found: u64,
    pub stale: u64,
    pub dead: u64,
    /// Items that go again after an answer of their own.
    pub items_retried: u64,
    /// Requests that go again as a whole.
    pub requests_retried: u64,
    /// Requests among them of which nobody knows what they did.
    pub requests_unknown: u64,
    /// Answers by which the sink said that it is busy.
    pub busy: u64,
    pub bisected: u64,
    pub too_large: u64,
    /// Answers to requests that were not in flight, for instance a second one.
    pub answers_ignored: u64,
    pub read_backs: u64,
}

/// How it stands, for `status` and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub held_documents: usize,
    pub held_bytes: u64,
    pub in_flight: usize,
    pub parked: usize,
    /// Dead letters that are not durable yet.
    pub lettering: usize,
    /// The present size of a request, and of the window.
    pub pace_documents: u32,
    pub pace_in_flight: u32,
    /// The last request failed as a whole.
    pub failing: bool,
    pub sink_full: bool,
    pub paused: Option<Pause>,
    pub suspects: usize,
    pub suspects_forgotten: u64,
    pub totals: Totals,
}

impl Delivery {
    /// The seed is that of the retries' jitter: give each stream its own.
    pub fn new(limits: Limits, seed: u64) -> Delivery {
        let backoff = Backoff::new(limits.retry_delay_min, limits.retry_delay_max, seed);
        Delivery {
            limits,
            now: Time::START,
            groups: HashMap::default(),
            queue: VecDeque::new(),
            ready: VecDeque::new(),
            pieces: VecDeque::new(),
            later: BTreeMap::new(),
            keys: Keys::new(),
            requests: BTreeMap::new(),
            lettering: BTreeSet::new(),
            suspects: Suspects::default(),
            pace: Pace::new(&limits),
            gate: Gate::new(backoff),
            full: None,
            paused: None,
            horizon: None,
            waiting: Load::default(),
            held: Load::default(),
            next_request: RequestId(0),
            next_later: 0,
            last_sent: Time::START,
            commands: VecDeque::new(),
            totals: Totals::default(),
        }
    }

    /// Takes in a group of actions, in their order. One that comes while [`Delivery::wants_more`] says no is taken too:
    /// the limit is passed by one group at most.
    pub fn offer(&mut self, now: Time, id: GroupId, items: Vec<Item>) -> Result<(), Error> {
        if self.groups.contains_key(&id) {
            return Err(Error::new(Kind::GroupTwice(id)));
        }
        if items.is_empty() {
            self.commands.push_back(Command::GroupDone(id));
            return Ok(());
        }
        let bytes = items.iter().map(|item| u64::from(item.bytes)).sum();
        self.waiting.add(items.len(), bytes);
        self.held.add(items.len(), bytes);
        let left = u32::try_from(items.len()).expect("a body of 4 G actions does not fit into memory");
        self.groups.insert(id, Group { items, next: 0, left });
        self.queue.push_back(id);
        self.tick(now);
        Ok(())
    }

    /// The sink answered. An answer to a request that is not in flight changes nothing.
    pub fn answered(&mut self, now: Time, request: RequestId, answer: Answer) {
        self.advance(now);
        self.take_answer(request, answer);
        self.pump();
    }

    /// A request ended without an answer.
    pub fn failed(&mut self, now: Time, request: RequestId, failure: Failure) {
        self.advance(now);
        self.take_failure(request, failure);
        self.pump();
    }

    /// A dead letter is durable. Says whether it was waited for.
    pub fn dead_lettered(&mut self, now: Time, item: ItemRef) -> bool {
        self.advance(now);
        let known = self.lettering.remove(&item);
        if known {
            self.settle_dead(item);
            self.pump();
        }
        known
    }

    /// Sends nothing more until it is resumed. What is in flight is still answered.
    pub fn pause(&mut self) {
        self.paused.get_or_insert_with(Pause::asked);
    }

    /// Goes on after a pause of any kind, at once and without a delay that may be left.
    pub fn resume(&mut self, now: Time) {
        self.advance(now);
        self.paused = None;
        self.full = None;
        self.gate.reset();
        self.pump();
    }

    /// Time has passed: to be called when [`Delivery::next_wake`] has come.
    pub fn tick(&mut self, now: Time) {
        self.advance(now);
        self.pump();
    }

    /// The highest version that this source can have given by now, made of its WAL end. A document with a higher one
    /// comes from another database: the delivery pauses instead of taking its own change for an old one. Never falls;
    /// without it every conflict counts as stale.
    pub fn set_horizon(&mut self, version: Version) {
        self.horizon = self.horizon.max(Some(version));
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`Delivery::tick`], if nothing else happens.
    pub fn next_wake(&self) -> Option<Time> {
        if self.paused.is_some() {
            return None;
        }
        let waiting = self.waiting.documents > 0;
        let probe = self.full.filter(|full| full.probe.is_none()).map(|full| full.probe_at.max(self.gate.opens_at()));
        let gate = (self.gate.is_failing() && self.full.is_none()).then(|| self.gate.opens_at());
        let partial = (waiting && !self.requests.is_empty() && self.full.is_none())
            .then(|| self.last_sent + self.limits.partial_wait);
        let later = self.later.first_key_value().map(|(&(due, _), _)| due);
        // What lies in the past waits for an answer, not for the time.
        [probe, gate, partial, later].into_iter().flatten().filter(|&at| at > self.now).min()
    }

    /// Whether there is room for another group.
    pub fn wants_more(&self) -> bool {
        self.held.documents < self.limits.held_documents_max && self.held.bytes < self.limits.held_bytes_max
    }

    /// Everything that was offered has settled.
    pub fn is_idle(&self) -> bool {
        self.held.documents == 0
    }

    /// The actions of a request in flight, as [`crate::read`] wants them; empty for any other request.
    pub fn sent(&self, request: RequestId) -> impl Iterator<Item = Sent<'static>> + '_ {
        let lots = self.requests.get(&request).map_or(&[][..], |request| &request.lots);
        let items = lots.iter().flat_map(|lot| self.groups[&lot.slice.group].slice(lot.slice));
        items.map(|item| Sent { kind: item.kind, version: item.version, id: None })
    }

    /// Why nothing is sent until somebody resumes it.
    pub fn pause_reason(&self) -> Option<&Pause> {
        self.paused.as_ref()
    }

    /// The sink takes nothing at present: the last request failed as a whole, or its disk is full.
    pub fn is_refused(&self) -> bool {
        self.is_failing() || self.full.is_some()
    }

    /// The last request failed as a whole.
    pub fn is_failing(&self) -> bool {
        self.gate.is_failing()
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    pub fn status(&self) -> Status {
        Status {
            held_documents: self.held.documents,
            held_bytes: self.held.bytes,
            in_flight: self.requests.len(),
            parked: self.keys.parked(),
            lettering: self.lettering.len(),
            pace_documents: self.pace.documents(),
            pace_in_flight: self.pace.in_flight(),
            failing: self.gate.is_failing(),
            sink_full: self.full.is_some(),
            paused: self.paused.clone(),
            suspects: self.suspects.len(),
            suspects_forgotten: self.suspects.forgotten(),
            totals: self.totals,
        }
    }

    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.suspects.expire(self.now);
    }
}
