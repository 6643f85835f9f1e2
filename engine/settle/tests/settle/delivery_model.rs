//! The delivery against a sink that delays, refuses, loses and doubles, with an index that keeps versions as a server
//! does. Every invariant is checked at every command; at the end the index must be what the actions in their order
//! make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tidemill_change::Version;
use tidemill_settle::limits::SUSPECT_AGE;
use tidemill_settle::{
    ActionKind, Answer, Command, Counts, Delivery, Failure, GroupId, Item, ItemRef, Limits, PauseKind, RequestId,
    Response, SinkError, Slice, Time, read,
};

/// How likely each fault is, in parts of 100.
#[derive(Clone, Debug)]
struct Faults {
    item: u8,
    whole: u8,
    lost: u8,
    stop: u8,
    poison: u8,
}

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    groups: u64,
    group_max: u64,
    keys: u64,
    documents_max: u32,
    in_flight_max: u32,
    faults: Faults,
}

fn plan() -> impl Strategy<Value = Plan> {
    let faults = (0..40_u8, 0..30_u8, 0..30_u8, 0..10_u8, 0..5_u8)
        .prop_map(|(item, whole, lost, stop, poison)| Faults { item, whole, lost, stop, poison });
    (any::<u64>(), 1..25_u64, 1..30_u64, 1..60_u64, 1..20_u32, 1..5_u32, faults).prop_map(
        |(seed, groups, group_max, keys, documents_max, in_flight_max, faults)| Plan {
            seed,
            groups,
            group_max,
            keys,
            documents_max,
            in_flight_max,
            faults,
        },
    )
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn chance(&mut self, parts: u8) -> bool {
        self.below(100) < u64::from(parts)
    }
}

/// What is wrong with an action for good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// The sink refuses it as an item.
    Bad,
    /// The sink refuses every request that has it.
    Poison,
}

const SINK_BYTES_MAX: u64 = 900;
const OUR_BYTES_MAX: u64 = 1200;
const HELD_MAX: usize = 60;
/// From here on the sink is well, and everything has to end.
const FAULTY_STEPS: usize = 3_000;
const STEPS_MAX: usize = 30_000;

struct Stored {
    version: u64,
    /// The action that wrote it; `None` for a tombstone, which this sink keeps for ever.
    by: Option<ItemRef>,
}

struct World {
    plan: Plan,
    rng: Rng,
    now: Time,
    step: usize,
    delivery: Delivery,
    offered: u64,
    version: u64,
    groups: BTreeMap<GroupId, Vec<(Item, Fate)>>,
    /// The actions of each document in their order, and how many of them have settled.
    history: BTreeMap<u64, (Vec<ItemRef>, usize)>,
    in_flight: BTreeMap<RequestId, Vec<ItemRef>>,
    answered: Vec<RequestId>,
    /// Requests that their sender gave up and that may still arrive.
    zombies: Vec<Vec<ItemRef>>,
    index: BTreeMap<u64, Stored>,
    suspects: BTreeSet<u64>,
    letters: Vec<ItemRef>,
    dead: BTreeSet<ItemRef>,
    settled: BTreeSet<ItemRef>,
    told: BTreeMap<GroupId, u32>,
    done: BTreeSet<GroupId>,
    read_backs: u64,
    read_backs_expected: u64,
    paused: bool,
    full: bool,
}

impl World {
    fn new(plan: Plan) -> World {
        let limits = Limits {
            documents_max: plan.documents_max,
            bytes_max: OUR_BYTES_MAX,
            in_flight_max: plan.in_flight_max,
            held_documents_max: HELD_MAX,
            ..Limits::default()
        };
        World {
            rng: Rng(plan.seed),
            delivery: Delivery::new(limits, plan.seed),
            plan,
            now: Time::START,
            step: 0,
            offered: 0,
            version: 1 << 20,
            groups: BTreeMap::new(),
            history: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            answered: Vec::new(),
            zombies: Vec::new(),
            index: BTreeMap::new(),
            suspects: BTreeSet::new(),
            letters: Vec::new(),
            dead: BTreeSet::new(),
            settled: BTreeSet::new(),
            told: BTreeMap::new(),
            done: BTreeSet::new(),
            read_backs: 0,
            read_backs_expected: 0,
            paused: false,
            full: false,
        }
    }

