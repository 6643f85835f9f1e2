//! Reads rows again by their keys, for large values that an update did not change and the WAL therefore leaves out.
//!
//! The trap: the walsender can deliver a commit before other sessions see it. A row that is read too soon is an older
//! one, or seems not to be there. So rows are read only in a snapshot that sees the transactions that named them; a row
//! that is not found then is gone by a later change, whose delete comes in the stream.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::catalog::{TableInfo, TableKind};
use super::connect::Connector;
use super::error::{Error, Kind, Result};
use super::quote::{ident, literal};
use super::snapshot::explain;
use super::wire::{Connection, Row};

/// A commit that waits for a synchronous standby is in the stream and not visible, and a table may be locked by somebody's
/// `ALTER TABLE`: no longer than this do we wait for either before the source begins again.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// Between two looks; the usual wait is far shorter than the first.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// Keys of one statement.
pub const KEYS_MAX: usize = 1_000;

/// What to read again.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub table: &'a TableInfo,
    /// The columns that `keys` have values for.
    pub key: &'a [usize],
    /// The columns to read.
    pub columns: &'a [usize],
    /// The transactions that the stream named, as it names them.
    pub xids: &'a [u32],
}

/// A row that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place in the keys.
    pub key: usize,
    /// A value for each wanted column, as the stream would write it.
    pub values: Row,
}

/// A session that reads rows again.
#[derive(Debug)]
pub struct Reread {
    connection: Connection,
    wait_max: Duration,
}

impl Reread {
    pub async fn open(connector: &Connector) -> Result<Reread> {
        Ok(Reread { connection: connector.wire().await?, wait_max: WAIT_MAX })
    }

    /// With another limit than [`WAIT_MAX`].
    pub fn within(mut self, wait_max: Duration) -> Reread {
        self.wait_max = wait_max;
        self
    }

    /// Reads the rows of these keys, each a text for every key column, all in one snapshot that sees the transactions.
    pub async fn fetch<K: AsRef<str>>(&mut self, wanted: Wanted<'_>, keys: &[Vec<K>]) -> Result<Vec<Found>> {
        self.see(wanted.xids).await?;
        let mut found = Vec::with_capacity(keys.len());
        for (at, keys) in keys.chunks(KEYS_MAX).enumerate() {
            let rows = self.connection.query(&select(wanted, keys)).await;
            for mut row in rows.map_err(|error| explain(wanted.table, error))? {
                let key = row.parse::<usize>(0)? + at * KEYS_MAX;
                row.0.remove(0);
                found.push(Found { key, values: row });
            }
        }
        self.connection.query("COMMIT").await?;
        Ok(found)
    }

    /// Begins a transaction whose snapshot sees all of them.
    async fn see(&mut self, xids: &[u32]) -> Result<()> {
        // ROLLBACK first: an error may have left a transaction open.
        let look = format!(
            "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {}; {}",
            self.wait_max.as_millis(),
            sees(xids)
        );
        let until = Instant::now() + self.wait_max;
        let mut pause = PAUSE;
        loop {
            let rows = self.connection.query(&look).await?;
            match rows.first().map(|row| row.text(0)).transpose()? {
                Some("t") => return Ok(()),
                _ if Instant::now() >= until => break,
                _ => sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let message = format!(
            "a transaction that the stream delivered is not visible after {:?}: does its commit wait for a \
                               synchronous standby?",
            self.wait_max
        );
        Err(Error::new(Kind::NotVisible, message).transient(true))
    }
}

/// Whether the snapshot sees all transactions. The stream has the lower half of a transaction's number; the upper half is
/// that which brings it nearest to the snapshot's end, since both are of now.
fn sees(xids: &[u32]) -> String {
    let xids: Vec<_> = xids.iter().map(u32::to_string).collect();
    format!(
        "SELECT coalesce(bool_and(pg_catalog.pg_visible_in_snapshot( \
           (e.xmax + (((x - e.xmax) % 4294967296) + 6442450944) % 4294967296 - 2147483648)::text::xid8, e.snapshot)), true) \
         FROM (SELECT s AS snapshot, pg_catalog.pg_snapshot_xmax(s)::text::int8 AS xmax \
           FROM pg_catalog.pg_current_snapshot() s OFFSET 0) e, unnest('{{{}}}'::int8[]) x",
        xids.join(",")
    )
}

/// Keys go in as text and are cast to their column's type, so that they compare as it does; the row's place among them
/// comes back, since a key may be written in more than one way.
fn select<K: AsRef<str>>(wanted: Wanted<'_>, keys: &[Vec<K>]) -> String {
    let name = |column: usize| ident(&wanted.table.relation.columns[column].name);
    let columns: String = wanted.columns.iter().map(|column| format!(", t.{}", name(*column))).collect();
    let parts: String = (0..wanted.key.len()).map(|part| format!(", k{part}")).collect();
    let matches = wanted.key.iter().enumerate().map(|(part, column)| {
        format!("t.{} = CAST(k.k{part} AS {})", name(*column), wanted.table.columns[*column].type_name)
    });
    let values = keys.iter().enumerate().map(|(at, key)| {
        let parts: String = key.iter().map(|part| format!(",{}", literal(part.as_ref()))).collect();
        format!("({at}{parts})")
    });
    format!(
        "SELECT k.n{columns} FROM (VALUES {}) k(n{parts}) JOIN {}{} t ON {}",
        values.collect::<Vec<_>>().join(","),
        if wanted.table.kind == TableKind::Ordinary { "ONLY " } else { "" },
        wanted.table.sql_name(),
        matches.collect::<Vec<_>>().join(" AND "),
    )
}
