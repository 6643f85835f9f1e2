//! What an answer, or its absence, means for the actions of its request.

use std::collections::VecDeque;
use std::time::Duration;

use super::items::{Command, Counts, ItemRef, Lot, RequestId, Slice};
use super::request::Request;
use super::{Delivery, Failure, Full};
use crate::action::ActionKind;
use crate::answer::{Answer, Items, Outcome, Pause, SinkError, Trouble};
use crate::ids::GroupId;

/// What of a request did not settle.
#[derive(Debug, Default)]
struct Rest {
    again: Vec<Lot>,
    full: Vec<Lot>,
    paused: Vec<Lot>,
    pause: Option<Pause>,
    busy: bool,
}

/// What settled of one slice.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    bytes: u64,
}

impl Delivery {
    pub(super) fn take_answer(&mut self, id: RequestId, answer: Answer) {
        let Some(request) = self.requests.remove(&id) else {
            self.totals.answers_ignored += 1;
            return;
        };
        let answers_items = matches!(&answer, Answer::Items(items) if items.full.is_none());
        self.end_probe(id, answers_items);
        match answer {
            Answer::Items(items) => self.take_items(id, request, items),
            Answer::RetryWhole { trouble, retry_after } => self.retry_whole(id, request, trouble, retry_after),
            Answer::SinkFull(error) => {
                self.take_back(request.lots);
                self.sink_full(Some(error));
            }
            Answer::Bisect(error) => self.bisect(request, error),
            Answer::TooLarge => self.too_large(request),
            Answer::Pause(pause) => {
                self.give_back(request);
                self.pause_for(pause);
            }
            Answer::Unknown(_) => self.unknown(id, request),
        }
    }

    pub(super) fn take_failure(&mut self, id: RequestId, failure: Failure) {
        let Some(request) = self.requests.remove(&id) else {
            self.totals.answers_ignored += 1;
            return;
        };
        self.end_probe(id, false);
        match failure {
            Failure::Unknown => self.unknown(id, request),
            Failure::NotSent => {
                self.gate.fail(self.now, id, self.next_request, None);
                self.try_again(request);
            }
        }
    }

    fn take_items(&mut self, id: RequestId, request: Request, items: Items) {
        let Items { exceptions, pause, full } = items;
        let mut exceptions = exceptions.into_iter().peekable();
        let mut rest = Rest { pause, ..Rest::default() };
        let mut at = 0;
        for lot in &request.lots {
            let Slice { group, start, len } = lot.slice;
            let (from, to) = (at, at + len);
            let mut tally = Tally::default();
            while at < to {
                let run_end = exceptions.peek().map_or(to, |exception| exception.index.clamp(at, to));
                let slice = Slice { group, start: start + (at - from), len: run_end - at };
                self.settle_run(slice, &mut tally);
                at = run_end;
                if at < to {
                    let outcome = exceptions.next().expect("it ended the run").outcome;
                    let item = ItemRef { group, index: start + (at - from) };
                    self.take_exception(item, lot.failures, outcome, &mut tally, &mut rest);
                    at += 1;
                }
            }
            self.settled(group, tally);
        }
        self.take_rest(id, &request, rest, full);
    }

    /// The happy path: neighbouring actions that all settled as they were meant.
    fn settle_run(&mut self, slice: Slice, tally: &mut Tally) {
        let Delivery { groups, keys, ready, waiting, suspects, commands, totals, .. } = self;
        let (mut deleted, mut bytes) = (0, 0);
        for (item, index) in groups[&slice.group].slice(slice).iter().zip(slice.start..) {
            bytes += u64::from(item.bytes);
            if item.kind == ActionKind::Delete {
                deleted += 1;
                if !suspects.is_empty() && suspects.contains(item.key) {
                    totals.read_backs += 1;
                    commands.push_back(Command::ReadBack { item: ItemRef { group: slice.group, index } });
                }
            }
            if let Some(parked) = keys.release(item.key) {
                waiting.add(1, u64::from(parked.bytes));
                let ItemRef { group, index } = parked.item;
                ready.push_back(Lot { slice: Slice { group, start: index, len: 1 }, failures: 0 });
            }
        }
        tally.bytes += bytes;
        tally.counts.deleted += deleted;
        tally.counts.indexed += slice.len - deleted;
    }

