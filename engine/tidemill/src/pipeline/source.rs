//! The source's side of the pipeline: reads the stream, cuts it, hands the pieces to the streams that want them, and
//! tells Postgres how far all of them have settled.
//!
//! It never waits for one thing only. While the streams have no room it still answers the server; while the server has
//! nothing to say it still confirms. When a stream has room and anything is there, it is cut at once: so batches are
//! small while the sink is idle and grow under load, with no timer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemill_change::{ChangeBatch, Cut, LeftOut, Lsn, TableId};
use tidemill_decode::{Decoder, Message};
use tidemill_settle::{Progress, StatusUpdate};
use tokio::sync::{Notify, mpsc, watch};

use super::board::Board;
use super::clock::Clock;
use super::fill::Filler;
use super::keeper::Keeper;
use super::stream::StreamHandle;
use super::worker::{Job, Ticket};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::source::slot;
use crate::source::wire::{Frames, Payload, Status};

/// A stream that has had no room for this long, while another had, is let go: it is taken up again from what it has
/// settled once it has room.
pub(super) const DETACH_AFTER: Duration = Duration::from_secs(10);
/// How often it is said that too much WAL is held.
const WAL_TOLD_INTERVAL: Duration = Duration::from_secs(60);
/// The server has this long to take our last word.
const FINISH_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

/// Why the source stopped reading.
#[derive(Debug)]
pub(super) enum End {
    /// Somebody asked for it.
    Stopped,
    /// Everything up to the wanted LSN has settled.
    CaughtUp,
    /// A stream wants to be taken up, so the source begins again from what is confirmed.
    Again,
}

/// How much is collected before it must be cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// What the source watches its progress against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Stop at the first moment at which everything up to here has settled.
    pub(super) until: Option<Lsn>,
    /// Above this much WAL held, it is said loudly.
    pub(super) wal_keep_bytes: Option<u64>,
}

/// What the engine shares with the source's task.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) streams: Vec<StreamHandle>,
    /// A stream settled something, or wants to be taken up.
    pub(super) moved: Arc<Notify>,
    pub(super) clock: Clock,
    pub(super) caps: Caps,
    pub(super) bounds: Bounds,
    /// How far the source's WAL is known to reach.
    pub(super) wal_end: Arc<AtomicU64>,
    pub(super) board: Arc<Board>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) keeper: Keeper,
}

