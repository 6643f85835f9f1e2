//! The file's own shape: how it is opened, how it is made, and how an older one becomes today's.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Explain, cannot_open};
use crate::error::{Error, Result};

/// Says in the file's header that it is ours ("TIDE").
const APPLICATION_ID: i32 = 0x5449_4445;
/// Readers beside a writer wait at most this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Up to this size a file is checked as a whole when an engine opens it: some 100 ms.
const CHECK_BYTES_MAX: i64 = 64 << 20;

/// What made the file what it is, one step a version. Steps are only ever added.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE source (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        system_identifier TEXT NOT NULL,
        timeline INTEGER NOT NULL,
        database TEXT NOT NULL,
        slot TEXT NOT NULL,
        slot_made INTEGER NOT NULL,
        publication TEXT NOT NULL,
        publication_made INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        consistent_point INTEGER,
        received INTEGER NOT NULL,
        backfills INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE streams (
        name TEXT PRIMARY KEY,
        plan_digest TEXT NOT NULL,
        settled INTEGER NOT NULL,
        paused TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE backfills (
        stream TEXT NOT NULL REFERENCES streams (name) ON DELETE CASCADE,
        table_id INTEGER NOT NULL,
        table_name TEXT NOT NULL,
        state TEXT NOT NULL,
        consistent_point INTEGER,
        PRIMARY KEY (stream, table_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        stream TEXT NOT NULL,
        table_name TEXT NOT NULL,
        key TEXT NOT NULL,
        index_name TEXT NOT NULL,
        kind TEXT NOT NULL,
        commit_lsn INTEGER NOT NULL,
        ordinal INTEGER NOT NULL,
        version INTEGER NOT NULL,
        action TEXT,
        document TEXT,
        error_type TEXT NOT NULL,
        error TEXT NOT NULL,
        stage TEXT,
        plugin_sha256 TEXT,
        attempts INTEGER NOT NULL,
        first_seen_ms INTEGER NOT NULL,
        last_seen_ms INTEGER NOT NULL,
        state TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        UNIQUE (stream, table_name, key, commit_lsn, ordinal)
    ) STRICT;
    CREATE INDEX dead_letters_by_state ON dead_letters (stream, state, bytes);
",
    "
    CREATE TABLE indices (
        stream TEXT NOT NULL REFERENCES streams (name) ON DELETE CASCADE,
        name TEXT NOT NULL,
        uuid TEXT NOT NULL,
        PRIMARY KEY (stream, name)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE source ADD COLUMN confirmed INTEGER;
",
    "
    CREATE INDEX dead_letters_by_document ON dead_letters (stream, index_name, key) WHERE state = 'open';
",
    "
    ALTER TABLE dead_letters ADD COLUMN also TEXT NOT NULL DEFAULT '[]';
",
];

/// The format since which letters have `also`.
pub(super) const WITH_ALSO: i64 = 5;

/// A file whose name is the state's with something after it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The state's file and those that SQLite keeps beside it.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    let beside = ["-wal", "-shm", "-journal"].map(|suffix| beside(path, suffix));
    std::iter::once(path.to_owned()).chain(beside).collect()
}

pub(super) fn open(path: &Path) -> Result<Connection> {
    make_private(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let prepare = |c: &Connection| {
        c.pragma_update(None, "journal_mode", "WAL")?;
        // Every commit reaches the disk: "durable on return" rests on it.
        c.pragma_update(None, "synchronous", "FULL")?;
        c.pragma_update(None, "foreign_keys", "ON")
    };
    prepare(&connection).map_err(|e| e.explain(path))?;
    Ok(connection)
}

pub(super) fn open_to_read(path: &Path) -> Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if version(&connection).map_err(|e| e.explain(path))? == 0 {
        return Err(Error::failed(format!("the state `{}` is empty: `tidemill run` fills it", path.display())));
    }
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|e| e.explain(path))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|e| e.explain(path))?;
    // One that reads first and writes then cannot wait for another writer: what it read may be out of date by then.
    connection.set_transaction_behavior(rusqlite::TransactionBehavior::Immediate);
    expect_ours(&connection, path)?;
    Ok(connection)
}

/// Dead letters hold rows: the file is its user's alone.
fn make_private(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(|e| cannot_open(path, &e))
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses databases of other programs and of newer versions of this one, before anything is changed in them.
fn expect_ours(connection: &Connection, path: &Path) -> Result<()> {
    let header = || {
        let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application, tables, version(connection)?))
    };
    let (application, tables, found) = header().map_err(|e: rusqlite::Error| e.explain(path))?;
    let (file, known) = (path.display(), MIGRATIONS.len() as i64);
    if tables > 0 && application != APPLICATION_ID {
        return Err(Error::failed(format!("`{file}` is a database of another program: name another file by `state:`")));
    }
    if found > known {
        return Err(Error::failed(format!(
            "the state `{file}` was written by a newer tidemill (format {found}, this one knows up to {known}): \
             run that version"
        )));
    }
    Ok(())
}

/// Brings the file to today's shape, all or nothing.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let done = usize::try_from(version(connection)?).unwrap_or(0);
    if done == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()
}

/// Looks for damage while it can still be told, not in the middle of a run.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<()> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_bytes: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    if pages.saturating_mul(page_bytes) > CHECK_BYTES_MAX {
        return Ok(());
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(verdict)))
}
