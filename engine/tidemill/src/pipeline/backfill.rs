//! Reads rows that were there before the stream began.
//!
//! Rows get a version just below the LSN from which their stream reads on. Every change from that LSN on is still to come and
//! wins over them, so it does not matter in which later snapshot they are read: a backfill that was cut off is made
//! again, and one that is asked for later is made the same way.
//!
//! Just below: no commit record begins within the 8 bytes before the end of another record, so the versions of that place
//! are never a change's. Its buckets tell one backfill from the next, for a database that stands still between two.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidemill_change::{Commit, Lsn};
use tidemill_decode::CopyDecoder;
use tokio::sync::watch;
use tokio::time::Instant;

use super::source::{DETACH_AFTER, End, Shared};
use super::stream::StreamHandle;
use super::worker::{Job, Ticket};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::source::Connector;
use crate::source::slot::Created;
use crate::source::snapshot::{Selection, SnapshotSource};
use crate::state::{BackfillState, State, TableBackfill};

/// A table that a stream has to read, by places in the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Todo {
    pub(super) stream: usize,
    pub(super) table: usize,
}

/// What reading needs.
pub(super) struct Reading<'a> {
    pub(super) shared: &'a mut Shared,
    pub(super) plan: &'a Plan,
    pub(super) state: &'a Arc<State>,
    pub(super) generation: u32,
    pub(super) connector: &'a Connector,
    /// Which of the buckets just below an LSN the rows take.
    pub(super) bucket: u16,
}

/// The place in the WAL whose versions are for rows that are read as of `point`.
fn just_below(point: Lsn) -> Lsn {
    Lsn(point.0.saturating_sub(8))
}

/// While a backfill settles, a sink that is away is looked for so often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A stream whose sink is away keeps what it has to read, and the others go on.
fn let_go(stream: &mut StreamHandle) {
    stream.attached = false;
    tracing::warn!(stream = stream.name, "the sink is away in the backfill; the others go on without this stream");
}

/// How the reading of one table ended.
enum TableEnd {
    Read,
    Stopped,
    /// The stream is paused, or its sink is away while others could go on.
    LetGo,
}

