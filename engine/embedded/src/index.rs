//! One index: its mapping, its settings, its documents.
//!
//! ```text
//! write ─► check against mapping and version ─► frame of the log ─► rows in memory ─► log on the disk ─► answer
//! get   ─► rows ─► log                              (sees every write)
//! search─► refresh if due ─► inverted index catches up ─► what the last refresh saw ─► log
//! ```

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::document::{Unused, walk};
use crate::error::Refusal;
use crate::inverted::{Fields, Inverted, failed};
use crate::log::{Frame, Location, Log, Operation};
use crate::mapping::Mapping;
use crate::settings::Settings;
use crate::state::{Row, State};

/// Beside the documents themselves, for the log's frame of one bulk.
const OPERATION_BYTES: usize = 64;

#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) created_ms: u64,
    state: Mutex<State>,
    inverted: Mutex<Option<Inverted>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Index,
    Create,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versioning {
    Internal,
    External(u64),
    ExternalGte(u64),
}

/// One action on one document.
#[derive(Debug, Clone)]
pub(crate) struct Write<'a> {
    pub(crate) verb: Verb,
    pub(crate) id: Cow<'a, str>,
    pub(crate) routing: Option<Cow<'a, str>>,
    pub(crate) versioning: Versioning,
    pub(crate) if_sequence: Option<u64>,
    pub(crate) source: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) result: Outcome,
    pub(crate) version: u64,
    pub(crate) sequence: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Updated,
    Deleted,
    NotFound,
}

/// What a search goes through.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) log: Arc<Log>,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) fields: Fields,
    pub(crate) searcher: tantivy::Searcher,
}

/// What the last refresh saw, in the order in which the documents first came.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) log: Arc<Log>,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) total: usize,
    pub(crate) page: Vec<Location>,
}

impl Index {
    /// A new index, durable on return. `path` None keeps it in memory.
    pub(crate) fn create(
        name: &str,
        uuid: String,
        path: Option<PathBuf>,
        settings: Settings,
        mapping: Mapping,
    ) -> std::io::Result<Index> {
        let log = match &path {
            None => Log::in_memory(),
            Some(path) => Log::create(path)?,
        };
        let created_ms = now_ms();
        let state = State::new(Arc::new(log), settings, mapping);
        let index =
            Index { name: name.to_owned(), uuid, created_ms, state: Mutex::new(state), inverted: Mutex::new(None) };
        {
            let state = index.lock();
            let mut frame = state.log.frame(0);
            frame.push(&Operation::Meta(&index.meta(&state)));
            state.log.append(frame)?;
            state.log.sync()?;
            if let Some(path) = &path {
                crate::log::sync_directory_of(path)?;
            }
        }
        Ok(index)
    }