    fn take_exception(&mut self, item: ItemRef, failures: u32, outcome: Outcome, tally: &mut Tally, rest: &mut Rest) {
        match outcome {
            Outcome::NotFound => {
                let before = tally.counts;
                self.settle_run(Slice { group: item.group, start: item.index, len: 1 }, tally);
                tally.counts = Counts { not_found: before.not_found + 1, ..before };
            }
            Outcome::Stale { stored: Some(stored) } if self.horizon.is_some_and(|horizon| stored > horizon) => {
                rest.pause.get_or_insert(Pause::ahead(stored));
                Lot::push(&mut rest.paused, item, failures);
            }
            Outcome::Stale { .. } => {
                self.release(item, tally);
                tally.counts.stale += 1;
            }
            Outcome::Retry(trouble) => {
                rest.busy |= trouble.is_refusal();
                self.totals.items_retried += 1;
                Lot::push(&mut rest.again, item, failures.saturating_add(1));
            }
            Outcome::SinkFull => Lot::push(&mut rest.full, item, failures),
            Outcome::DeadLetter(error) => self.dead_letter(item, *error),
            Outcome::Pause => Lot::push(&mut rest.paused, item, failures),
        }
    }

    fn take_rest(&mut self, id: RequestId, request: &Request, rest: Rest, full: Option<SinkError>) {
        let refused: u32 = rest.again.iter().map(|lot| lot.slice.len).sum();
        // A sink that refuses everything is down, whatever it says of each item.
        if refused == request.documents {
            self.gate.fail(self.now, id, self.next_request, None);
        } else {
            self.gate.succeed(id);
        }
        if rest.busy {
            self.totals.busy += 1;
            self.pace.shrink(id, request.documents, self.next_request);
        } else if refused == 0 {
            self.pace.grow(id, request.documents);
        }
        if let Some(failures) = rest.again.iter().map(|lot| lot.failures).max() {
            let due = self.now + self.gate.item_delay(failures);
            self.later.insert((due, self.next_later), rest.again);
            self.next_later += 1;
        }
        self.take_back(rest.paused);
        if let Some(pause) = rest.pause {
            self.pause_for(pause);
        }
        if !rest.full.is_empty() {
            self.take_back(rest.full);
            self.sink_full(full);
        }
    }

    fn retry_whole(&mut self, id: RequestId, request: Request, trouble: Trouble, retry_after: Option<Duration>) {
        if trouble.is_refusal() {
            self.totals.busy += 1;
        } else {
            self.suspect(&request);
        }
        self.gate.fail(self.now, id, self.next_request, retry_after);
        self.pace.shrink(id, request.documents, self.next_request);
        self.try_again(request);
    }

    fn unknown(&mut self, id: RequestId, request: Request) {
        self.totals.requests_unknown += 1;
        self.suspect(&request);
        self.gate.fail(self.now, id, self.next_request, None);
        // It may have been too much to be done in time.
        self.pace.shrink(id, request.documents, self.next_request);
        self.try_again(request);
    }

    fn try_again(&mut self, mut request: Request) {
        self.totals.requests_retried += 1;
        for lot in &mut request.lots {
            lot.failures = lot.failures.saturating_add(1);
        }
        self.give_back(request);
    }

    /// The sink refuses a request for something in it that it does not name. Halves lead there: for `p` such actions
    /// among `n` it takes at most `2 p log2 n` requests more.
    fn bisect(&mut self, request: Request, error: SinkError) {
        self.totals.bisected += 1;
        if request.documents == 1 {
            return self.letter_only(&request, |_| error);
        }
        let half = request.documents / 2;
        self.halve(request, half);
    }

    fn too_large(&mut self, request: Request) {
        self.totals.too_large += 1;
        if request.documents == 1 {
            return self.letter_only(&request, SinkError::too_large);
        }
        self.pace.learn_too_large(request.bytes);
        let (mut documents, mut bytes) = (0, 0);
        for item in request.lots.iter().flat_map(|lot| self.groups[&lot.slice.group].slice(lot.slice)) {
            bytes += u64::from(item.bytes);
            if documents > 0 && bytes > request.bytes / 2 {
                break;
            }
            documents += 1;
        }
        let half = documents.min(request.documents - 1);
        self.halve(request, half);
    }