impl Reading<'_> {
    /// Reads all, one table after another, and waits until it has settled.
    pub(super) async fn run(
        mut self,
        todo: Vec<Todo>,
        created: Option<Created>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<End>> {
        let mut source = match &created {
            Some(created) => SnapshotSource::exported(self.connector, &created.snapshot).await?,
            None => SnapshotSource::fresh(self.connector).await?,
        };
        let mut waiting = Vec::new();
        for todo in todo {
            if !self.shared.streams[todo.stream].attached {
                continue;
            }
            match self.read(&mut source, todo, stop).await? {
                TableEnd::Read => waiting.push(todo),
                TableEnd::Stopped => return Ok(Some(End::Stopped)),
                TableEnd::LetGo => {}
            }
        }
        source.finish().await?;
        drop(created);
        if self.settle(waiting, stop).await? { Ok(None) } else { Ok(Some(End::Stopped)) }
    }

    async fn read(
        &mut self,
        source: &mut SnapshotSource,
        todo: Todo,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<TableEnd> {
        let table = Arc::clone(&self.plan.streams[todo.stream].tables[todo.table]);
        let stream = &self.shared.streams[todo.stream];
        let point = stream.from;
        tracing::info!(stream = stream.name, table = %table.relation, rows = table.rows, "backfill begins");
        self.begin(todo, point)?;
        let observed =
            self.shared.board.observed(todo.stream).ok_or_else(|| Error::failed("a stream without its figures"))?;
        observed.backfill_estimate.fetch_add(table.rows.unwrap_or_default(), Ordering::Relaxed);
        let commit = Commit { lsn: just_below(point), xid: 0, time_us: 0 };
        let left_out = &self.plan.streams[todo.stream].left_out[todo.table];
        let (all, columns) = (table.relation.columns.len(), left_out.kept(table.relation.columns.len()));
        let mut decoder = CopyDecoder::without(Arc::clone(&table.relation), left_out.clone(), commit);
        let condition = self.condition(source, todo).await?;
        let condition = condition.as_deref();
        source.copy(Selection { table: &table, columns: Some(&columns), condition }).await?;
        let mut bytes = 0;
        loop {
            let frames = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(TableEnd::Stopped),
                frames = source.read() => frames?,
            };
            let last = frames.frames.is_empty();
            bytes += frames.frames.iter().map(Range::len).sum::<usize>();
            for line in &frames.frames {
                decoder.row(&frames.chunk, line.clone()).map_err(|error| Error::failed(error.to_string()))?;
                let caps = self.shared.caps;
                if decoder.pending_rows() >= caps.rows || decoder.pending_bytes() >= caps.bytes {
                    observed.backfill_rows.fetch_add(decoder.pending_rows() as u64, Ordering::Relaxed);
                    if let Some(end) = self.hand_on(&mut decoder, todo, false, stop).await? {
                        return self.abandon(source, end).await;
                    }
                }
            }
            if last {
                let by = if condition.is_some() { "postgres" } else { "plugin" };
                tracing::info!(
                    stream = self.shared.streams[todo.stream].name,
                    bytes,
                    columns = format_args!("{}/{all}", columns.len()),
                    filtered_by = by,
                    "table {} is read",
                    table.relation
                );
                observed.backfill_rows.fetch_add(decoder.pending_rows() as u64, Ordering::Relaxed);
                return Ok(self.hand_on(&mut decoder, todo, true, stop).await?.unwrap_or(TableEnd::Read));
            }
        }
    }

    /// What Postgres itself may judge by which rows come.
    async fn condition(&self, source: &mut SnapshotSource, todo: Todo) -> Result<Option<String>> {
        let stream = &self.plan.streams[todo.stream];
        let table = &stream.tables[todo.table];
        let mut judged = Vec::new();
        for condition in super::push::conditions(&stream.filters, &table.relation) {
            if !source.can_judge(table, condition).await? {
                break;
            }
            judged.push(condition);
        }
        Ok((!judged.is_empty()).then(|| judged.join("\n) AND (")))
    }

    /// Reads a copy to its end without looking at it, since the next table comes on the same session.
    async fn abandon(&mut self, source: &mut SnapshotSource, end: TableEnd) -> Result<TableEnd> {
        if matches!(end, TableEnd::LetGo) {
            while !source.read().await?.frames.is_empty() {}
        }
        Ok(end)
    }

    async fn hand_on(
        &mut self,
        decoder: &mut CopyDecoder,
        todo: Todo,
        last: bool,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<TableEnd>> {
        let batches = match decoder.pending_rows() {
            0 => Vec::new(),
            _ => {
                let mut batch = decoder.take();
                batch.changes.iter_mut().for_each(|change| change.bucket = self.bucket);
                vec![Arc::new(batch)]
            }
        };
        let table = self.plan.streams[todo.stream].tables[todo.table].relation.id;
        let at = just_below(self.shared.streams[todo.stream].from);
        let ticket = Ticket::Backfill { table, at, bucket: self.bucket, last };
        let job = Job { generation: self.generation, ticket, batches, truncate: None, fault: None };
        let others_wait = self.others_wait_for(todo.stream);
        let stream = &mut self.shared.streams[todo.stream];
        let (paused, away) = (stream.report.clone(), stream.report.clone());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Ok(Some(TableEnd::Stopped)),
            () = super::stream::paused(paused, self.generation) => {
                stream.attached = false;
                Ok(Some(TableEnd::LetGo))
            }
            () = super::stream::away(away, DETACH_AFTER), if others_wait => {
                let_go(stream);
                Ok(Some(TableEnd::LetGo))
            }
            sent = stream.jobs.send(job) => match sent {
                Ok(()) => Ok(None),
                Err(_) => Err(Error::failed(format!("stream `{}` ended", stream.name))),
            },
        }
    }

    /// Another stream could go on, were it not for this one.
    fn others_wait_for(&self, place: usize) -> bool {
        let mut others = self.shared.streams.iter().enumerate().filter(|(other, _)| *other != place);
        others.any(|(_, other)| other.is_running() && !other.is_waiting())
    }

    /// Waits until all that was read has settled, and keeps that. False when it was stopped before.
    async fn settle(&mut self, mut waiting: Vec<Todo>, stop: &mut watch::Receiver<bool>) -> Result<bool> {
        let moved = Arc::clone(&self.shared.moved);
        let mut away_since: HashMap<usize, Instant> = HashMap::new();
        loop {
            for todo in std::mem::take(&mut waiting) {
                let others_wait = self.others_wait_for(todo.stream);
                let relation = &self.plan.streams[todo.stream].tables[todo.table].relation;
                let table = relation.id;
                let stream = &mut self.shared.streams[todo.stream];
                if !stream.is_waiting() {
                    away_since.remove(&todo.stream);
                }
                if stream.has_read(self.generation, table) {
                    self.state.end_backfill(&stream.name, table, stream.from)?;
                    tracing::info!(stream = stream.name, "backfill of table {relation} is done");
                } else if !stream.attached || stream.is_paused() || stream.has_failed(self.generation) {
                    stream.attached = false;
                } else if others_wait
                    && stream.is_waiting()
                    && away_since.entry(todo.stream).or_insert_with(Instant::now).elapsed() > DETACH_AFTER
                {
                    let_go(stream);
                } else {
                    waiting.push(todo);
                }
            }
            if waiting.is_empty() {
                return Ok(true);
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(false),
                () = moved.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    fn begin(&self, todo: Todo, point: Lsn) -> Result<()> {
        let stream = &self.plan.streams[todo.stream];
        let relation = &stream.tables[todo.table].relation;
        let state = BackfillState::Running { consistent_point: point };
        let backfill = TableBackfill { table: relation.id, name: relation.to_string(), state };
        self.state.set_backfill(&stream.name, &backfill)
    }
}