    /// An index that an earlier process left.
    pub(crate) fn open(path: PathBuf, gc_deletes: Duration) -> std::io::Result<Index> {
        let mut state = State::new(Arc::new(Log::in_memory()), Settings::new(gc_deletes), Mapping::default());
        let (mut name, mut uuid, mut created_ms) = (String::new(), String::new(), 0);
        let log = Log::open(&path, |location, operation| {
            if let Operation::Meta(json) = operation {
                let meta: Value = serde_json::from_str(json)?;
                let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
                (name, uuid, created_ms) = (text("name"), text("uuid"), meta["created_ms"].as_u64().unwrap_or(0));
                return state.restore_meta(&meta).map_err(|refusal| std::io::Error::other(refusal.reason));
            }
            state.restore(location, &operation);
            Ok(())
        })?;
        if name.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the log does not say whose it is"));
        }
        state.log = Arc::new(log);
        state.refresh();
        Ok(Index { name, uuid, created_ms, state: Mutex::new(state), inverted: Mutex::new(None) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn meta(&self, state: &State) -> String {
        json!({
            "name": self.name,
            "uuid": self.uuid,
            "created_ms": self.created_ms,
            "sequence_next": state.sequence_next,
            "settings": state.settings.stored(),
            "mapping": state.mapping.to_json(),
        })
        .to_string()
    }

    /// Carries the writes out in their order; durable on return.
    pub(crate) fn write(&self, writes: &[&Write<'_>]) -> Vec<Result<Written, Refusal>> {
        let mut state = self.lock();
        if let Err(refusal) = state.check_writable(&self.name) {
            return vec![Err(refusal); writes.len()];
        }
        let now_ms = now_ms();
        state.prune(now_ms);
        let bytes = writes.iter().map(|write| write.source.len() + write.id.len() + OPERATION_BYTES).sum();
        let mut frame = state.log.frame(bytes);
        let results: Vec<_> = writes.iter().map(|write| self.one(&mut state, &mut frame, write, now_ms)).collect();
        match self.commit(state, frame) {
            Ok(()) => results,
            Err(refusal) => vec![Err(refusal); writes.len()],
        }
    }

    fn commit(&self, mut state: MutexGuard<'_, State>, frame: Frame) -> Result<(), Refusal> {
        if frame.is_empty() {
            return Ok(());
        }
        if let Err(error) = state.log.append(frame) {
            return Err(state.break_down(&error));
        }
        if state.is_mostly_garbage() {
            let meta = self.meta(&state);
            if let Err(error) = state.compact(&meta) {
                return Err(state.break_down(&error));
            }
        }
        let log = Arc::clone(&state.log);
        drop(state);
        log.sync().map_err(|error| self.lock().break_down(&error))
    }

    fn one(&self, state: &mut State, frame: &mut Frame, write: &Write<'_>, now_ms: u64) -> Result<Written, Refusal> {
        let source = match write.verb {
            Verb::Delete => "",
            _ => self.check_document(state, frame, write)?,
        };
        let slot = state.slot(&write.id, now_ms);
        let row = slot.map(|slot| state.rows[slot as usize]);
        let version = self.next_version(state, row, write)?;
        let sequence = state.sequence_next;
        state.sequence_next += 1;
        let routing = write.routing.as_deref();
        let lives = row.is_some_and(|row| row.deleted_ms == 0);
        let (operation, result, deleted_ms) = match (write.verb, lives) {
            (Verb::Delete, lives) => {
                let result = if lives { Outcome::Deleted } else { Outcome::NotFound };
                (Operation::Delete { version, sequence, at_ms: now_ms, id: &write.id }, result, now_ms)
            }
            (_, lives) => {
                let result = if lives { Outcome::Updated } else { Outcome::Created };
                (Operation::Index { version, sequence, id: &write.id, routing, source }, result, 0)
            }
        };
        let now = frame.push(&operation);
        state.put(slot, &write.id, version, now, deleted_ms);
        Ok(Written { result, version, sequence })
    }

    /// The document's text, once it fits the mapping; the mapping may grow for it.
    fn check_document<'a>(&self, state: &mut State, frame: &mut Frame, write: &Write<'a>) -> Result<&'a str, Refusal> {
        let source = std::str::from_utf8(write.source).map_err(|_| {
            Refusal::new(400, "document_parsing_exception", "[1:1] failed to parse")
                .caused_by("x_content_parse_exception", "invalid UTF-8")
        })?;
        let additions = walk(&state.mapping, &write.id, source, &mut Unused)?;
        if additions.is_empty() {
            return Ok(source);
        }
        let mut mapping = Mapping::clone(&state.mapping);
        additions.iter().for_each(|(path, guess)| mapping.add(path, *guess));
        let most = state.settings.total_fields_max;
        if mapping.field_count() > most {
            let added = mapping.field_count() - state.mapping.field_count();
            return Err(Refusal::illegal(format!(
                "Limit of total fields [{most}] has been exceeded while adding new fields [{added}]"
            )));
        }
        // Elements of an array may disagree with the first one, which has decided.
        walk(&mapping, &write.id, source, &mut Unused)?;
        state.mapping = Arc::new(mapping);
        frame.push(&Operation::Meta(&self.meta(state)));
        Ok(source)
    }

    fn next_version(&self, state: &State, row: Option<Row>, write: &Write<'_>) -> Result<u64, Refusal> {
        let id = &write.id;
        let conflict = |what: String| {
            Refusal::new(409, "version_conflict_engine_exception", format!("[{id}]: version conflict, {what}"))
                .of(&self.name, &self.uuid)
        };
        let current = row.map(|row| row.version);
        let lives = row.filter(|row| row.deleted_ms == 0);
        match (write.verb, lives) {
            (Verb::Create, Some(row)) => {
                return Err(conflict(format!("document already exists (current version [{}])", row.version)));
            }
            _ if write.if_sequence.is_none() => {}
            (_, Some(row)) => {
                let (found, wanted) = (state.sequence_of(&row)?, write.if_sequence.unwrap_or(0));
                if found != wanted {
                    return Err(conflict(format!(
                        "required seqNo [{wanted}], primary term [1]. current document has seqNo [{found}] and primary term [1]"
                    )));
                }
            }
            (_, None) => {
                let wanted = write.if_sequence.unwrap_or(0);
                return Err(conflict(format!(
                    "required seqNo [{wanted}], primary term [1]. but no document was found"
                )));
            }
        }
        match (write.versioning, current) {
            (Versioning::Internal, current) => Ok(current.unwrap_or(0) + 1),
            (Versioning::External(given), Some(current)) if given <= current => {
                Err(conflict(format!("current version [{current}] is higher or equal to the one provided [{given}]")))
            }
            (Versioning::ExternalGte(given), Some(current)) if given < current => {
                Err(conflict(format!("current version [{current}] is higher than the one provided [{given}]")))
            }
            (Versioning::External(given) | Versioning::ExternalGte(given), _) => Ok(given),
        }
    }

    /// The operation that holds the document, as it is now.
    pub(crate) fn get(&self, id: &str) -> Result<Option<bytes::Bytes>, Refusal> {
        let (log, location) = {
            let state = self.lock();
            state.check_whole()?;
            match state.ids.get(id).map(|slot| state.rows[*slot as usize]) {
                Some(row) if row.deleted_ms == 0 => (Arc::clone(&state.log), row.now),
                _ => return Ok(None),
            }
        };
        log.read(location).map(Some).map_err(Refusal::log)
    }

    pub(crate) fn refresh(&self) {
        self.lock().refresh();
    }

    /// Documents `from` and on, at most `size`, as the last refresh saw them.
    pub(crate) fn listing(&self, from: usize, size: usize) -> Result<Listing, Refusal> {
        let mut state = self.lock();
        state.check_whole()?;
        state.refresh_if_due();
        let seen = state.rows.iter().map(|row| row.seen).filter(|seen| seen.length > 0);
        let page = if size == 0 { Vec::new() } else { seen.skip(from).take(size).collect() };
        Ok(Listing { log: Arc::clone(&state.log), mapping: Arc::clone(&state.mapping), total: state.seen_count, page })
    }

    /// Brings the inverted index to what the last refresh saw.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Refusal> {
        let mut inverted = self.inverted.lock().expect("no holder panics");
        let (generation, log, mapping, work) = {
            let mut state = self.lock();
            state.check_whole()?;
            state.refresh_if_due();
            (state.generation, Arc::clone(&state.log), Arc::clone(&state.mapping), state.take_work())
        };
        if inverted.as_ref().is_none_or(|inverted| inverted.generation != generation) {
            *inverted = Some(Inverted::new(generation).map_err(failed)?);
        }
        let current = inverted.as_mut().expect("made above");
        if let Err(refusal) = current.catch_up(&work, &log, &mapping) {
            self.lock().number_anew();
            return Err(refusal);
        }
        Ok(Snapshot { log, mapping, fields: current.fields, searcher: current.searcher() })
    }

    pub(crate) fn mapping(&self) -> Arc<Mapping> {
        Arc::clone(&self.lock().mapping)
    }

    pub(crate) fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    pub(crate) fn put_mapping(&self, body: &Value) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.check_whole()?;
        let mut mapping = Mapping::clone(&state.mapping);
        mapping.merge(body)?;
        state.mapping = Arc::new(mapping);
        self.put_meta(state)
    }

    pub(crate) fn put_settings(&self, body: &Value) -> Result<(), Refusal> {
        let mut state = self.lock();
        state.check_whole()?;
        let mut settings = state.settings.clone();
        settings.update(body)?;
        state.settings = settings;
        self.put_meta(state)
    }

    fn put_meta(&self, state: MutexGuard<'_, State>) -> Result<(), Refusal> {
        let meta = self.meta(&state);
        let mut frame = state.log.frame(meta.len());
        frame.push(&Operation::Meta(&meta));
        self.commit(state, frame)
    }

    /// Takes the index off the disk.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        match self.lock().log.path() {
            None => Ok(()),
            Some(path) => {
                std::fs::remove_file(path)?;
                crate::log::sync_directory_of(path)
            }
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
