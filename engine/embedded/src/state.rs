//! What an index knows while it runs: a row for each document and tombstone, and what is still to be refreshed. Whoever writes
//! holds it; whoever reads takes out of it where to read and lets go.
//!
//! A row is what is known of one document: its version, where it lies now, and where the last refresh saw it. A deleted
//! document stays as a tombstone for `gc_deletes`, so that a late write of an older version is told from a new document.
//! When more than half of the log is of no use any more, what is left is written into a new one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::error::Refusal;
use crate::inverted::Work;
use crate::log::{Location, Log, Operation};
use crate::mapping::Mapping;
use crate::settings::Settings;

/// A smaller log is not worth writing anew.
const COMPACT_BYTES_MIN: u64 = 64 << 20;
const COMPACT_FRAME_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) log: Arc<Log>,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) settings: Settings,
    pub(crate) ids: HashMap<Box<str>, u32>,
    pub(crate) rows: Vec<Row>,
    pub(crate) tombstones: VecDeque<(u64, Box<str>)>,
    pub(crate) sequence_next: u64,
    /// Rows written since the last refresh.
    pub(crate) dirty: Vec<u32>,
    /// Rows that were refreshed and that the inverted index does not have yet.
    pub(crate) queue: Vec<u32>,
    pub(crate) seen_count: usize,
    pub(crate) refreshed: Instant,
    /// Rises when rows are numbered anew; the inverted index is then made anew.
    pub(crate) generation: u64,
    pub(crate) used_bytes: u64,
    /// The log could not be written: what is in memory and what is on the disk may differ, so nothing is served any more.
    pub(crate) broken: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) version: u64,
    pub(crate) now: Location,
    /// Length 0: the last refresh saw no document here.
    pub(crate) seen: Location,
    /// 0 while the document lives.
    pub(crate) deleted_ms: u64,
    pub(crate) dirty: bool,
    pub(crate) queued: bool,
    pub(crate) inverted: bool,
}

const NOWHERE: Location = Location { at: 0, length: 0 };

impl State {
    pub(crate) fn new(log: Arc<Log>, settings: Settings, mapping: Mapping) -> Self {
        State {
            log,
            mapping: Arc::new(mapping),
            settings,
            ids: HashMap::new(),
            rows: Vec::new(),
            tombstones: VecDeque::new(),
            sequence_next: 0,
            dirty: Vec::new(),
            queue: Vec::new(),
            seen_count: 0,
            refreshed: Instant::now(),
            generation: 0,
            used_bytes: 0,
            broken: None,
        }
    }

    pub(crate) fn check_whole(&self) -> Result<(), Refusal> {
        match &self.broken {
            None => Ok(()),
            Some(what) => Err(Refusal::log(format!("the log could not be written: {what}; start the index again"))),
        }
    }

    pub(crate) fn check_writable(&self, name: &str) -> Result<(), Refusal> {
        self.check_whole()?;
        self.settings.block.map_or(Ok(()), |block| Err(block.refusal(name)))
    }

    pub(crate) fn break_down(&mut self, error: &std::io::Error) -> Refusal {
        self.broken = Some(error.to_string());
        Refusal::log(format!("the log could not be written: {error}; start the index again"))
    }

    pub(crate) fn restore_meta(&mut self, meta: &Value) -> Result<(), Refusal> {
        self.settings.restore(&meta["settings"])?;
        self.mapping = Arc::new(Mapping::parse(&meta["mapping"])?);
        self.sequence_next = self.sequence_next.max(meta["sequence_next"].as_u64().unwrap_or(0));
        Ok(())
    }

    pub(crate) fn restore(&mut self, now: Location, operation: &Operation<'_>) {
        let (version, sequence, deleted_ms) = match *operation {
            Operation::Index { version, sequence, .. } => (version, sequence, 0),
            Operation::Delete { version, sequence, at_ms, .. } => (version, sequence, at_ms),
            Operation::Meta(_) => return,
        };
        self.sequence_next = self.sequence_next.max(sequence + 1);
        let slot = self.ids.get(operation.id()).copied();
        self.put(slot, operation.id(), version, now, deleted_ms);
    }

    /// The row of a document or of a tombstone that still counts.
    pub(crate) fn slot(&self, id: &str, now_ms: u64) -> Option<u32> {
        let slot = *self.ids.get(id)?;
        let row = &self.rows[slot as usize];
        (row.deleted_ms == 0 || !self.is_old(row.deleted_ms, now_ms)).then_some(slot)
    }

    pub(crate) fn is_old(&self, deleted_ms: u64, now_ms: u64) -> bool {
        u128::from(now_ms.saturating_sub(deleted_ms)) >= self.settings.gc_deletes.as_millis()
    }