    fn run(mut self) {
        while self.offered < self.plan.groups || !self.delivery.is_idle() {
            self.step += 1;
            assert!(self.step < STEPS_MAX, "it does not end: {:?}", self.delivery.status());
            self.one_step();
            self.take_commands();
            self.check_bounds();
        }
        self.check_end();
    }

    fn faulty(&self) -> bool {
        self.step < FAULTY_STEPS
    }

    fn chance(&mut self, parts: fn(&Faults) -> u8) -> bool {
        let parts = parts(&self.plan.faults);
        self.faulty() && self.rng.chance(parts)
    }

    fn one_step(&mut self) {
        match self.rng.below(10) {
            0..=2 if self.offered < self.plan.groups && self.delivery.wants_more() => self.offer(),
            3..=7 if !self.in_flight.is_empty() => self.answer_one(),
            8 if !self.letters.is_empty() => {
                let at = self.rng.below(self.letters.len() as u64) as usize;
                let item = self.letters.swap_remove(at);
                assert!(self.delivery.dead_lettered(self.now, item));
                assert!(!self.delivery.dead_lettered(self.now, item), "only once");
                self.dead.insert(item);
                self.settle(item);
            }
            9 if self.faulty() && !self.answered.is_empty() => self.answer_again(),
            9 if !self.zombies.is_empty() => self.zombie_arrives(),
            _ => self.pass_time(),
        }
    }

    fn offer(&mut self) {
        let id = GroupId(self.offered);
        self.offered += 1;
        // A few groups are beyond the last bucket: all of their versions are one.
        let serial = self.rng.chance(15);
        let length = self.rng.below(self.plan.group_max + 1);
        let mut items = Vec::new();
        for index in 0..length as u32 {
            if !serial || index == 0 {
                self.version += 1 << 9;
            }
            let kind = if self.rng.chance(30) { ActionKind::Delete } else { ActionKind::Index };
            let bytes = if self.rng.chance(2) { 1000 } else { 20 + self.rng.below(200) as u32 };
            let version = Version::from(if serial { self.version | 511 } else { self.version });
            let item = Item { key: self.rng.below(self.plan.keys), version, bytes, kind, serial };
            let fate = match (self.chance(|faults| faults.poison), self.rng.below(2)) {
                (true, 0) => Fate::Bad,
                (true, _) => Fate::Poison,
                _ => Fate::Good,
            };
            self.history.entry(item.key).or_default().0.push(ItemRef { group: id, index });
            items.push((item, fate));
        }
        self.delivery.offer(self.now, id, items.iter().map(|&(item, _)| item).collect()).unwrap();
        if !items.is_empty() {
            assert!(self.delivery.offer(self.now, id, vec![items[0].0]).is_err(), "each number once");
        }
        self.groups.insert(id, items);
        self.told.insert(id, 0);
    }

    fn item(&self, at: ItemRef) -> (Item, Fate) {
        self.groups[&at.group][at.index as usize]
    }

    fn bytes(&self, items: &[ItemRef]) -> u64 {
        items.iter().map(|&at| u64::from(self.item(at).0.bytes)).sum()
    }

    fn pass_time(&mut self) {
        if self.paused && self.rng.chance(50) {
            self.paused = false;
            self.full = false;
            self.delivery.resume(self.now);
            return;
        }
        if let Some(at) = self.delivery.next_wake() {
            assert!(at > self.now, "a wake in the past would spin");
            self.now = at;
        } else if self.in_flight.is_empty() && self.letters.is_empty() && !self.paused {
            assert!(self.delivery.is_idle(), "nothing would ever happen: {:?}", self.delivery.status());
        }
        if self.rng.chance(20) {
            self.now = self.now + Duration::from_millis(self.rng.below(100));
        }
        self.delivery.tick(self.now);
    }

    fn take_request(&mut self) -> (RequestId, Vec<ItemRef>) {
        let at = self.rng.below(self.in_flight.len() as u64) as usize;
        let id = *self.in_flight.keys().nth(at).unwrap();
        let items = self.in_flight.remove(&id).unwrap();
        self.answered.push(id);
        (id, items)
    }

