//! `capture`: real rows of a stream into a file. It reads, and moves nothing: rows come by COPY in a snapshot of their own, and
//! changes are peeked at in the slot, which stays where it is.

use std::path::Path;

use sha2::{Digest, Sha256};
use tidemill_change::Op;
use tidemill_stage::Limits;

use super::mask::Mask;
use super::recording::{Head, PluginDigest, write};
use super::row::RowChange;
use super::table::{Column, Identity, Table, kind_name};
use super::wal::{Taker, copy_cells};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::pipeline::connector;
use crate::plan::Plugins;
use crate::source::catalog::{TableInfo, tables};
use crate::source::snapshot::{Selection, SnapshotSource};
use crate::source::{Connector, Session};

#[derive(Debug)]
pub struct CaptureOptions<'a> {
    pub stream: &'a str,
    /// Of a stream with several tables, which one.
    pub table: Option<&'a str>,
    pub rows: usize,
    /// Changes that wait in the slot, instead of the table's rows.
    pub changes: bool,
    pub mask: &'a [String],
    pub output: &'a Path,
}

#[derive(Debug)]
pub struct Captured {
    pub table: String,
    pub rows: usize,
}

pub async fn capture(config: &Config, options: &CaptureOptions<'_>) -> Result<Captured> {
    let stream = config.stream(options.stream)?;
    let connector = connector(config)?;
    let session = connector.sql().await?;
    let info = one(tables(&session, &stream.from.include, &stream.from.exclude).await?, options)?;
    let table = described(&info);
    let mask = Mask::new(&table, options.mask)?;
    let mut rows = match options.changes {
        false => rows(&connector, &info, options.rows).await?,
        true => changes(config, &session, &info, options.rows).await?,
    };
    rows.iter_mut().for_each(|row| mask.apply(row));
    let from = if options.changes { "slot" } else { "table" };
    let head = Head::new(&stream.name, from, table, plugins(stream)?, options.mask);
    write(options.output, &head, &rows)?;
    Ok(Captured { table: info.relation.to_string(), rows: rows.len() })
}

fn one(mut tables: Vec<TableInfo>, options: &CaptureOptions<'_>) -> Result<TableInfo> {
    let names: Vec<String> = tables.iter().map(|table| table.relation.to_string()).collect();
    if let Some(wanted) = options.table {
        let is = |table: &TableInfo| table.relation.to_string() == wanted || table.relation.name == wanted;
        tables.retain(is);
    }
    match (tables.pop(), tables.is_empty()) {
        (Some(table), true) => Ok(table),
        _ => Err(Error::usage(format!(
            "stream `{}` has several tables, and a capture is of one: give `--table` with one of {}",
            options.stream,
            names.join(", ")
        ))),
    }
}

fn described(info: &TableInfo) -> Table {
    let relation = &info.relation;
    let columns = relation.columns.iter().zip(&info.columns).map(|(column, told)| Column {
        name: column.name.clone(),
        type_name: told.type_name.clone(),
        kind: Some(kind_name(column.kind).to_owned()),
        oid: Some(column.type_oid),
    });
    let key = if info.primary_key.is_empty() {
        relation.columns.iter().filter(|column| column.identity).map(|column| column.name.clone()).collect()
    } else {
        info.primary_key.iter().map(|place| relation.columns[*place].name.clone()).collect()
    };
    let full = relation.replica_identity == tidemill_change::ReplicaIdentity::Full;
    let identity = if full { Identity::Full } else { Identity::Key };
    Table { table: relation.to_string(), columns: columns.collect(), key, identity }
}

/// The first rows that a COPY gives.
async fn rows(connector: &Connector, info: &TableInfo, max: usize) -> Result<Vec<RowChange>> {
    let mut source = SnapshotSource::fresh(connector).await?;
    source.copy(Selection { table: info, columns: None, condition: None }).await?;
    let mut rows = Vec::new();
    loop {
        let frames = source.read().await?;
        for frame in &frames.frames {
            if rows.len() == max {
                // The session ends with its connection, and with it the copy.
                return Ok(rows);
            }
            let line = &frames.chunk[frame.clone()];
            let row = copy_cells(line.strip_suffix(b"\n").unwrap_or(line)).map_err(Error::failed)?;
            rows.push(RowChange { op: Op::Read, row, old: None, commit: None });
        }
        if frames.is_end() {
            return Ok(rows);
        }
    }
}

/// The first changes that the slot holds; it stays where it is.
async fn changes(config: &Config, session: &Session, info: &TableInfo, max: usize) -> Result<Vec<RowChange>> {
    const PEEK: &str = "SELECT data FROM pg_catalog.pg_logical_slot_peek_binary_changes($1::text::name, NULL, $2, \
                        'proto_version', '1', 'publication_names', $3)";
    let slot = config.source.slot.as_str();
    let publication = crate::source::quote::ident(&config.source.publication);
    // Other tables' changes count too, so the limit here only keeps a long wait within reason.
    let limit = i32::try_from(max.saturating_mul(PEEKED_A_ROW)).unwrap_or(i32::MAX);
    let peeked = session.query(PEEK, &[&slot, &limit, &publication]).await.map_err(|error| {
        let why = match error.code().map(tokio_postgres::error::SqlState::code) {
            Some("55006") => {
                "an engine streams from it: stop that one, or capture the table's rows without `--changes`"
            }
            Some("42704") => "it is made by the first `tidemill run`: capture the table's rows without `--changes`",
            _ => "its changes cannot be looked at",
        };
        Error::failed(format!("slot `{slot}`: {why}")).with_cause(error)
    })?;
    let mut taker = Taker::new(info.relation.id.0, info.relation.columns.len());
    let mut rows = Vec::new();
    for message in &peeked {
        if let Some(change) = taker.take(message.get(0)).map_err(Error::failed)? {
            rows.push(change);
            if rows.len() == max {
                break;
            }
        }
    }
    Ok(rows)
}

/// How many messages are looked at for each row that is wanted.
const PEEKED_A_ROW: usize = 20;

/// The stream's plugins as they are now.
fn plugins(stream: &config::Stream) -> Result<Vec<PluginDigest>> {
    let mut digests = Vec::new();
    let mut shipped = Plugins::default();
    let mut of = |name: &str| -> Result<PluginDigest> {
        Ok(PluginDigest {
            name: name.to_owned(),
            sha256: shipped.shipped(name, &Limits::default())?.sha256().to_owned(),
        })
    };
    if stream.filter.is_some() {
        digests.push(of("where")?);
    }
    for stage in &stream.stages {
        digests.push(match &stage.plugin {
            config::Plugin::Shipped(name) => of(name)?,
            config::Plugin::File(path) => {
                let name = path.display().to_string();
                let bytes = std::fs::read(path)
                    .map_err(|error| Error::failed(format!("plugin `{name}` cannot be read")).with_cause(error))?;
                let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                PluginDigest { name, sha256 }
            }
        });
    }
    if stream.columns.is_some() {
        digests.push(of("select")?);
    }
    Ok(digests)
}
