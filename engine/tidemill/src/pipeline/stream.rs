//! A stream's delivery: carries out what the delivery machine says and tells it what came of it.
//!
//! ```text
//!  Made ─► ledger (parts expected) ─► Delivery ─► requests ─► answers ─► Delivery ─► parts settled ─► Report
//!             └ rejects ─► dead letters, durable ─────────────────────────────────────────┘
//! ```
//!
//! The order of these steps is what keeps the promise: a span's parts are expected before the first is offered, and a
//! part settles only after the sink's word or after its dead letter is on disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tidemill_change::{BUCKET_LAST, Epoch, Lsn, TableId, Version};
use tidemill_encode::{ActionKind as EncodedKind, Encoded};
use tidemill_settle::{
    ActionKind, Backoff, Command, Delivery, Failure, GroupId, Item, ItemRef, Ledger, Pause, PauseKind, RequestId,
    Response, Slice, SpanId,
};
use tokio::sync::{Notify, mpsc, watch};

use super::clock::Clock;
use super::letters::Letters;
use super::observe::Observed;
use super::worker::{Job, Made, Ticket};
use crate::deliver::{Answer, Preparation, ScrolledId, Sink, SinkError};

#[cfg(test)]
mod tests;

/// How a stream stands, for the source, for `status` and for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Entered at start and by `resume`; left for any other.
    Running,
    /// The sink does not take documents at present; left by itself.
    Waiting(String),
    /// Left by `resume` alone.
    Paused(String),
}

/// What a stream tells the others.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) settled: Lsn,
    pub(crate) standing: Standing,
    /// It dropped a part of what it got in this generation or in one before: that has to come once more.
    pub(crate) failed: Option<u32>,
    /// The tables whose rows were all read and have settled, and the generation in which they were.
    pub(crate) read: (u32, HashSet<TableId>),
}

/// What an operator asks of a stream.
#[derive(Debug)]
pub(crate) enum Wish {
    Pause,
    Resume,
}

/// The source's hold on a stream.
#[derive(Debug)]
pub(crate) struct StreamHandle {
    pub(crate) name: String,
    pub(crate) jobs: mpsc::Sender<Job>,
    pub(crate) wishes: mpsc::Sender<Wish>,
    pub(crate) report: watch::Receiver<Report>,
    pub(crate) tables: HashSet<TableId>,
    /// Takes part in what the source reads now.
    pub(crate) attached: bool,
    /// What it had settled when the source last began.
    pub(crate) from: Lsn,
}

impl StreamHandle {
    pub(crate) fn settled(&self) -> Lsn {
        self.report.borrow().settled
    }

    pub(crate) fn is_running(&self) -> bool {
        self.attached && !matches!(self.report.borrow().standing, Standing::Paused(_))
    }

    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.report.borrow().standing, Standing::Paused(_))
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.report.borrow().standing, Standing::Waiting(_))
    }

    pub(crate) fn has_read(&self, generation: u32, table: TableId) -> bool {
        let report = self.report.borrow();
        report.read.0 == generation && report.read.1.contains(&table)
    }

    pub(crate) fn wants(&self, table: TableId) -> bool {
        self.tables.contains(&table)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.jobs.capacity() > 0
    }

    /// It dropped a part of what it got in this generation.
    pub(crate) fn has_failed(&self, generation: u32) -> bool {
        self.report.borrow().failed.is_some_and(|failed| failed >= generation)
    }

    /// One whose sink is away would only be let go once more.
    pub(crate) fn wants_to_be_taken_up(&self, generation: u32) -> bool {
        let was_let_go = !self.attached && self.has_room() && !self.is_waiting();
        !self.is_paused() && (was_let_go || self.has_failed(generation))
    }
}

/// A body that was handed to the delivery machine, kept until all of it has settled.
#[derive(Debug)]
struct Group {
    encoded: Encoded,
    part_of: PartOf,
    /// When each action's transaction committed, in microseconds since 1970; empty for rows that were there before.
    committed_us: Vec<i64>,
    batches: Vec<Arc<tidemill_change::ChangeBatch>>,
}

/// Where a part is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartOf {
    Span(SpanId),
    /// Of the reading that began in this generation: what is left of an earlier one counts for nothing.
    Backfill {
        table: TableId,
        generation: u32,
    },
}

/// The documents of one table: those of an index whose ids begin so.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    pub(crate) index: String,
    pub(crate) prefix: String,
}