    /// Splits a request into its first `documents` and the others; each half goes alone.
    fn halve(&mut self, request: Request, documents: u32) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let mut left = documents;
        for lot in request.lots {
            let Slice { group, start, len } = lot.slice;
            let here = left.min(len);
            if here > 0 {
                first.push(Lot { slice: Slice { group, start, len: here }, ..lot });
            }
            if here < len {
                second.push(Lot { slice: Slice { group, start: start + here, len: len - here }, ..lot });
            }
            left -= here;
        }
        self.pieces.push_front(second);
        self.pieces.push_front(first);
    }

    fn letter_only(&mut self, request: &Request, error: impl FnOnce(u64) -> SinkError) {
        let Slice { group, start, .. } = request.lots[0].slice;
        self.dead_letter(ItemRef { group, index: start }, error(request.bytes));
    }

    /// Its document stays held until the letter is durable.
    fn dead_letter(&mut self, item: ItemRef, error: SinkError) {
        self.lettering.insert(item);
        self.commands.push_back(Command::DeadLetter { item, error });
    }

    pub(super) fn settle_dead(&mut self, item: ItemRef) {
        let mut tally = Tally::default();
        self.release(item, &mut tally);
        tally.counts.dead = 1;
        self.settled(item.group, tally);
    }

    /// As [`Delivery::settle_run`], of an action that did nothing to the index.
    fn release(&mut self, item: ItemRef, tally: &mut Tally) {
        let it = self.groups[&item.group].items[item.index as usize];
        tally.bytes += u64::from(it.bytes);
        if let Some(parked) = self.keys.release(it.key) {
            let slice = Slice { group: parked.item.group, start: parked.item.index, len: 1 };
            self.make_ready(Lot { slice, failures: 0 }, VecDeque::push_back);
        }
    }

    /// Books what settled of a group.
    fn settled(&mut self, id: GroupId, tally: Tally) {
        let counts = tally.counts;
        let total = counts.total();
        if total == 0 {
            return;
        }
        self.held.sub(total as usize, tally.bytes);
        self.totals.indexed += u64::from(counts.indexed);
        self.totals.deleted += u64::from(counts.deleted);
        self.totals.not_found += u64::from(counts.not_found);
        self.totals.stale += u64::from(counts.stale);
        self.totals.dead += u64::from(counts.dead);
        self.commands.push_back(Command::Settled { group: id, counts });
        let group = self.groups.get_mut(&id).expect("a group is kept until all of it settled");
        group.left -= total;
        if group.left == 0 {
            self.groups.remove(&id);
            self.commands.push_back(Command::GroupDone(id));
        }
    }

    /// What a request carried goes again: in the same company if it is a piece, regrouped otherwise.
    fn give_back(&mut self, request: Request) {
        if request.alone {
            self.pieces.push_front(request.lots);
        } else {
            self.take_back(request.lots);
        }
    }

    fn take_back(&mut self, lots: Vec<Lot>) {
        for lot in lots.into_iter().rev() {
            self.make_ready(lot, VecDeque::push_front);
        }
    }

    fn pause_for(&mut self, pause: Pause) {
        if self.paused.is_none() {
            self.commands.push_back(Command::Pause(pause.clone()));
            self.paused = Some(pause);
        }
    }

    fn sink_full(&mut self, error: Option<SinkError>) {
        let probe_at = self.now + self.limits.full_probe_interval;
        if self.full.is_none() {
            self.commands.push_back(Command::Pause(Pause::full(error)));
            self.full = Some(Full { probe_at, probe: None });
        }
    }

    /// The probe of a full sink came back: it has room again, or is tried later.
    fn end_probe(&mut self, id: RequestId, has_room: bool) {
        let Some(full) = &mut self.full else { return };
        if full.probe != Some(id) {
            return;
        }
        if has_room {
            self.full = None;
            self.commands.push_back(Command::Resumed);
        } else {
            *full = Full { probe_at: self.now + self.limits.full_probe_interval, probe: None };
        }
    }

    /// A request that may still be under way could bring its documents back after their deletes.
    fn suspect(&mut self, request: &Request) {
        for item in request.lots.iter().flat_map(|lot| self.groups[&lot.slice.group].slice(lot.slice)) {
            if item.kind == ActionKind::Index {
                self.suspects.remember(self.now, item.key);
            }
        }
    }
}