/// One replication connection's life.
pub(super) struct Reader<'a> {
    pub(super) shared: &'a mut Shared,
    pub(super) wire: slot::Stream,
    pub(super) decoder: Decoder,
    pub(super) progress: Progress,
    pub(super) filler: Filler,
    pub(super) generation: u32,
    /// Messages that were read and not yet decoded.
    frames: Option<(Frames, usize)>,
    /// The end of what was last handed on.
    handed: Lsn,
    /// A transaction has begun and not ended.
    is_inside: bool,
    blocked_since: HashMap<usize, tokio::time::Instant>,
    /// When it was last said that too much WAL is held.
    told_wal_at: Option<tokio::time::Instant>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        shared: &'a mut Shared,
        wire: slot::Stream,
        decoder: Decoder,
        filler: Filler,
        generation: u32,
        start: Lsn,
    ) -> Reader<'a> {
        let progress = Progress::new(shared.clock.now(), start);
        Reader {
            shared,
            wire,
            decoder,
            progress,
            filler,
            generation,
            frames: None,
            handed: start,
            is_inside: false,
            blocked_since: HashMap::new(),
            told_wal_at: None,
        }
    }

    /// Reads until there is a reason to end. An error is the connection's or the decoder's.
    pub(super) async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> Result<End, Error> {
        let mut told = stop.clone();
        loop {
            self.decode()?;
            if let Some(end) = self.confirm().await? {
                return Ok(end);
            }
            let can_cut = self.decoder.can_cut();
            let ready = self.has_news() && can_cut;
            // Inside a bucket only what comes next leads to where a cut may be, however much there is.
            let reading = self.frames.is_none() && !(self.is_full() && can_cut);
            self.let_go_of_the_stuck(ready);
            let wake = self.shared.clock.instant(self.progress.next_wake());
            let moved = Arc::clone(&self.shared.moved);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(End::Stopped),
                permits = room(&self.shared.streams), if ready => {
                    if let Some(end) = self.hand_on(permits, &mut told).await? {
                        return Ok(end);
                    }
                }
                frames = self.wire.read(), if reading => {
                    let frames = frames?;
                    if frames.is_end() {
                        return Err(Error::transient("the server ended the replication stream"));
                    }
                    self.frames = Some((frames, 0));
                }
                () = moved.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Decodes what was read, up to where a cut is due.
    fn decode(&mut self) -> Result<(), Error> {
        let mut wal_end = Lsn::ZERO;
        let decoded = self.decode_frames(&mut wal_end);
        self.shared.wal_end.fetch_max(wal_end.0, Ordering::Relaxed);
        decoded
    }

    fn decode_frames(&mut self, wal_end: &mut Lsn) -> Result<(), Error> {
        let Some((frames, next)) = &mut self.frames else { return Ok(()) };
        while let Some(frame) = frames.frames.get(*next) {
            if self.decoder.must_cut() || self.decoder.can_cut() && is_full(&self.decoder, self.shared.caps) {
                return Ok(());
            }
            *next += 1;
            match Payload::parse(&frames.chunk, frame)? {
                Payload::Wal { end, body, .. } => {
                    self.progress.received(end);
                    self.shared.metrics.source.bytes.inc_by(body.len() as u64);
                    *wal_end = (*wal_end).max(end);
                    match self.decoder.message(&frames.chunk, body)? {
                        Message::Relation(relation) => self.shared.relation(&mut self.decoder, &relation),
                        Message::Begin => self.is_inside = true,
                        Message::Commit { .. } => {
                            self.is_inside = false;
                            self.shared.metrics.source.transactions.inc();
                        }
                        _ => {}
                    }
                }
                Payload::Keepalive { end, reply, .. } => {
                    self.progress.keepalive(end, reply);
                    *wal_end = (*wal_end).max(end);
                    self.decoder.keepalive(end);
                }
            }
        }
        self.frames = None;
        Ok(())
    }

    /// Something is there that the streams have not seen, were it only that time went on. Inside a transaction no cut can
    /// tell that.
    fn has_news(&self) -> bool {
        let has_moved = !self.is_inside && self.decoder.end() > self.handed;
        self.decoder.pending_rows() > 0 || has_moved || self.decoder.must_cut()
    }

    fn is_full(&self) -> bool {
        is_full(&self.decoder, self.shared.caps)
    }

    /// Hands a cut to each stream that wants something of it.
    async fn hand_on(
        &mut self,
        permits: Vec<(usize, mpsc::OwnedPermit<Job>)>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<End>, Error> {
        self.blocked_since.clear();
        let mut cut = self.decoder.cut();
        let mut faults = Vec::new();
        for (place, batch) in cut.batches.iter_mut().enumerate() {
            if !batch.has_unchanged() || !self.is_awaited(batch.relation.id) {
                continue;
            }
            let columns = (0..batch.unchanged.len()).filter(|&column| batch.unchanged[column].is_some()).collect();
            let filled = tokio::select! {
                filled = self.fill(batch) => filled?,
                _ = stop.wait_for(|stop| *stop) => return Ok(Some(End::Stopped)),
            };
            faults.extend(filled.map(|reason| Fault { batch: place, columns, reason }));
        }
        if let Some(to) = cut.to {
            self.handed = to;
        }
        let cut = Shareable { faults, ..Shareable::from(cut) };
        for (index, permit) in permits {
            if let Some(job) = self.shared.streams[index].job(&cut, self.generation) {
                permit.send(job);
            }
        }
        Ok(None)
    }

    /// Some stream will look at the table's rows. One that has failed drops all that it still gets.
    fn is_awaited(&self, table: TableId) -> bool {
        let mut streams = self.shared.streams.iter();
        streams.any(|stream| stream.attached && stream.wants(table) && !stream.has_failed(self.generation))
    }

    /// Fills cells that the WAL left out; the server is answered meanwhile. Gives the reason where they cannot be filled.
    async fn fill(&mut self, batch: &mut ChangeBatch) -> Result<Option<String>, Error> {
        let filling = self.filler.fill(batch);
        tokio::pin!(filling);
        loop {
            let wake = self.shared.clock.instant(self.progress.next_wake());
            tokio::select! {
                filled = &mut filling => return filled,
                () = tokio::time::sleep_until(wake) => {
                    if let Some(update) = self.progress.tick(self.shared.clock.now()) {
                        self.wire.send_status(status(&update)).await?;
                    }
                }
            }
        }
    }

    /// Tells Postgres what has settled, and sees whether there is a reason to end.
    async fn confirm(&mut self) -> Result<Option<End>, Error> {
        let confirmed = self.keep();
        let wal_end = Lsn(self.shared.wal_end.load(Ordering::Relaxed));
        self.shared.board.progress(confirmed, wal_end);
        self.account(confirmed, wal_end);
        let now = self.shared.clock.now();
        if let Some(update) = self.progress.tick(now) {
            self.wire.send_status(status(&update)).await?;
        }
        if self
            .shared
            .bounds
            .until
            .is_some_and(|until| settled_by(&self.shared.streams, |stream| !stream.is_paused()) >= until)
        {
            return Ok(Some(End::CaughtUp));
        }
        let wants = |stream: &StreamHandle| stream.wants_to_be_taken_up(self.generation);
        if self.shared.board.take_again() || self.shared.streams.iter().any(wants) {
            return Ok(Some(End::Again));
        }
        Ok(None)
    }

    /// Shows how far the source is, and says when its slot holds more WAL than was allowed.
    fn account(&mut self, confirmed: Lsn, wal_end: Lsn) {
        let held_bytes = wal_end.0.saturating_sub(confirmed.0);
        let metrics = &self.shared.metrics.source;
        metrics.received_lsn.set(wal_end.0 as i64);
        metrics.confirmed_lsn.set(confirmed.0 as i64);
        metrics.wal_held_bytes.set(held_bytes as i64);
        let keep_bytes = self.shared.bounds.wal_keep_bytes.unwrap_or(u64::MAX);
        let told_lately = self.told_wal_at.is_some_and(|at| at.elapsed() < WAL_TOLD_INTERVAL);
        if held_bytes > keep_bytes && !told_lately {
            self.told_wal_at = Some(tokio::time::Instant::now());
            tracing::error!(
                held_bytes,
                keep_bytes,
                "the slot holds more WAL than `source.wal.keep`: see `tidemill status`"
            );
        }
    }

    /// One stream's trouble is its own: see [`DETACH_AFTER`]. One that is paused is not waited for.
    fn let_go_of_the_stuck(&mut self, ready: bool) {
        if !ready {
            return;
        }
        let now = tokio::time::Instant::now();
        let stuck: Vec<bool> = self.shared.streams.iter().map(|stream| stream.attached && !stream.has_room()).collect();
        let another_could = self.shared.streams.iter().zip(&stuck).any(|(stream, stuck)| stream.attached && !stuck);
        for (index, stuck) in stuck.into_iter().enumerate() {
            let stream = &mut self.shared.streams[index];
            if !stuck || !another_could {
                self.blocked_since.remove(&index);
            } else if stream.is_paused()
                || now.duration_since(*self.blocked_since.entry(index).or_insert(now)) > DETACH_AFTER
            {
                stream.attached = false;
                tracing::warn!(stream = stream.name, "the stream takes nothing; the others go on without it");
            }
        }
    }

    /// After the last cut: waits until all that was handed on has settled, confirms it, and ends the connection.
    pub(super) async fn drain(mut self, patience: Duration) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + patience;
        let moved = Arc::clone(&self.shared.moved);
        while settled_by(&self.shared.streams, StreamHandle::is_running) < self.handed {
            self.confirm_only().await?;
            let wake = self.shared.clock.instant(self.progress.next_wake());
            tokio::select! {
                () = moved.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!("not all that is in flight has settled in time; it will be sent again at the next start");
                    break;
                }
            }
        }
        self.finish().await
    }

    /// Ends the connection before the source begins again.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        self.shared.keeper.keep_now(self.shared.settled()).await?;
        self.progress.ask();
        self.confirm_only().await?;
        match tokio::time::timeout(FINISH_PATIENCE, self.wire.finish()).await {
            Ok(finished) => Ok(finished?),
            // Inside a large transaction the server still has much to say; what it was told is in the socket.
            Err(_) => Ok(()),
        }
    }

    /// Only what the state holds is told to Postgres.
    fn keep(&mut self) -> Lsn {
        self.shared.keeper.keep(self.shared.settled());
        let confirmed = self.shared.keeper.kept();
        self.progress.confirmed(confirmed);
        confirmed
    }

    async fn confirm_only(&mut self) -> Result<(), Error> {
        self.keep();
        if let Some(update) = self.progress.tick(self.shared.clock.now()) {
            self.wire.send_status(status(&update)).await?;
        }
        Ok(())
    }
}