/// How often the sink was asked in vain, and how long to wait before it is asked again.
#[derive(Debug)]
struct Patience {
    backoff: Backoff,
    failures: u32,
}

/// Rows of a table that were there before, on their way.
#[derive(Clone, Copy, Debug)]
struct Reading {
    outstanding: u64,
    /// The version of the rows.
    version: Option<Version>,
    /// No more rows follow.
    read: bool,
}

type Sending = BoxFuture<'static, (RequestId, Result<Answer, SinkError>)>;

/// What a stream task is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) sink: Sink,
    pub(crate) settled: Lsn,
    pub(crate) epoch: Epoch,
    pub(crate) limits: tidemill_settle::Limits,
    pub(crate) letters: Letters,
    pub(crate) observed: Arc<Observed>,
    /// How far the source's WAL reaches, as it was last told: no document can have a higher version.
    pub(crate) wal_end: Arc<AtomicU64>,
    pub(crate) clock: Clock,
    pub(crate) moved: Arc<Notify>,
    pub(crate) seed: u64,
    /// What a TRUNCATE removes, by table; a table whose documents are to stay is missing.
    pub(crate) documents: HashMap<TableId, Documents>,
    /// A backfill takes in all rows, so that a document without one is no longer right.
    pub(crate) sweeps: bool,
    pub(crate) preparation: Preparation,
    /// Why it was paused when the engine last ran.
    pub(crate) paused: Option<String>,
}

pub(crate) struct StreamTask {
    parts: Parts,
    delivery: Delivery,
    ledger: Ledger,
    open: Option<SpanId>,
    generation: u32,
    /// What came of this generation or an earlier one is not wanted: a job of it failed.
    failed: Option<u32>,
    groups: HashMap<GroupId, Group>,
    next_group: u64,
    in_flight: FuturesUnordered<Sending>,
    /// What operators ask: heard wherever something is waited for.
    wishes: mpsc::Receiver<Wish>,
    /// What is waited for outside of the delivery: the sink's word about an index.
    waits: Option<String>,
    /// Letters that could not be written: they wait for `resume`, and their documents with them.
    unwritten: Vec<(ItemRef, tidemill_settle::SinkError)>,
    reading: HashMap<TableId, Reading>,
    /// Why it is paused, where the machine does not know: a plugin, or an operator.
    halted: Option<String>,
    last_error: Option<String>,
    /// Indices that we made, in an earlier run: a document in them without a row is one that is no longer right.
    sweepable: HashSet<String>,
    report: watch::Sender<Report>,
}

impl StreamTask {
    pub(crate) fn new(parts: Parts, wishes: mpsc::Receiver<Wish>) -> (StreamTask, watch::Receiver<Report>) {
        // Known before the task first runs: the source asks at once.
        let standing = parts.paused.clone().map_or(Standing::Running, Standing::Paused);
        let report = Report { settled: parts.settled, standing, failed: None, read: (0, HashSet::new()) };
        let (report, receiver) = watch::channel(report);
        let task = StreamTask {
            delivery: Delivery::new(parts.limits, parts.seed),
            ledger: Ledger::new(parts.settled),
            open: None,
            generation: 0,
            failed: None,
            groups: HashMap::new(),
            next_group: 0,
            in_flight: FuturesUnordered::new(),
            wishes,
            waits: None,
            unwritten: Vec::new(),
            reading: HashMap::new(),
            halted: None,
            last_error: None,
            sweepable: HashSet::new(),
            report,
            parts,
        };
        (task, receiver)
    }

    /// Runs until it is dropped; where its worker ends before, it stays paused.
    pub(crate) async fn run(mut self, mut made: mpsc::Receiver<Made>) {
        if let Some(reason) = self.parts.paused.take() {
            self.halt(reason);
        }
        self.prepare().await;
        let mut open = true;
        while open || !self.delivery.is_idle() {
            self.carry_out().await;
            self.finish_reading().await;
            self.tell();
            let wants = open && self.halted.is_none() && self.delivery.wants_more() && !self.is_paused();
            let wake = self.wake();
            tokio::select! {
                biased;
                Some(wish) = self.wishes.recv() => self.wish(&wish),
                Some((request, answer)) = self.in_flight.next() => self.answered(request, answer),
                work = made.recv(), if wants => match work {
                    Some(work) => self.take(work).await,
                    None => {
                        open = false;
                        self.halt("its worker has ended, which is a defect of tidemill: see the log, then start again".to_owned());
                    }
                },
                () = tokio::time::sleep_until(wake) => self.delivery.tick(self.parts.clock.now()),
            }
        }
        self.tell();
    }

