//! The state: what the engine must know again after it stopped, in one SQLite file.
//!
//! ```text
//!   source        whose state this is: cluster, database, slot; the epoch; how far WAL was received and confirmed
//!   streams       each stream's plan, its settled LSN, and why it is paused
//!   backfills     each table of a stream: to do, running, done, and at which point
//!   indices       which indices a stream's documents went into, by the server's UUID
//!   dead_letters  what could not be delivered, until somebody deals with it
//! ```
//!
//! Invariant: what a call has written is on disk when it returns (`synchronous = FULL`), and every number here is behind or
//! equal to the truth, so that a crash repeats work and never skips it. But for one: what was confirmed is written before the
//! server is told, so a slot that is beyond it was moved by somebody else. One engine at a time holds the file
//! ([`State::open`]); others may read beside it ([`State::read`]).
//!
//! All calls block: from async code they go through `spawn_blocking`.

mod dead_letters;
mod error;
mod lock;
mod schema;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use tidemill_change::{Epoch, Lsn, TableId};

pub use dead_letters::{
    DeadLetter, LetterFilter, LetterKind, LetterPlace, LetterState, LetterTotals, NewDeadLetter, RefusedLetter,
};

use crate::error::{Error, Result};
use error::Explain;
use lock::Lock;

/// The state's file, opened.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Held by the engine, not by those who only read.
    _lock: Option<Lock>,
}

/// Whose state it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceIdentity {
    /// `IDENTIFY_SYSTEM`'s number: a cluster's own, kept by its standbys.
    pub system_identifier: u64,
    pub database: String,
    pub slot: String,
}

/// A source that the state begins to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSource {
    pub identity: SourceIdentity,
    pub timeline: u32,
    pub slot_made: Made,
    pub publication: String,
    pub publication_made: Made,
    pub epoch: Epoch,
    /// Where the slot's exported snapshot stands in the WAL; `None` for a slot that was there.
    pub consistent_point: Option<Lsn>,
}

/// Who made an object of the source: `teardown` drops what is ours alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    ByUs,
    ByOthers,
}

/// The source as the state knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    pub identity: SourceIdentity,
    pub timeline: u32,
    pub slot_made: Made,
    pub publication: String,
    pub publication_made: Made,
    pub epoch: Epoch,
    pub consistent_point: Option<Lsn>,
    /// The highest WAL position that was ever received.
    pub received: Lsn,
    /// The highest that the server may have been told to be done with; `None` in a state that an older version wrote.
    pub confirmed: Option<Lsn>,
}

impl SourceState {
    /// How far the source's WAL reached at the least.
    pub fn reached(&self) -> Lsn {
        self.received.max(self.confirmed.unwrap_or_default())
    }
}

/// A stream as the state knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    pub name: String,
    pub plan_digest: String,
    /// All changes up to here settled.
    pub settled: Lsn,
    /// Why it is paused, where it is.
    pub paused: Option<String>,
}

/// A table's backfill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableBackfill {
    pub table: TableId,
    /// `schema.table` as it was called then.
    pub name: String,
    pub state: BackfillState,
}

/// How far the rows that were already there have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillState {
    /// Entered when the table joins a stream, or when a backfill is asked for.
    Todo,
    /// Entered when reading begins; left for `Done`, or for `Todo` when the snapshot is lost.
    Running { consistent_point: Lsn },
    /// Entered when all rows of the snapshot settled.
    Done { consistent_point: Lsn },
}

impl State {
    /// Opens or makes the state for an engine, and keeps every other engine out.
    pub fn open(path: &Path) -> Result<State> {
        let lock = Lock::take(path)?;
        let mut connection = schema::open(path)?;
        schema::migrate(&mut connection).map_err(|e| e.explain(path))?;
        schema::check(&connection).map_err(|e| e.explain(path))?;
        Ok(State { path: path.to_owned(), connection: Mutex::new(connection), _lock: Some(lock) })
    }

    /// Opens a state that is there for reading, beside an engine that may run. `None`: there is none yet.
    pub fn read(path: &Path) -> Result<Option<State>> {
        if !path.try_exists().map_err(|e| error::cannot_open(path, &e))? {
            return Ok(None);
        }
        let connection = schema::open_to_read(path)?;
        Ok(Some(State { path: path.to_owned(), connection: Mutex::new(connection), _lock: None }))
    }