    fn answer_one(&mut self) {
        let (id, items) = self.take_request();
        if self.chance(|faults| faults.lost) {
            return self.lose(id, &items);
        }
        if self.bytes(&items) > SINK_BYTES_MAX {
            if items.len() == 1 {
                self.letters_expected(items[0]);
            }
            return self.respond(id, 413, "");
        }
        if items.iter().any(|&at| self.item(at).1 == Fate::Poison) {
            if items.len() == 1 {
                self.letters_expected(items[0]);
            }
            return self.respond(
                id,
                400,
                r#"{"error":{"type":"illegal_argument_exception","reason":"no"},"status":400}"#,
            );
        }
        if self.chance(|faults| faults.whole) {
            return self.refuse_whole(id, &items);
        }
        self.answer_items(id, &items);
    }

    /// The sender hears nothing.
    fn lose(&mut self, id: RequestId, items: &[ItemRef]) {
        if self.rng.chance(20) {
            return self.delivery.failed(self.now, id, Failure::NotSent);
        }
        self.apply_some(items);
        match self.rng.below(4) {
            0 => self.delivery.failed(self.now, id, Failure::Unknown),
            1 => self.respond(id, 200, r#"{"took":1,"errors":false,"items":[{"index":{"#),
            2 => self.respond(id, 200, "<html>"),
            _ => self.respond(id, 504, "gateway timeout"),
        }
    }

    /// A request of unknown outcome: some of it is applied now, or it arrives later, or both.
    fn apply_some(&mut self, items: &[ItemRef]) {
        for &at in items {
            if self.item(at).0.kind == ActionKind::Index {
                self.suspects.insert(self.item(at).0.key);
            }
        }
        let refused = items.iter().any(|&at| self.item(at).1 == Fate::Poison);
        if refused || self.bytes(items) > SINK_BYTES_MAX {
            return;
        }
        for &at in items {
            if self.rng.chance(50) {
                self.apply(at);
            }
        }
        // Equal versions overwrite each other: what a late one of the last bucket does is a limit that is written down.
        if self.rng.chance(50) && !self.item(items[0]).0.serial {
            self.zombies.push(items.to_vec());
        }
    }

    fn refuse_whole(&mut self, id: RequestId, items: &[ItemRef]) {
        let error =
            |kind: &str, status: u16| format!(r#"{{"error":{{"type":"{kind}","reason":"r"}},"status":{status}}}"#);
        match self.rng.below(6) {
            0 => {
                let prefix = self.rng.below(items.len() as u64 + 1) as usize;
                for &at in &items[..prefix] {
                    self.apply(at);
                }
                self.respond(id, 429, &error("es_rejected_execution_exception", 429));
            }
            1 => {
                self.apply_some(items);
                self.respond(id, 503, "");
            }
            2 => self.respond(id, 429, &error("cluster_block_exception", 429)),
            3 => self.respond(id, 401, &error("security_exception", 401)),
            4 => self.respond(id, 403, "<html>forbidden"),
            _ => {
                self.apply_some(items);
                self.respond(id, 200, r#"{"took":1,"errors":false,"items":[]}"#);
            }
        }
    }

    fn answer_items(&mut self, id: RequestId, items: &[ItemRef]) {
        let full = self.chance(|faults| faults.stop / 2);
        let mut lines = Vec::new();
        let mut settled = Vec::new();
        for &at in items {
            let (item, fate) = self.item(at);
            let fault = self.chance(|faults| faults.item);
            let stop = self.chance(|faults| faults.stop / 2);
            let operation = if item.kind == ActionKind::Index { "index" } else { "delete" };
            let (status, error) = match (full, stop, fault, fate) {
                (true, ..) => (429, Some("cluster_block_exception")),
                (_, true, ..) => (403, Some("security_exception")),
                (_, _, true, _) => match self.rng.below(3) {
                    0 => (503, Some("unavailable_shards_exception")),
                    _ => (429, Some("rejected_execution_exception")),
                },
                (.., Fate::Bad) => {
                    self.letters_expected(at);
                    (400, Some("mapper_parsing_exception"))
                }
                _ => {
                    settled.push(at);
                    let status = self.apply(at);
                    let late_index =
                        status != 409 && item.kind == ActionKind::Delete && self.suspects.contains(&item.key);
                    self.read_backs_expected += u64::from(late_index);
                    (status, (status == 409).then_some("version_conflict_engine_exception"))
                }
            };
            let error = error.map_or(String::new(), |kind| format!(r#","error":{{"type":"{kind}","reason":"r"}}"#));
            lines.push(format!(r#"{{"{operation}":{{"_id":"{}","status":{status}{error}}}}}"#, item.key));
        }
        for &at in &settled {
            self.settle(at);
        }
        self.respond(id, 200, &format!(r#"{{"errors":true,"items":[{}]}}"#, lines.join(",")));
    }

    fn respond(&mut self, id: RequestId, status: u16, body: &str) {
        let response = Response { status, retry_after: None, body: body.as_bytes(), items_left_out: false };
        let answer = read(&response, self.delivery.sent(id));
        self.delivery.answered(self.now, id, answer);
    }

    /// The same answer a second time, or one to a request that was given up.
    fn answer_again(&mut self) {
        let at = self.rng.below(self.answered.len() as u64) as usize;
        let ignored = self.delivery.status().totals.answers_ignored;
        match self.rng.below(2) {
            0 => self.delivery.answered(self.now, self.answered[at], Answer::Items(Default::default())),
            _ => self.delivery.failed(self.now, self.answered[at], Failure::Unknown),
        }
        assert_eq!(self.delivery.status().totals.answers_ignored, ignored + 1);
    }

    fn zombie_arrives(&mut self) {
        let at = self.rng.below(self.zombies.len() as u64) as usize;
        for item in self.zombies.swap_remove(at) {
            if self.item(item).1 == Fate::Good {
                self.apply(item);
            }
        }
    }

    /// What a server does with `external_gte`.
    fn apply(&mut self, at: ItemRef) -> u16 {
        let (item, fate) = self.item(at);
        if fate == Fate::Bad {
            return 400;
        }
        let version = item.version.get();
        let stored = self.index.get(&item.key);
        if stored.is_some_and(|stored| stored.version > version) {
            return 409;
        }
        let found = stored.is_some_and(|stored| stored.by.is_some());
        let by = (item.kind == ActionKind::Index).then_some(at);
        self.index.insert(item.key, Stored { version, by });
        match (item.kind, found) {
            (ActionKind::Index, false) => 201,
            (ActionKind::Delete, false) => 404,
            _ => 200,
        }
    }

    fn letters_expected(&mut self, at: ItemRef) {
        let (item, fate) = self.item(at);
        assert!(fate != Fate::Good || u64::from(item.bytes) > SINK_BYTES_MAX);
    }

    fn settle(&mut self, at: ItemRef) {
        assert!(self.settled.insert(at), "{at:?} settles once");
        let (item, _) = self.item(at);
        let (actions, settled) = self.history.get_mut(&item.key).unwrap();
        assert_eq!(actions[*settled], at, "in the document's order");
        *settled += 1;
    }

    fn take_commands(&mut self) {
        while let Some(command) = self.delivery.next_command() {
            match command {
                Command::Send { request, slices, documents, bytes } => {
                    self.check_send(request, &slices, documents, bytes)
                }
                Command::DeadLetter { item, error } => self.check_letter(item, &error),
                Command::ReadBack { item } => {
                    let (item, _) = self.item(item);
                    assert!(item.kind == ActionKind::Delete && self.suspects.contains(&item.key));
                    self.read_backs += 1;
                }
                Command::Settled { group, counts } => self.check_settled(group, counts),
                Command::GroupDone(group) => {
                    assert!(self.done.insert(group));
                    assert_eq!(self.told[&group] as usize, self.groups[&group].len());
                }
                Command::Pause(pause) if pause.kind == PauseKind::SinkFull => self.full = true,
                Command::Pause(_) => self.paused = true,
                Command::Resumed => self.full = false,
            }
        }
    }

    fn check_send(&mut self, request: RequestId, slices: &[Slice], documents: u32, bytes: u64) {
        assert!(!self.paused, "paused");
        assert!(!self.full || (self.in_flight.is_empty()), "a probe goes alone");
        let refs: Vec<_> = slices
            .iter()
            .flat_map(|s| (s.start..s.start + s.len).map(|index| ItemRef { group: s.group, index }))
            .collect();
        let items: Vec<_> = refs.iter().map(|&at| self.item(at).0).collect();
        assert_eq!(refs.len(), documents as usize);
        assert_eq!(bytes, items.iter().map(|item| u64::from(item.bytes)).sum::<u64>());
        assert!(documents <= self.plan.documents_max && documents > 0);
        assert!(bytes <= OUR_BYTES_MAX || documents == 1);
        let mut busy: BTreeSet<u64> = self.in_flight.values().flatten().map(|&at| self.item(at).0.key).collect();
        for (&at, item) in refs.iter().zip(&items) {
            assert!(busy.insert(item.key), "two actions of document {} in flight", item.key);
            let (actions, settled) = &self.history[&item.key];
            assert_eq!(actions.get(*settled), Some(&at), "an earlier action of {} has not settled", item.key);
            assert!(!self.letters.contains(&at), "it is a dead letter");
            assert_eq!(item.serial, items[0].serial);
        }
        let serial_in_flight = self.in_flight.values().any(|refs| self.item(refs[0]).0.serial);
        assert!(self.in_flight.is_empty() || !(items[0].serial || serial_in_flight), "one serial request at a time");
        assert!(self.in_flight.insert(request, refs).is_none() && !self.answered.contains(&request));
        assert!(self.in_flight.len() <= self.plan.in_flight_max as usize);
    }

    fn check_letter(&mut self, item: ItemRef, error: &SinkError) {
        let expected = match self.item(item).1 {
            Fate::Bad => "mapper_parsing_exception",
            Fate::Poison => "illegal_argument_exception",
            Fate::Good => "content_too_large",
        };
        // A poison action can also be too large.
        assert!(error.kind == expected || error.kind == "content_too_large", "{error}");
        assert!(!self.dead.contains(&item) && !self.letters.contains(&item));
        self.letters.push(item);
    }

    fn check_settled(&mut self, group: GroupId, counts: Counts) {
        assert!(counts.total() > 0 && !self.done.contains(&group));
        *self.told.get_mut(&group).unwrap() += counts.total();
    }

    fn check_bounds(&self) {
        let told: u32 = self.told.values().sum();
        assert_eq!(told as usize, self.settled.len(), "what settled is told at once, and nothing else");
        let status = self.delivery.status();
        assert!(status.held_documents < HELD_MAX + self.plan.group_max as usize);
        assert_eq!(status.in_flight, self.in_flight.len());
        assert_eq!(status.lettering, self.letters.len());
    }

    fn check_end(mut self) {
        while !self.zombies.is_empty() {
            self.zombie_arrives();
        }
        assert_eq!(self.done.len() as u64, self.plan.groups);
        let status = self.delivery.status();
        assert_eq!((status.held_documents, status.held_bytes, status.parked), (0, 0, 0));
        if self.now < Time::START + SUSPECT_AGE {
            assert_eq!(self.read_backs, self.read_backs_expected, "deletes that a late request may undo");
        }
        for (key, (actions, settled)) in &self.history {
            assert_eq!(*settled, actions.len());
            let last = actions.iter().rev().find(|at| !self.dead.contains(at)).copied();
            let expected = last.filter(|&at| self.item(at).0.kind == ActionKind::Index);
            let found = self.index.get(key).and_then(|stored| stored.by);
            assert_eq!(found, expected, "document {key}");
        }
        for (&group, items) in &self.groups {
            for (index, (item, fate)) in (0..).zip(items) {
                let dead = self.dead.contains(&ItemRef { group, index });
                assert_eq!(dead, *fate != Fate::Good || u64::from(item.bytes) > SINK_BYTES_MAX);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn every_document_ends_as_its_last_action(plan in plan()) {
        World::new(plan).run();
    }
}