    /// Makes the indices that are missing. A sink that is not there is waited for; one that refuses pauses the stream.
    async fn prepare(&mut self) {
        let mut patience = self.patience();
        loop {
            self.tell();
            if self.halted.is_some() {
                match self.wishes.recv().await {
                    Some(wish) => self.wish(&wish),
                    None => return,
                }
                continue;
            }
            let read = match self.parts.letters.tables_read() {
                Ok(read) => read,
                Err(error) => {
                    self.halt(error.to_string());
                    continue;
                }
            };
            match self.parts.preparation.carry_out(&self.parts.sink, &read).await {
                Ok(sweepable) => {
                    self.sweepable = sweepable;
                    self.last_error = None;
                    self.waits = None;
                    return self.tell();
                }
                Err(error) if error.is_transient() => self.wait_for_sink(&error, &mut patience).await,
                Err(error) => self.halt(error.to_string()),
            }
        }
    }

    fn patience(&self) -> Patience {
        let limits = &self.parts.limits;
        Patience { backoff: Backoff::new(limits.retry_delay_min, limits.retry_delay_max, self.parts.seed), failures: 0 }
    }

    /// Lets some time pass, the more the oftener, and says that the sink is waited for.
    async fn wait_for_sink(&mut self, error: &(dyn std::fmt::Display + Sync), patience: &mut Patience) {
        patience.failures += 1;
        let until = tokio::time::Instant::now() + patience.backoff.delay(patience.failures);
        tracing::warn!(stream = self.parts.name, %error, "the sink is waited for");
        self.waits = Some(error.to_string());
        loop {
            self.tell();
            tokio::select! {
                Some(wish) = self.wishes.recv() => self.wish(&wish),
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    fn wake(&self) -> tokio::time::Instant {
        /// An hour: nothing to wake for.
        const NEVER: Duration = Duration::from_secs(3600);
        match self.delivery.next_wake() {
            Some(time) => self.parts.clock.instant(time),
            None => tokio::time::Instant::now() + NEVER,
        }
    }

    fn is_paused(&self) -> bool {
        self.delivery.status().paused.is_some()
    }

    fn wish(&mut self, wish: &Wish) {
        match wish {
            Wish::Pause => {
                self.halted.get_or_insert_with(|| "paused by `tidemill pause`".to_owned());
                self.delivery.pause();
            }
            Wish::Resume => {
                self.halted = None;
                self.last_error = None;
                self.delivery.resume(self.parts.clock.now());
            }
        }
    }

    /// Pauses for a reason that the delivery machine cannot know.
    fn halt(&mut self, reason: String) {
        tracing::error!(stream = self.parts.name, reason, "stream paused");
        self.delivery.pause();
        self.halted.get_or_insert(reason);
    }

    /// The same where a part of what came is dropped: nothing more of this generation is taken, so that all of it comes
    /// once more after `resume`.
    fn fail(&mut self, reason: String) {
        self.failed = Some(self.generation);
        self.halt(reason);
    }

    fn has_failed(&self) -> bool {
        self.failed.is_some_and(|failed| self.generation <= failed)
    }

    /// Takes in a job's outcome: its parts are expected, then offered.
    async fn take(&mut self, made: Made) {
        if made.generation > self.generation {
            // The source began again: what had not settled comes once more.
            self.generation = made.generation;
            self.ledger.rewind();
            self.open = None;
            self.reading.clear();
        }
        if made.generation < self.generation || self.has_failed() {
            return;
        }
        let encoded = match made.encoded {
            Ok(encoded) => encoded,
            Err(reason) => return self.fail(reason),
        };
        let part_of = match self.begin(made.ticket, &encoded) {
            Ok(part_of) => part_of,
            Err(error) => return self.fail(error),
        };
        self.parts.observed.encoded(&encoded);
        self.offer(encoded, part_of, made.batches).await;
        if let Some(truncate) = made.truncate.filter(|_| !self.has_failed()) {
            self.empty(&truncate, part_of).await;
        }
        if !self.has_failed() {
            self.end(made.ticket, part_of);
        }
    }

    /// Opens the span where it is new, and expects the parts.
    fn begin(&mut self, ticket: Ticket, encoded: &Encoded) -> Result<PartOf, String> {
        let parts = (encoded.actions.len() + encoded.rejected.len()) as u32;
        match ticket {
            Ticket::Span { from, .. } => {
                let span = match self.open {
                    Some(span) => span,
                    None => self.ledger.open(from).map_err(|error| error.to_string())?,
                };
                self.open = Some(span);
                self.ledger.expect(span, parts).map_err(|error| error.to_string())?;
                Ok(PartOf::Span(span))
            }
            Ticket::Backfill { table, at, bucket, .. } => {
                let version = Version::new(self.parts.epoch, at, bucket);
                let reading = self.reading.entry(table).or_insert(Reading { outstanding: 0, version, read: false });
                reading.outstanding += u64::from(parts);
                Ok(PartOf::Backfill { table, generation: self.generation })
            }
        }
    }

    fn end(&mut self, ticket: Ticket, part_of: PartOf) {
        match (ticket, part_of) {
            (Ticket::Span { to: Some(to), .. }, PartOf::Span(span)) => {
                self.open = None;
                if let Err(error) = self.ledger.close(span, to) {
                    self.fail(error.to_string());
                }
            }
            (Ticket::Backfill { last: true, .. }, PartOf::Backfill { table, .. }) => {
                if let Some(reading) = self.reading.get_mut(&table) {
                    reading.read = true;
                }
            }
            _ => {}
        }
    }

    async fn offer(&mut self, encoded: Encoded, part_of: PartOf, batches: Vec<Arc<tidemill_change::ChangeBatch>>) {
        if !encoded.rejected.is_empty() {
            let rejected = encoded.rejected.len() as u32;
            match self.parts.letters.rejected(&encoded, &batches).await {
                Ok(()) => self.settled(part_of, rejected),
                Err(error) => return self.fail(error),
            }
        }
        if let Some(reason) = self.parts.letters.too_many_rejects(&encoded) {
            self.halt(reason);
        }
        if encoded.actions.is_empty() {
            return;
        }
        let items: Vec<Item> = encoded.actions.iter().map(item).collect();
        let committed_us = match part_of {
            PartOf::Backfill { .. } => Vec::new(),
            PartOf::Span(_) => encoded
                .actions
                .iter()
                .filter_map(|action| {
                    let batch = batches.get(action.batch as usize)?;
                    Some(batch.commit_of(&batch.changes[action.change as usize]).time_us)
                })
                .collect(),
        };
        let id = GroupId(self.next_group);
        self.next_group += 1;
        self.groups.insert(id, Group { encoded, part_of, committed_us, batches });
        if let Err(error) = self.delivery.offer(self.parts.clock.now(), id, items) {
            self.fail(error.to_string());
        }
    }

    /// Parts ended: tells the ledger, or the reading of a table.
    fn settled(&mut self, part_of: PartOf, parts: u32) {
        match part_of {
            PartOf::Span(span) => {
                if let Err(error) = self.ledger.settle(span, parts) {
                    self.fail(error.to_string());
                }
            }
            PartOf::Backfill { table, generation } => {
                if let Some(reading) = self.reading.get_mut(&table).filter(|_| generation == self.generation) {
                    reading.outstanding = reading.outstanding.saturating_sub(u64::from(parts));
                }
            }
        }
    }

    /// Tells of tables that were read to their end and have settled, after what no row belongs to was removed.
    async fn finish_reading(&mut self) {
        let is_done = |(_, reading): &(&TableId, &Reading)| reading.read && reading.outstanding == 0;
        while let Some((&table, &Reading { version, .. })) = self.reading.iter().find(is_done) {
            if let Err(reason) = self.finish_table(table, version).await {
                self.reading.clear();
                self.fail(reason);
            }
        }
    }

    async fn finish_table(&mut self, table: TableId, version: Option<Version>) -> Result<(), String> {
        let part_of = PartOf::Backfill { table, generation: self.generation };
        if self.parts.sweeps
            && let Some(version) = version
            && let Some(documents) = self.parts.documents.get(&table).cloned()
            && self.sweepable.contains(&documents.index)
            && let Err(error) = self.delete_patiently(&documents, version, Which::Older, part_of).await
        {
            let index = documents.index;
            return Err(format!("index `{index}` could not be searched for documents without a row: {error}"));
        }
        self.reading.remove(&table);
        let generation = self.generation;
        self.report.send_modify(|report| {
            if report.read.0 != generation {
                report.read = (generation, HashSet::new());
            }
            report.read.1.insert(table);
        });
        self.parts.moved.notify_one();
        Ok(())
    }

    /// Does what the machine said, until it says no more.
    async fn carry_out(&mut self) {
        let mut letters = match self.halted {
            None => std::mem::take(&mut self.unwritten),
            Some(_) => Vec::new(),
        };
        loop {
            while let Some(command) = self.delivery.next_command() {
                match command {
                    Command::Send { request, slices, bytes, .. } => self.send(request, &slices, bytes),
                    Command::DeadLetter { item, error } => letters.push((item, error)),
                    // A late request of unknown outcome is outlived by the tombstone: see `index.gc_deletes`.
                    Command::ReadBack { .. } => {}
                    Command::Settled { group, counts } => {
                        self.parts.observed.settled(&counts);
                        if let Some(part_of) = self.groups.get(&group).map(|group| group.part_of) {
                            self.settled(part_of, counts.total());
                        }
                    }
                    Command::GroupDone(group) => self.done(group).await,
                    Command::Pause(pause) => self.paused(&pause),
                    Command::Resumed => tracing::info!(stream = self.parts.name, "the sink takes documents again"),
                }
            }
            if letters.is_empty() {
                return;
            }
            self.write_letters(std::mem::take(&mut letters)).await;
        }
    }

    fn send(&mut self, request: RequestId, slices: &[Slice], bytes: u64) {
        let body = self.body(slices);
        self.parts.observed.request(bytes);
        let sink = self.parts.sink.clone();
        self.in_flight.push(Box::pin(async move { (request, sink.bulk(body).await) }));
    }

    /// The lines of a request. The common case, one piece of one body, is not copied.
    fn body(&self, slices: &[Slice]) -> Bytes {
        let piece = |slice: &Slice| {
            let encoded = &self.groups[&slice.group].encoded;
            let first = &encoded.actions[slice.start as usize];
            let last = &encoded.actions[(slice.start + slice.len - 1) as usize];
            encoded.body.slice(first.start..last.end)
        };
        if let [slice] = slices {
            return piece(slice);
        }
        let mut body = BytesMut::new();
        for slice in slices {
            body.extend_from_slice(&piece(slice));
        }
        body.freeze()
    }

    fn answered(&mut self, request: RequestId, answer: Result<Answer, SinkError>) {
        let now = self.parts.clock.now();
        match answer {
            Ok(answer) => {
                let response = Response {
                    status: answer.status,
                    retry_after: answer.retry_after,
                    body: &answer.body,
                    items_left_out: false,
                };
                let wal_end = Lsn(self.parts.wal_end.load(Ordering::Relaxed));
                if let Some(horizon) = Version::new(self.parts.epoch, wal_end, BUCKET_LAST) {
                    self.delivery.set_horizon(horizon);
                }
                let answer = tidemill_settle::read(&response, self.delivery.sent(request));
                self.note(&answer);
                self.delivery.answered(now, request, answer);
            }
            Err(error) => {
                self.last_error = Some(error.to_string());
                tracing::warn!(stream = self.parts.name, %error, "a request failed; it is sent again");
                let failure = if error.is_unreachable() { Failure::NotSent } else { Failure::Unknown };
                self.delivery.failed(now, request, failure);
                if error.is_untrusted() {
                    self.halt(error.to_string());
                }
            }
        }
    }

    /// Keeps the last trouble's words for `status`.
    fn note(&mut self, answer: &tidemill_settle::Answer) {
        match answer {
            tidemill_settle::Answer::Items(_) if !self.delivery.status().failing => self.last_error = None,
            tidemill_settle::Answer::RetryWhole { trouble, .. } => self.last_error = Some(trouble.to_string()),
            tidemill_settle::Answer::Unknown(unknown) => {
                tracing::warn!(stream = self.parts.name, reason = %unknown, "an answer could not be read; the lines are sent again");
                self.last_error = Some(unknown.to_string());
            }
            _ => {}
        }
    }

    fn paused(&mut self, pause: &Pause) {
        if pause.kind == PauseKind::SinkFull {
            tracing::error!(stream = self.parts.name, reason = %pause, "the stream waits");
        } else {
            tracing::error!(stream = self.parts.name, reason = %pause, "stream paused");
        }
        self.last_error = Some(pause.to_string());
    }

    async fn done(&mut self, id: GroupId) {
        let Some(group) = self.groups.remove(&id) else { return };
        if let Err(error) = self.parts.letters.superseded_by(&group.encoded).await {
            self.halt(error);
        }
        self.parts.observed.acknowledged(group.committed_us.iter().map(|&at| age_us(at)));
    }

    async fn write_letters(&mut self, letters: Vec<(ItemRef, tidemill_settle::SinkError)>) {
        let written = letters.iter().filter_map(|(item, error)| {
            let group = self.groups.get(&item.group)?;
            let action = &group.encoded.actions[item.index as usize];
            Some(self.parts.letters.of_action(&group.encoded, action, &group.batches, error))
        });
        let written: Vec<_> = written.collect();
        if let Err(error) = self.parts.letters.store(written).await {
            self.unwritten.extend(letters);
            return self.halt(error);
        }
        let now = self.parts.clock.now();
        for (item, _) in letters {
            self.delivery.dead_lettered(now, item);
        }
        if let Some(reason) = self.parts.letters.full().await {
            self.halt(reason);
        }
    }

    /// TRUNCATE: what precedes it settles, then each document that is there is deleted at the truncate's version.
    async fn empty(&mut self, truncate: &tidemill_change::Truncate, part_of: PartOf) {
        let Some(version) = Version::new(self.parts.epoch, truncate.commit.lsn, truncate.bucket) else {
            return self.halt("the WAL is past what a version can hold".to_owned());
        };
        for table in &truncate.tables {
            let Some(documents) = self.parts.documents.get(table).cloned() else { continue };
            self.until_idle().await;
            if let Err(error) = self.delete_patiently(&documents, version, Which::All, part_of).await {
                let index = documents.index;
                return self.fail(format!("TRUNCATE could not be carried out on index `{index}`: {error}"));
            }
        }
    }

    /// As [`StreamTask::delete_all`], again from the beginning for as long as the sink is away: what is gone is not found
    /// a second time.
    async fn delete_patiently(
        &mut self,
        documents: &Documents,
        version: Version,
        which: Which,
        part_of: PartOf,
    ) -> Result<(), SinkError> {
        let mut patience = self.patience();
        loop {
            match self.delete_all(documents, version, which, part_of).await {
                Err(error) if error.is_transient() => self.wait_for_sink(&error, &mut patience).await,
                done => {
                    self.waits = None;
                    return done;
                }
            }
        }
    }

    async fn delete_all(
        &mut self,
        documents: &Documents,
        version: Version,
        which: Which,
        part_of: PartOf,
    ) -> Result<(), SinkError> {
        let Documents { index, prefix } = documents;
        self.parts.sink.refresh(index).await?;
        let (mut scroll, mut ids) = self.parts.sink.scroll(index).await?;
        while !ids.is_empty() {
            ids.retain(|id| id._id.starts_with(prefix.as_str()));
            ids.retain(|id| {
                id._version.is_some_and(|stored| is_ours(stored) && (which == Which::All || stored < version.get()))
            });
            let encoded = deletes(&ids, version);
            let parts = encoded.actions.len() as u32;
            match part_of {
                PartOf::Span(span) => {
                    if let Err(error) = self.ledger.expect(span, parts) {
                        self.fail(error.to_string());
                    }
                }
                PartOf::Backfill { table, .. } => {
                    if let Some(reading) = self.reading.get_mut(&table) {
                        reading.outstanding += u64::from(parts);
                    }
                }
            }
            self.offer(encoded, part_of, Vec::new()).await;
            self.until_idle().await;
            (scroll, ids) = self.parts.sink.scroll_on(&scroll).await?;
        }
        self.parts.sink.end_scroll(&scroll).await;
        Ok(())
    }

    /// Delivers until all that was offered has settled.
    async fn until_idle(&mut self) {
        loop {
            self.carry_out().await;
            self.tell();
            if self.delivery.is_idle() {
                return;
            }
            let wake = self.wake();
            tokio::select! {
                Some(wish) = self.wishes.recv() => self.wish(&wish),
                Some((request, answer)) = self.in_flight.next() => self.answered(request, answer),
                () = tokio::time::sleep_until(wake) => self.delivery.tick(self.parts.clock.now()),
            }
        }
    }

    fn with_way_on(&self, reason: String) -> String {
        if reason.contains("tidemill resume") {
            return reason;
        }
        format!("{reason}; then `tidemill resume {}`", self.parts.name)
    }

    /// Lets the others know how it stands.
    fn tell(&mut self) {
        let (settled, failed) = (self.ledger.settled(), self.failed);
        let status = self.delivery.status();
        let standing = if let Some(reason) = &self.halted {
            Standing::Paused(self.with_way_on(reason.clone()))
        } else if let Some(pause) = &status.paused {
            Standing::Paused(self.with_way_on(pause.to_string()))
        } else if status.sink_full || status.failing {
            Standing::Waiting(self.last_error.clone().unwrap_or_else(|| "the sink does not answer".to_owned()))
        } else if let Some(error) = &self.waits {
            Standing::Waiting(error.clone())
        } else {
            Standing::Running
        };
        self.parts.observed.standing(&standing, !self.reading.is_empty(), &status);
        let wal_end = self.parts.wal_end.load(Ordering::Relaxed);
        let oldest_us = self.groups.values().filter_map(|group| group.committed_us.first()).min();
        self.parts.observed.lag(wal_end.saturating_sub(settled.0), oldest_us.map_or(0, |&at| age_us(at)));
        let changed = self.report.send_if_modified(|report| {
            let changed = report.settled != settled || report.standing != standing || report.failed != failed;
            (report.settled, report.standing, report.failed) = (settled, standing, failed);
            changed
        });
        if changed {
            self.parts.moved.notify_one();
        }
    }
}

/// How long ago a moment was, in microseconds since 1970.
fn age_us(at_us: i64) -> u64 {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    now_us.saturating_sub(at_us).max(0) as u64
}

fn item(action: &tidemill_encode::Action) -> Item {
    Item {
        key: action.key,
        version: action.version,
        bytes: (action.end - action.start) as u32,
        kind: match action.kind {
            EncodedKind::Index => ActionKind::Index,
            EncodedKind::Delete => ActionKind::Delete,
        },
        serial: action.serial,
    }
}

/// Whether a change can have given this version: WAL begins with its second segment, so what lies below was counted by the
/// sink for somebody who wrote there without a version.
fn is_ours(stored: u64) -> bool {
    const WAL_BEGINS: Lsn = Lsn(16 << 20);
    Version::from(stored).commit() >= Lsn(WAL_BEGINS.0 - 8)
}

/// Which documents of an index are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// Those with a lower version.
    Older,
}

/// Deletes at one version, as the encoder would have made them.
fn deletes(ids: &[ScrolledId], version: Version) -> Encoded {
    let (mut body, mut actions) = (BytesMut::new(), Vec::with_capacity(ids.len()));
    for (key, id) in ids.iter().enumerate() {
        let start = body.len();
        let mut meta = serde_json::json!({
            "_index": id._index, "_id": id._id, "version": version.get(), "version_type": "external_gte",
        });
        if let Some(routing) = &id._routing {
            meta["routing"] = routing.as_str().into();
        }
        body.extend_from_slice(serde_json::json!({ "delete": meta }).to_string().as_bytes());
        body.extend_from_slice(b"\n");
        actions.push(tidemill_encode::Action {
            kind: EncodedKind::Delete,
            serial: false,
            // There is no change behind it.
            batch: u32::MAX,
            change: 0,
            // An id stands once in a scroll, and nothing else is under way meanwhile.
            key: key as u64,
            version,
            start,
            end: body.len(),
        });
    }
    Encoded { body: body.freeze(), actions, rejected: Vec::new(), counts: tidemill_encode::Counts::default() }
}

/// Waits until a stream is paused, or was: it then dropped something of this generation.
pub(crate) async fn paused(mut report: watch::Receiver<Report>, generation: u32) {
    let is_paused = |report: &Report| {
        matches!(report.standing, Standing::Paused(_)) || report.failed.is_some_and(|failed| failed >= generation)
    };
    let paused = report.wait_for(is_paused).await;
    if paused.is_err() {
        // Its task has ended; whoever waits learns it elsewhere.
        std::future::pending().await
    }
}

/// Waits until a stream's sink has been away for so long without a break.
pub(crate) async fn away(mut report: watch::Receiver<Report>, long: Duration) {
    let is_waiting = |report: &Report| matches!(report.standing, Standing::Waiting(_));
    loop {
        if report.wait_for(is_waiting).await.is_err() {
            std::future::pending().await
        }
        if tokio::time::timeout(long, report.wait_for(|report| !is_waiting(report))).await.is_err() {
            return;
        }
    }
}