    pub(crate) fn put(&mut self, slot: Option<u32>, id: &str, version: u64, now: Location, deleted_ms: u64) {
        // A tombstone that is too old to count still has its row.
        let slot = slot.or_else(|| self.ids.get(id).copied()).unwrap_or_else(|| {
            let slot = self.rows.len() as u32;
            self.ids.insert(id.into(), slot);
            let (dirty, queued, inverted) = (false, false, false);
            self.rows.push(Row { version, now: NOWHERE, seen: NOWHERE, deleted_ms: 0, dirty, queued, inverted });
            slot
        });
        if deleted_ms > 0 {
            self.tombstones.push_back((deleted_ms, id.into()));
        }
        let row = &mut self.rows[slot as usize];
        self.used_bytes = self.used_bytes - u64::from(row.now.length) + u64::from(now.length);
        (row.version, row.now, row.deleted_ms) = (version, now, deleted_ms);
        if !row.dirty {
            row.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Forgets the tombstones that no longer count.
    pub(crate) fn prune(&mut self, now_ms: u64) {
        while self.tombstones.front().is_some_and(|(deleted_ms, _)| self.is_old(*deleted_ms, now_ms)) {
            let Some((deleted_ms, id)) = self.tombstones.pop_front() else { return };
            let Some(slot) = self.ids.get(&id).copied() else { continue };
            let row = &self.rows[slot as usize];
            if row.deleted_ms == deleted_ms {
                self.used_bytes -= u64::from(row.now.length);
                self.ids.remove(&id);
            }
        }
    }

    pub(crate) fn sequence_of(&self, row: &Row) -> Result<u64, Refusal> {
        let bytes = self.log.read(row.now).map_err(Refusal::log)?;
        match Operation::read(&bytes).map_err(Refusal::log)? {
            Operation::Index { sequence, .. } | Operation::Delete { sequence, .. } => Ok(sequence),
            Operation::Meta(_) => Ok(0),
        }
    }

    pub(crate) fn refresh_if_due(&mut self) {
        if self.settings.refresh_interval.is_some_and(|interval| self.refreshed.elapsed() >= interval) {
            self.refresh();
        }
    }

    pub(crate) fn refresh(&mut self) {
        self.refreshed = Instant::now();
        for slot in self.dirty.drain(..) {
            let row = &mut self.rows[slot as usize];
            row.dirty = false;
            let seen = if row.deleted_ms == 0 { row.now } else { NOWHERE };
            self.seen_count += usize::from(seen.length > 0);
            self.seen_count -= usize::from(row.seen.length > 0);
            row.seen = seen;
            if !row.queued {
                row.queued = true;
                self.queue.push(slot);
            }
        }
    }

    pub(crate) fn take_work(&mut self) -> Vec<Work> {
        let rows = &mut self.rows;
        let work = self.queue.drain(..).map(|slot| {
            let row = &mut rows[slot as usize];
            let document = Some(row.seen).filter(|seen| seen.length > 0);
            let work = Work { named_at: row.now, document, known: row.inverted };
            (row.queued, row.inverted) = (false, document.is_some());
            work
        });
        work.collect()
    }

    /// Makes the inverted index begin anew.
    pub(crate) fn number_anew(&mut self) {
        self.generation += 1;
        self.queue.clear();
        for (slot, row) in self.rows.iter_mut().enumerate() {
            row.inverted = false;
            row.queued = row.seen.length > 0;
            if row.queued {
                self.queue.push(slot as u32);
            }
        }
    }

    pub(crate) fn is_mostly_garbage(&self) -> bool {
        self.log.bytes() > COMPACT_BYTES_MIN && self.used_bytes < self.log.bytes() / 2
    }

    /// Writes what is still of use into a new log. A refresh comes with it.
    pub(crate) fn compact(&mut self, meta: &str) -> std::io::Result<()> {
        let old = Arc::clone(&self.log);
        let new = match old.path() {
            None => Log::in_memory(),
            Some(path) => Log::create(&path.with_extension("new"))?,
        };
        let mut frame = new.frame(COMPACT_FRAME_BYTES);
        frame.push(&Operation::Meta(meta));
        let mut rows = Vec::with_capacity(self.ids.len());
        let mut slots: Vec<&mut u32> = self.ids.values_mut().collect();
        slots.sort_unstable_by_key(|slot| **slot);
        for slot in slots {
            let mut row = self.rows[*slot as usize];
            row.now = frame.push(&Operation::read(&old.read(row.now)?)?);
            row.seen = if row.deleted_ms == 0 { row.now } else { NOWHERE };
            row.dirty = false;
            *slot = rows.len() as u32;
            rows.push(row);
            if frame.len() >= COMPACT_FRAME_BYTES {
                new.append(std::mem::replace(&mut frame, new.frame(0)))?;
                frame = new.frame(COMPACT_FRAME_BYTES);
            }
        }
        new.append(frame)?;
        let log = match old.path() {
            None => new,
            Some(path) => new.replace(path)?,
        };
        self.log = Arc::new(log);
        self.rows = rows;
        self.dirty.clear();
        self.seen_count = self.rows.iter().filter(|row| row.seen.length > 0).count();
        self.refreshed = Instant::now();
        self.used_bytes = self.rows.iter().map(|row| u64::from(row.now.length)).sum();
        self.number_anew();
        Ok(())
    }
}
