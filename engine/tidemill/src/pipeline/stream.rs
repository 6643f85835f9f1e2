//! A stream's delivery: carries out what the delivery machine says and tells it what came of it.
//!
//! ```text
//!  Made ─► ledger (parts expected) ─► Delivery ─► requests ─► answers ─► Delivery ─► parts settled ─► Report
//!             └ rejects ─► dead letters, durable ─────────────────────────────────────────┘
//! ```
//!
//! The order of these steps is what keeps the promise: a span's parts are expected before the first is offered, and a
//! part settles only after the sink's word or after its dead letter is on disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tidemill_change::{Epoch, Lsn, TableId, Version};
use tidemill_encode::{ActionKind as EncodedKind, Encoded};
use tidemill_settle::{ActionKind, Delivery, GroupId, Item, ItemRef, Ledger, RequestId, SpanId};
use tokio::sync::{Notify, mpsc, watch};

use super::clock::Clock;
use super::letters::Letters;
use super::observe::Observed;
use super::worker::{Made, Ticket};
use crate::deliver::{Answer, Preparation, Sink, SinkError};

mod outgoing;
mod prepare;
mod removal;
mod report;
#[cfg(test)]
mod tests;

use self::prepare::{Look, Watching};
pub(crate) use self::removal::Documents;
use self::removal::Which;
pub(crate) use self::report::{PAUSED, RUN_ANEW, Report, Standing, StreamHandle, Wish, away, paused, with_way_on};

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

/// Rows of a table that were there before, on their way.
#[derive(Clone, Copy, Debug)]
struct Reading {
    outstanding: u64,
    /// The version of the rows.
    version: Option<Version>,
    /// No more rows follow.
    read: bool,
}

/// What came of something that was sent to the sink.
enum Came {
    Answer(RequestId, Result<Answer, SinkError>),
    Look(Look),
}

type Awaited = BoxFuture<'static, Came>;

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
    /// Why a plugin has to run a batch again, as long as it has to.
    pub(crate) again: watch::Receiver<Option<String>>,
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
    groups: BTreeMap<GroupId, Group>,
    next_group: u64,
    in_flight: FuturesUnordered<Awaited>,
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
    /// Before anything more is sent, the indices have to be looked at.
    unprepared: bool,
    /// Indices that we made, in an earlier run: a document in them without a row is one that is no longer right.
    sweepable: HashSet<String>,
    watching: Watching,
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
            groups: BTreeMap::new(),
            next_group: 0,
            in_flight: FuturesUnordered::new(),
            wishes,
            waits: None,
            unwritten: Vec::new(),
            reading: HashMap::new(),
            halted: None,
            last_error: None,
            unprepared: true,
            sweepable: HashSet::new(),
            watching: Watching::default(),
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
                Some(came) = self.in_flight.next() => self.came(came),
                // It is told at the next turn.
                Ok(()) = self.parts.again.changed() => {}
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

    fn wake(&self) -> tokio::time::Instant {
        /// An hour: nothing to wake for.
        const NEVER: Duration = Duration::from_secs(3600);
        match self.delivery.next_wake() {
            Some(time) => self.parts.clock.instant(time),
            None => tokio::time::Instant::now() + NEVER,
        }
    }

    fn came(&mut self, came: Came) {
        match came {
            Came::Answer(request, answer) => self.answered(request, answer),
            Came::Look(look) => self.looked(look),
        }
    }

    fn is_paused(&self) -> bool {
        self.delivery.pause_reason().is_some()
    }

    fn wish(&mut self, wish: &Wish) {
        match wish {
            Wish::Pause => {
                self.halted.get_or_insert_with(|| PAUSED.to_owned());
                self.delivery.pause();
            }
            Wish::Resume => {
                self.halted = None;
                self.last_error = None;
                self.unprepared = true;
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
        if let Err(reason) = self.prepare_named(&encoded).await {
            return self.fail(reason);
        }
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
        self.parts.letters.count_encoded(&encoded);
        if let Some(reason) = self.parts.letters.too_many_rejects() {
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
        {
            for documents in self.by_index(&documents) {
                self.sweep(&documents, version, part_of).await?;
            }
            // Also in an index of others: what was refused again has a new letter.
            self.parts.letters.superseded_under(&documents, version).await?;
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

    /// Removes from an index what no row belongs to.
    async fn sweep(&mut self, documents: &Documents, version: Version, part_of: PartOf) -> Result<(), String> {
        if !self.sweepable.contains(&documents.index) {
            return Ok(());
        }
        // The row of such a document is there: it was refused, and the document is what the index took before.
        let refused = self.parts.letters.rows_refused(&documents.index, version).await?;
        let older = Which::OlderBut(refused);
        let deleted = self.delete_patiently(documents, version, &older, part_of).await;
        deleted.map_err(|error| {
            format!("index `{}` could not be searched for documents without a row: {error}", documents.index)
        })
    }
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