fn status(update: &StatusUpdate) -> Status {
    Status { received: update.write, flushed: update.flush, reply: false }
}

fn is_full(decoder: &Decoder, caps: Caps) -> bool {
    decoder.pending_rows() >= caps.rows || decoder.pending_bytes() >= caps.bytes
}

/// What some of the streams have settled; where there is none, nothing more will settle.
fn settled_by(streams: &[StreamHandle], which: impl Fn(&StreamHandle) -> bool) -> Lsn {
    streams.iter().filter(|stream| which(stream)).map(StreamHandle::settled).min().unwrap_or(Lsn(u64::MAX))
}

/// Waits until each attached stream has room for one more job.
async fn room(streams: &[StreamHandle]) -> Vec<(usize, mpsc::OwnedPermit<Job>)> {
    let mut permits = Vec::with_capacity(streams.len());
    for (index, stream) in streams.iter().enumerate().filter(|(_, stream)| stream.attached) {
        // A stream whose task ended has no room and no wishes; the others go on.
        if let Ok(permit) = stream.jobs.clone().reserve_owned().await {
            permits.push((index, permit));
        }
    }
    permits
}

/// A cut whose batches several streams can hold.
#[derive(Debug)]
pub(super) struct Shareable {
    pub(super) batches: Vec<Arc<ChangeBatch>>,
    pub(super) truncate: Option<tidemill_change::Truncate>,
    pub(super) from: Lsn,
    pub(super) to: Option<Lsn>,
    /// The last transaction that it has something of.
    last_commit: Lsn,
    faults: Vec<Fault>,
}

