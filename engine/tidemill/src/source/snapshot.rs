//! Rows that are already there, by COPY, all tables as of one moment.
//!
//! The first backfill reads in the snapshot that the slot's creation exported: what committed before the slot's consistent
//! point is in it, what commits later is in the stream, nothing is in both and nothing in neither. A backfill that begins
//! again has no such snapshot any more, and reads in one of its own.

use tidemill_change::Lsn;

use super::catalog::{TableInfo, TableKind};
use super::connect::Connector;
use super::error::{Error, Kind, Result};
use super::quote::{idents, literal};
use super::server::lsn;
use super::wire::{Connection, Frames};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Where a snapshot of our own stands in the WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The WAL's end just before the snapshot. What commits later in the WAL may be in the snapshot all the same, and what
    /// committed before may not be visible yet: compare transactions by `snapshot`.
    pub low: Lsn,
    /// `pg_current_snapshot()`: `xmin:xmax:xip,…`.
    pub snapshot: String,
}

/// A table's rows, or some of them.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    pub table: &'a TableInfo,
    /// Columns of the relation, in the order in which they come; all where `None`.
    pub columns: Option<&'a [usize]>,
    /// An SQL condition that Postgres judges.
    pub condition: Option<&'a str>,
}

impl Selection<'_> {
    pub fn sql(&self) -> String {
        match self.condition {
            // The plain form is faster, but knows no partitions and cannot name zero columns.
            None if self.table.kind == TableKind::Ordinary && !self.columns().is_empty() => {
                format!("COPY {} ({}) TO STDOUT", self.table.sql_name(), self.columns())
            }
            _ => format!("COPY ({}) TO STDOUT", self.query()),
        }
    }

    fn columns(&self) -> String {
        let relation = &self.table.relation;
        let all: Vec<usize> = (0..relation.columns.len()).collect();
        idents(self.columns.unwrap_or(&all).iter().map(|at| relation.columns[*at].name.as_str()))
    }

    fn query(&self) -> String {
        let (columns, name) = (self.columns(), self.table.sql_name());
        let only = if self.table.kind == TableKind::Ordinary { "ONLY " } else { "" };
        match self.condition {
            None => format!("SELECT {columns} FROM {only}{name}"),
            Some(condition) => format!("SELECT {columns} FROM {only}{name} WHERE ({condition}\n)"),
        }
    }
}

/// A session that sees one moment, and copies tables out of it one after another.
#[derive(Debug)]
pub struct SnapshotSource {
    connection: Connection,
    mark: Option<Mark>,
}

impl SnapshotSource {
    /// In a snapshot that another session exports, and must keep open while this begins.
    pub async fn exported(connector: &Connector, snapshot: &str) -> Result<SnapshotSource> {
        let mut connection = connector.wire().await?;
        connection.query(BEGIN).await?;
        let taken = connection.query(&format!("SET TRANSACTION SNAPSHOT {}", literal(snapshot).trim_start())).await;
        taken.map_err(|error| match error.sqlstate() {
            Some("22023" | "42704") => {
                error.explain(Kind::SnapshotGone, "the slot's snapshot is gone with the session that exported it")
            }
            _ => error,
        })?;
        Ok(SnapshotSource { connection, mark: None })
    }

    /// In a snapshot of its own, as of now.
    pub async fn fresh(connector: &Connector) -> Result<SnapshotSource> {
        let mut connection = connector.wire().await?;
        let low = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                   ELSE pg_catalog.pg_current_wal_insert_lsn() END";
        let low = one(connection.query(low).await?)?;
        connection.query(BEGIN).await?;
        let snapshot = one(connection.query("SELECT pg_catalog.pg_current_snapshot()").await?)?;
        let low = lsn(low)?.unwrap_or_default();
        let mark = Some(Mark { low, snapshot: snapshot.unwrap_or_default() });
        Ok(SnapshotSource { connection, mark })
    }

    /// Where a fresh snapshot stands; an exported one stands at its slot's consistent point.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Whether Postgres itself can judge by this condition here, alike on every row: it takes it, as its own operators have it,
    /// and no column is compared by a collation under which different bytes are equal.
    pub async fn can_judge(&mut self, table: &TableInfo, condition: &str) -> Result<bool> {
        let other = format!(
            "SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation c ON c.oid OPERATOR(pg_catalog.=) a.attcollation \
             WHERE a.attrelid OPERATOR(pg_catalog.=) {}::pg_catalog.oid AND NOT c.collisdeterministic LIMIT 1",
            table.relation.id.0
        );
        if !self.connection.query(&other).await?.is_empty() {
            return Ok(false);
        }
        let all = Selection { table, columns: Some(&[]), condition: Some(condition) };
        self.connection.query("SET LOCAL search_path = pg_catalog, pg_temp; SAVEPOINT judge").await?;
        match self.connection.query(&format!("EXPLAIN {}", all.query())).await {
            Ok(_) => self.connection.query("RELEASE SAVEPOINT judge").await.map(|_| true),
            Err(error) if error.sqlstate().is_some() => {
                self.connection.query("ROLLBACK TO SAVEPOINT judge").await.map(|_| false)
            }
            Err(error) => Err(error),
        }
    }

    /// Begins to copy; rows come by [`SnapshotSource::read`], each a frame in COPY's text format with its newline.
    pub async fn copy(&mut self, selection: Selection<'_>) -> Result<()> {
        self.connection.copy_out(&selection.sql()).await.map_err(|error| explain(selection.table, error))
    }

    /// The next rows; none at the table's end, after which the next may be copied. May be dropped at any await.
    pub async fn read(&mut self) -> Result<Frames> {
        self.connection.read().await
    }

    /// Lets the snapshot go.
    pub async fn finish(mut self) -> Result<()> {
        self.connection.query("COMMIT").await.map(|_| ())
    }
}

fn one(rows: Vec<super::wire::Row>) -> Result<Option<String>> {
    let row = rows.first().ok_or_else(|| Error::protocol("a query without an answer"))?;
    Ok(row.get(0)?.map(str::to_owned))
}

/// Tells why a table cannot be read, from what the catalog said of it.
pub(super) fn explain(table: &TableInfo, error: Error) -> Error {
    let relation = &table.relation;
    match error.sqlstate().unwrap_or_default() {
        "42501" if table.row_security => error
            .explain(Kind::RowSecurity, format!("row-level security of table `{relation}` would hide rows from us")),
        "42501" => error.explain(Kind::NoSelect, format!("table `{relation}` may not be read")),
        "42P01" => error.explain(Kind::TableMissing, format!("table `{relation}` is gone")),
        _ => error.during(format_args!("table `{relation}` cannot be read")),
    }
}