    /// Opens a state that is there for marking letters, beside an engine that may run.
    pub fn beside(path: &Path) -> Result<State> {
        let connection = schema::open(path)?;
        schema::check(&connection).map_err(|e| e.explain(path))?;
        Ok(State { path: path.to_owned(), connection: Mutex::new(connection), _lock: None })
    }

    /// Whether a state that is there may be written, by what the file system says. Changes nothing.
    pub fn prove_writable(path: &Path) -> Result<()> {
        match std::fs::OpenOptions::new().read(true).write(true).open(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(error::cannot_open(path, &e)),
            _ => Ok(()),
        }
    }

    /// Removes a state's files. Nobody may hold it.
    pub fn remove(path: &Path) -> Result<()> {
        let lock = Lock::take(path)?;
        for file in schema::files(path).into_iter().chain([lock.path().to_owned()]) {
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error::cannot_open(&file, &e)),
                _ => {}
            }
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere left the connection between two statements at worst: transactions roll back when dropped.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn run<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&mut self.connection()).map_err(|e| e.explain(&self.path))
    }

    pub fn source(&self) -> Result<Option<SourceState>> {
        self.run(|c| {
            // All columns, since one that only reads may find the file of an older version.
            c.query_row("SELECT * FROM source", [], source_of_row).optional()
        })
    }

    /// Begins to follow a source, or makes sure that the one at hand is the one that is followed.
    pub fn bind_source(&self, new: &NewSource) -> Result<SourceState> {
        if let Some(known) = self.source()? {
            self.expect_source(&known, &new.identity)?;
            return Ok(known);
        }
        self.run(|c| {
            c.execute(
                "INSERT INTO source (one, system_identifier, timeline, database, slot, slot_made, publication,
                    publication_made, epoch, consistent_point, received, confirmed)
                 VALUES (1, :system, :timeline, :database, :slot, :slot_made, :publication, :publication_made, :epoch,
                    :consistent_point, :received, :consistent_point)",
                named_params! {
                    ":system": new.identity.system_identifier.to_string(),
                    ":timeline": new.timeline,
                    ":database": new.identity.database,
                    ":slot": new.identity.slot,
                    ":slot_made": new.slot_made == Made::ByUs,
                    ":publication": new.publication,
                    ":publication_made": new.publication_made == Made::ByUs,
                    ":epoch": new.epoch.get(),
                    ":consistent_point": new.consistent_point.map(to_sql),
                    ":received": to_sql(new.consistent_point.unwrap_or(Lsn::ZERO)),
                },
            )
        })?;
        self.source()?.ok_or_else(|| Error::failed(format!("the state `{}` lost its source", self.path.display())))
    }

    /// Refuses a source that is not the one this state follows.
    pub fn expect_source(&self, known: &SourceState, found: &SourceIdentity) -> Result<()> {
        let SourceIdentity { system_identifier, database, slot } = &known.identity;
        let (what, theirs) = if *system_identifier != found.system_identifier {
            ("cluster", (system_identifier.to_string(), found.system_identifier.to_string()))
        } else if *database != found.database {
            ("database", (database.clone(), found.database.clone()))
        } else if *slot != found.slot {
            ("slot", (slot.clone(), found.slot.clone()))
        } else {
            return Ok(());
        };
        Err(Error::failed(format!(
            "the state `{}` belongs to another {what}: it follows slot `{slot}` of database `{database}` in cluster \
             {system_identifier}, and this {what} is `{}`, not `{}`; name another file by `state:`, or end what it \
             follows with `tidemill teardown`",
            self.path.display(),
            theirs.1,
            theirs.0,
        )))
    }

    /// Remembers how far WAL was received; it never goes back.
    pub fn advance_received(&self, to: Lsn) -> Result<()> {
        self.run(|c| c.execute("UPDATE source SET received = max(received, ?1)", [to_sql(to)])).map(drop)
    }

    /// Remembers how far the server may be told to be done with the WAL; it never goes back.
    pub fn advance_confirmed(&self, to: Lsn) -> Result<()> {
        let advance = "UPDATE source SET confirmed = max(coalesce(confirmed, 0), ?1)";
        self.run(|c| c.execute(advance, [to_sql(to)])).map(drop)
    }

    /// A new timeline of the same cluster: a standby took over.
    pub fn set_timeline(&self, timeline: u32) -> Result<()> {
        self.run(|c| c.execute("UPDATE source SET timeline = ?1", [timeline])).map(drop)
    }

    /// The slot was made: where its snapshot stands, which is what it has confirmed.
    pub fn set_consistent_point(&self, point: Lsn) -> Result<()> {
        let set = "UPDATE source SET consistent_point = ?1, confirmed = max(coalesce(confirmed, 0), ?1)";
        self.run(|c| c.execute(set, [to_sql(point)])).map(drop)
    }

    /// Counts a backfill; gives how many there were before it.
    pub fn count_backfill(&self) -> Result<u32> {
        self.run(|c| {
            let count = "UPDATE source SET backfills = backfills + 1 RETURNING backfills - 1";
            c.query_row(count, [], |row| row.get(0))
        })
    }

    pub fn set_publication(&self, name: &str, made: Made) -> Result<()> {
        let set = "UPDATE source SET publication = ?1, publication_made = ?2";
        self.run(|c| c.execute(set, params![name, made == Made::ByUs])).map(drop)
    }

    pub fn streams(&self) -> Result<Vec<StreamState>> {
        self.run(|c| {
            let mut query = c.prepare("SELECT name, plan_digest, settled, paused FROM streams ORDER BY name")?;
            query.query_map([], stream_of_row)?.collect()
        })
    }

    pub fn stream(&self, name: &str) -> Result<Option<StreamState>> {
        self.run(|c| {
            let query = "SELECT name, plan_digest, settled, paused FROM streams WHERE name = ?1";
            c.query_row(query, [name], stream_of_row).optional()
        })
    }

    /// Takes a stream in, or gives a known one another plan; what it settled and whether it is paused stays.
    pub fn put_stream(&self, name: &str, plan_digest: &str) -> Result<()> {
        let put = "INSERT INTO streams (name, plan_digest, settled) VALUES (?1, ?2, 0)
             ON CONFLICT (name) DO UPDATE SET plan_digest = excluded.plan_digest";
        self.run(|c| c.execute(put, [name, plan_digest])).map(drop)
    }

    /// Forgets a stream and its backfills. Its dead letters stay.
    pub fn remove_stream(&self, name: &str) -> Result<()> {
        self.run(|c| c.execute("DELETE FROM streams WHERE name = ?1", [name])).map(drop)
    }

    /// Remembers how far streams settled; none goes back.
    pub fn advance_settled<'a>(&self, settled: impl IntoIterator<Item = (&'a str, Lsn)>) -> Result<()> {
        self.run(|c| {
            let transaction = c.transaction()?;
            for (name, to) in settled {
                let advance = "UPDATE streams SET settled = max(settled, ?2) WHERE name = ?1";
                transaction.prepare_cached(advance)?.execute(params![name, to_sql(to)])?;
            }
            transaction.commit()
        })
    }

    /// Says that a stream is paused and why, or, with `None`, that it is not.
    pub fn set_paused(&self, name: &str, reason: Option<&str>) -> Result<()> {
        let changed =
            self.run(|c| c.execute("UPDATE streams SET paused = ?2 WHERE name = ?1", params![name, reason]))?;
        match changed {
            0 => Err(Error::failed(format!("the state `{}` knows no stream `{name}`", self.path.display()))),
            _ => Ok(()),
        }
    }

    pub fn backfills(&self, stream: &str) -> Result<Vec<TableBackfill>> {
        self.run(|c| {
            let mut query = c.prepare(
                "SELECT table_id, table_name, state, consistent_point FROM backfills WHERE stream = ?1 ORDER BY table_name",
            )?;
            query.query_map([stream], backfill_of_row)?.collect()
        })
    }

    pub fn set_backfill(&self, stream: &str, backfill: &TableBackfill) -> Result<()> {
        let (state, point) = match backfill.state {
            BackfillState::Todo => ("todo", None),
            BackfillState::Running { consistent_point } => ("running", Some(consistent_point)),
            BackfillState::Done { consistent_point } => ("done", Some(consistent_point)),
        };
        let set =
            "INSERT INTO backfills (stream, table_id, table_name, state, consistent_point) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (stream, table_id) DO UPDATE SET table_name = excluded.table_name, state = excluded.state,
                consistent_point = excluded.consistent_point";
        let values = params![stream, backfill.table.0, backfill.name, state, point.map(to_sql)];
        self.run(|c| c.execute(set, values)).map(drop)
    }

    /// A table was read, unless it is to be read once more by now.
    pub fn end_backfill(&self, stream: &str, table: TableId, point: Lsn) -> Result<()> {
        let end = "UPDATE backfills SET state = 'done', consistent_point = ?3
             WHERE stream = ?1 AND table_id = ?2 AND state = 'running'";
        self.run(|c| c.execute(end, params![stream, table.0, to_sql(point)])).map(drop)
    }

    /// The indices that a stream's documents went into: the server's UUID of each, by the name that the stream uses.
    pub fn indices(&self, stream: &str) -> Result<HashMap<String, String>> {
        self.run(|c| {
            let mut query = c.prepare("SELECT name, uuid FROM indices WHERE stream = ?1")?;
            query.query_map([stream], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    pub fn set_index(&self, stream: &str, name: &str, uuid: &str) -> Result<()> {
        let set = "INSERT INTO indices (stream, name, uuid) VALUES (?1, ?2, ?3)
             ON CONFLICT (stream, name) DO UPDATE SET uuid = excluded.uuid";
        self.run(|c| c.execute(set, [stream, name, uuid])).map(drop)
    }

    /// Forgets an index that is not there any more.
    pub fn remove_index(&self, stream: &str, name: &str) -> Result<()> {
        self.run(|c| c.execute("DELETE FROM indices WHERE stream = ?1 AND name = ?2", [stream, name])).map(drop)
    }

    /// Forgets the backfill of a table that left the stream.
    pub fn remove_backfill(&self, stream: &str, table: TableId) -> Result<()> {
        let remove = "DELETE FROM backfills WHERE stream = ?1 AND table_id = ?2";
        self.run(|c| c.execute(remove, params![stream, table.0])).map(drop)
    }
}

/// SQLite's integers are signed; an LSN over 2^63 would be 8 EiB of WAL.
fn to_sql(lsn: Lsn) -> i64 {
    i64::try_from(lsn.0).unwrap_or(i64::MAX)
}

fn lsn(value: i64) -> Lsn {
    Lsn(u64::try_from(value).unwrap_or(0))
}

fn made(by_us: bool) -> Made {
    if by_us { Made::ByUs } else { Made::ByOthers }
}

/// A value that we did not write: the file was changed by another hand.
fn foreign(column: usize, what: &str) -> rusqlite::Error {
    let message = format!("{what} has a value that tidemill does not write");
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, message.into())
}

fn source_of_row(row: &Row<'_>) -> rusqlite::Result<SourceState> {
    let system: String = row.get("system_identifier")?;
    let confirmed = match row.get::<_, Option<i64>>("confirmed") {
        Err(rusqlite::Error::InvalidColumnName(_)) => None,
        found => found?,
    };
    Ok(SourceState {
        identity: SourceIdentity {
            system_identifier: system.parse().map_err(|_| foreign(0, "system_identifier"))?,
            database: row.get("database")?,
            slot: row.get("slot")?,
        },
        timeline: row.get("timeline")?,
        slot_made: made(row.get("slot_made")?),
        publication: row.get("publication")?,
        publication_made: made(row.get("publication_made")?),
        epoch: Epoch::new(row.get("epoch")?).ok_or_else(|| foreign(0, "epoch"))?,
        consistent_point: row.get::<_, Option<i64>>("consistent_point")?.map(lsn),
        received: lsn(row.get("received")?),
        confirmed: confirmed.map(lsn),
    })
}

fn stream_of_row(row: &Row<'_>) -> rusqlite::Result<StreamState> {
    Ok(StreamState { name: row.get(0)?, plan_digest: row.get(1)?, settled: lsn(row.get(2)?), paused: row.get(3)? })
}

fn backfill_of_row(row: &Row<'_>) -> rusqlite::Result<TableBackfill> {
    let point = row.get::<_, Option<i64>>(3)?.map(lsn);
    let state = match (row.get_ref(2)?.as_str()?, point) {
        ("todo", _) => BackfillState::Todo,
        ("running", Some(consistent_point)) => BackfillState::Running { consistent_point },
        ("done", Some(consistent_point)) => BackfillState::Done { consistent_point },
        _ => return Err(foreign(2, "backfills.state")),
    };
    Ok(TableBackfill { table: TableId(row.get(0)?), name: row.get(1)?, state })
}

#[cfg(test)]
mod tests;