/// A batch whose rows could not be completed, and why: what reads one of these columns cannot go on.
#[derive(Debug)]
struct Fault {
    batch: usize,
    columns: Vec<usize>,
    reason: String,
}

impl From<Cut> for Shareable {
    fn from(cut: Cut) -> Shareable {
        let Cut { batches, truncate, from, to } = cut;
        let commits = batches.iter().filter_map(|batch| batch.commits.last());
        let commits = commits.chain(truncate.as_ref().map(|truncate| &truncate.commit));
        let last_commit = commits.map(|commit| commit.lsn).max().unwrap_or_default();
        Shareable {
            batches: batches.into_iter().map(Arc::new).collect(),
            truncate,
            from,
            to,
            last_commit,
            faults: Vec::new(),
        }
    }
}

impl Shared {
    /// What may be confirmed: everything up to here has settled in all streams, the paused and the stuck ones too.
    pub(super) fn settled(&self) -> Lsn {
        self.streams.iter().map(StreamHandle::settled).min().unwrap_or_default()
    }

    /// A relation appeared or changed: tables that no stream wants are not decoded.
    fn relation(&self, decoder: &mut Decoder, relation: &tidemill_change::Relation) {
        if !self.streams.iter().any(|stream| stream.wants(relation.id)) {
            decoder.ignore(relation.id);
        }
    }
}

impl StreamHandle {
    /// What of a cut is this stream's. Every cut moves a stream's span on, even one with nothing for it.
    ///
    /// What a stream has settled it gets whole or not at all. The beginning of a large transaction without its end, and
    /// without what came after, would bring documents back that were deleted since.
    fn job(&self, cut: &Shareable, generation: u32) -> Option<Job> {
        let is_settled = match cut.to {
            Some(to) => to <= self.from,
            None => cut.last_commit < self.from,
        };
        if is_settled {
            return None;
        }
        let wanted = |batch: &&Arc<ChangeBatch>| self.wants(batch.relation.id);
        let batches: Vec<_> = cut.batches.iter().filter(wanted).map(|batch| self.of_its_columns(batch)).collect();
        let truncate = cut.truncate.clone().filter(|truncate| truncate.tables.iter().any(|&table| self.wants(table)));
        let ticket = Ticket::Span { from: cut.from, to: cut.to };
        let concerns = |fault: &&Fault| {
            let batch = &cut.batches[fault.batch];
            let left_out = &self.left_out_of(batch).unwrap_or(&batch.left_out);
            self.wants(batch.relation.id) && fault.columns.iter().any(|&column| !left_out.has(column))
        };
        let fault = cut.faults.iter().find(concerns).map(|fault| fault.reason.clone());
        Some(Job { generation, ticket, batches, truncate, fault })
    }

    /// The batch as this stream reads it: what other streams read besides is none of its business.
    fn of_its_columns(&self, batch: &Arc<ChangeBatch>) -> Arc<ChangeBatch> {
        match self.left_out_of(batch) {
            Some(left_out) if *left_out != batch.left_out => Arc::new(batch.without(left_out)),
            _ => Arc::clone(batch),
        }
    }

    /// What this stream leaves out of a batch: nothing where its table has taken another shape since the stream began.
    fn left_out_of(&self, batch: &ChangeBatch) -> Option<&LeftOut> {
        let (relation, left_out) = self.left_out.get(&batch.relation.id)?;
        (*relation == batch.relation).then_some(left_out)
    }
}
