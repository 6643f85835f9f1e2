//! Fills the cells that the WAL left out because a large value did not change: the rows are read again by key, in a snapshot
//! that sees the transactions which changed them.
//!
//! A row that is not found then is gone by a later change, which is still to come in the stream; so its change here has
//! nothing more to say, but for the delete of the key that it left.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave;
use bytes::{BufMut, Bytes, BytesMut};
use tidemill_change::{Change, ChangeBatch, Commit, Lsn, NO_ROW, OldImage, Op, Relation, TableId, Unreadable};
use tidemill_decode::CopyDecoder;

use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::source::catalog::{TableInfo, tables_by_id};
use crate::source::reread::{Found, Reread, Wanted};
use crate::source::{Connector, Session};

/// Reads rows again. Its session is opened when it is first needed.
pub(super) struct Filler {
    connector: Arc<Connector>,
    tables: HashMap<TableId, Arc<TableInfo>>,
    session: Option<Reread>,
}

impl Filler {
    pub(super) fn new(connector: Arc<Connector>, plan: &Plan) -> Filler {
        let tables = plan.tables().into_iter().map(|table| (table.relation.id, table)).collect();
        Filler { connector, tables, session: None }
    }

    /// Fills a batch, or tells why that cannot be done: the table is no longer what the WAL describes. An error is the
    /// connection's.
    pub(super) async fn fill(&mut self, batch: &mut ChangeBatch) -> Result<Option<String>> {
        let Some(table) = self.tables.get(&batch.relation.id).cloned() else { return Ok(None) };
        let looking = match knows(&table, batch) {
            true => None,
            false => Some(self.connector.sql().await?),
        };
        let session = match self.session.take() {
            Some(session) => session,
            None => Reread::open(&self.connector).await?,
        };
        match self.fill_from(session, looking, table, batch).await {
            Ok(()) => Ok(None),
            Err(error) if error.is_transient() => Err(error),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    async fn fill_from(
        &mut self,
        mut session: Reread,
        looking: Option<Session>,
        mut table: Arc<TableInfo>,
        batch: &mut ChangeBatch,
    ) -> Result<()> {
        if let Some(looking) = looking {
            table = self.look_again(&looking, &batch.relation).await?;
        }
        let missing = Missing::of(batch, &table)?;
        let wanted =
            Wanted { table: &table, key: &missing.key, columns: &missing.catalog_columns, xids: &missing.xids };
        let found = session.fetch(wanted, &missing.keys).await?;
        // Kept only now: after an error it may be in the middle of something.
        self.session = Some(session);
        missing.put(batch, &found)
    }

    /// The table has changed since it was looked at.
    async fn look_again(&mut self, session: &Session, relation: &Relation) -> Result<Arc<TableInfo>> {
        let found = tables_by_id(session, &[relation.id.0]).await?.pop();
        let table = Arc::new(found.ok_or_else(|| Error::failed(format!("table `{relation}` is gone")))?);
        self.tables.insert(relation.id, Arc::clone(&table));
        Ok(table)
    }
}

/// Whether the table, as it was looked at, has all columns that the batch lacks values of.
fn knows(table: &TableInfo, batch: &ChangeBatch) -> bool {
    let lacking = batch.relation.columns.iter().zip(&batch.unchanged).filter(|(_, unchanged)| unchanged.is_some());
    lacking.map(|(column, _)| column).all(|column| table.relation.column(&column.name).is_some())
}

/// What a batch lacks.
struct Missing {
    /// Rows of the batch with a missing cell.
    rows: Vec<u32>,
    /// Their keys.
    keys: Vec<Vec<String>>,
    /// The key's columns, and the missing ones, in the catalog's count.
    key: Vec<usize>,
    catalog_columns: Vec<usize>,
    /// The missing columns in the batch's count.
    columns: Vec<usize>,
    xids: Vec<u32>,
}

impl Missing {
    fn of(batch: &ChangeBatch, table: &TableInfo) -> Result<Missing> {
        let relation = &batch.relation;
        let columns: Vec<usize> =
            (0..batch.unchanged.len()).filter(|&column| batch.unchanged[column].is_some()).collect();
        let is_missing =
            |row: usize| columns.iter().any(|&c| batch.unchanged[c].as_ref().is_some_and(|cells| cells.value(row)));
        // A row that cannot be read becomes no document, and its key may be what cannot be read.
        let is_readable = |row: u32| batch.unreadable.binary_search_by_key(&row, |cell| cell.row).is_err();
        let rows = (0..batch.rows.num_rows()).filter(|&row| is_missing(row)).map(|row| row as u32);
        let rows: Vec<u32> = rows.filter(|&row| is_readable(row)).collect();
        let in_catalog = |column: usize| -> Result<usize> {
            let name = &relation.columns[column].name;
            table.relation.column(name).ok_or_else(|| gone(relation, name))
        };
        let key_columns: Vec<usize> = match table.primary_key.as_slice() {
            [] => (0..relation.columns.len()).filter(|&column| relation.columns[column].identity).collect(),
            key => key
                .iter()
                .map(|&column| {
                    let name = &table.relation.columns[column].name;
                    relation.column(name).ok_or_else(|| gone(relation, name))
                })
                .collect::<Result<_>>()?,
        };
        if let Some(&column) = key_columns.iter().find(|&&column| batch.left_out.has(column)) {
            let name = &relation.columns[column].name;
            return Err(Error::failed(format!(
                "a row of table `{relation}` has to be read again by `{name}`, which was left out: start the engine again"
            )));
        }
        let keys = rows
            .iter()
            .map(|&row| {
                key_columns.iter().map(|&column| key_text(relation, batch.rows.column(column), column, row)).collect()
            })
            .collect::<Result<_>>()?;
        let mut xids: Vec<u32> = batch.commits.iter().map(|commit| commit.xid).collect();
        xids.sort_unstable();
        xids.dedup();
        Ok(Missing {
            rows,
            keys,
            key: key_columns.iter().map(|&column| in_catalog(column)).collect::<Result<_>>()?,
            catalog_columns: columns.iter().map(|&column| in_catalog(column)).collect::<Result<_>>()?,
            columns,
            xids,
        })
    }

    /// Puts what was found into the batch, and takes out the rows that are gone.
    fn put(self, batch: &mut ChangeBatch, found: &[Found]) -> Result<()> {
        let ChangeBatch { rows: read, unreadable, .. } = self.decode(batch, found)?;
        // For each row of the batch, the row that was read for it.
        let mut source = vec![None; batch.rows.num_rows()];
        let mut is_gone = vec![false; batch.rows.num_rows()];
        self.rows.iter().for_each(|&row| is_gone[row as usize] = true);
        for (at, found) in found.iter().enumerate() {
            let row = self.rows[found.key] as usize;
            source[row] = Some(at);
            is_gone[row] = false;
        }
        let mut columns: Vec<ArrayRef> = batch.rows.columns().to_vec();
        for &column in &self.columns {
            let Some(cells) = batch.unchanged[column].take() else { continue };
            let indices: Vec<(usize, usize)> = (0..batch.rows.num_rows())
                .map(|row| match source[row] {
                    Some(at) if cells.value(row) => (1, at),
                    _ => (0, row),
                })
                .collect();
            let parts: [&dyn Array; 2] = [columns[column].as_ref(), read.column(column).as_ref()];
            columns[column] = interleave(&parts, &indices).map_err(arrow)?;
        }
        batch.rows = RecordBatch::try_new(batch.relation.arrow().clone(), columns).map_err(arrow)?;
        let unreadable = unreadable.into_iter();
        batch
            .unreadable
            .extend(unreadable.map(|cell| Unreadable { row: self.rows[found[cell.row as usize].key], ..cell }));
        batch.unreadable.sort_by_key(|cell| cell.row);
        if is_gone.contains(&true) {
            remove(batch, &is_gone)?;
        }
        Ok(())
    }

    /// The rows that were read, as the stream would have had them: through COPY's text form and its decoder.
    fn decode(&self, batch: &ChangeBatch, found: &[Found]) -> Result<ChangeBatch> {
        let commit = Commit { lsn: Lsn::ZERO, xid: 0, time_us: 0 };
        let mut decoder = CopyDecoder::new(Arc::clone(&batch.relation), commit);
        let (mut text, mut lines) = (BytesMut::new(), Vec::with_capacity(found.len()));
        for found in found {
            let start = text.len();
            for column in 0..batch.relation.columns.len() {
                if column > 0 {
                    text.put_u8(b'\t');
                }
                let value = self
                    .columns
                    .iter()
                    .position(|&missing| missing == column)
                    .and_then(|at| found.values.0[at].as_ref());
                match value {
                    Some(value) => escape(value, &mut text),
                    None => text.put_slice(b"\\N"),
                }
            }
            text.put_u8(b'\n');
            lines.push(start..text.len());
        }
        let chunk: Bytes = text.freeze();
        for line in lines {
            decoder.row(&chunk, line).map_err(|error| Error::failed(error.to_string()))?;
        }
        Ok(decoder.take())
    }
}

/// COPY's escapes.
fn escape(value: &[u8], text: &mut BytesMut) {
    for &byte in value {
        match byte {
            b'\\' => text.put_slice(b"\\\\"),
            b'\t' => text.put_slice(b"\\t"),
            b'\n' => text.put_slice(b"\\n"),
            b'\r' => text.put_slice(b"\\r"),
            byte => text.put_u8(byte),
        }
    }
}

/// Takes rows out of a batch. Where a row left another key behind, what remains of its change is the delete of that.
fn remove(batch: &mut ChangeBatch, is_gone: &[bool]) -> Result<()> {
    let keep: BooleanArray = is_gone.iter().map(|gone| Some(!gone)).collect();
    batch.rows = filter_record_batch(&batch.rows, &keep).map_err(arrow)?;
    let before = |row: u32| is_gone[..row as usize].iter().filter(|gone| **gone).count() as u32;
    batch.unreadable.retain(|cell| !is_gone[cell.row as usize]);
    batch.unreadable.iter_mut().for_each(|cell| cell.row -= before(cell.row));
    let mut row = 0;
    let changes = std::mem::take(&mut batch.changes).into_iter().filter_map(|change| {
        if change.row == NO_ROW {
            return Some(change);
        }
        if !is_gone[change.row as usize] {
            row += 1;
            return Some(Change { row: row - 1, ..change });
        }
        (change.old_image != OldImage::None).then_some(Change { op: Op::Delete, row: NO_ROW, ..change })
    });
    batch.changes = changes.collect();
    Ok(())
}

fn key_text(relation: &Relation, array: &ArrayRef, column: usize, row: u32) -> Result<String> {
    let row = row as usize;
    Ok(match array.data_type() {
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Date32 => match array.as_primitive::<Date32Type>().value(row) {
            i32::MAX => "infinity".to_owned(),
            i32::MIN => "-infinity".to_owned(),
            days => moment(i64::from(days), ""),
        },
        DataType::Timestamp(..) => match array.as_primitive::<TimestampMicrosecondType>().value(row) {
            i64::MAX => "infinity".to_owned(),
            i64::MIN => "-infinity".to_owned(),
            us => moment(us.div_euclid(DAY_US), &time_of_day(us.rem_euclid(DAY_US))),
        },
        DataType::Time64(_) => time_of_day(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::BinaryView => {
            let hex = array.as_binary_view().value(row).iter().map(|byte| format!("{byte:02x}"));
            std::iter::once("\\x".to_owned()).chain(hex).collect()
        }
        other => {
            let name = &relation.columns[column].name;
            return Err(Error::failed(format!(
                "a row of table `{relation}` has a large value that did not change, and cannot be read again by its key column \
                 `{name}` of type {other}: run `ALTER TABLE {relation} REPLICA IDENTITY FULL`"
            )));
        }
    })
}

const DAY_US: i64 = 86_400_000_000;

fn time_of_day(us: i64) -> String {
    let seconds = us / 1_000_000;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, us % 1_000_000)
}

/// A day since 1970 of the Gregorian calendar, and a time behind it, as Postgres reads them; the session's zone is UTC.
fn moment(days: i64, time: &str) -> String {
    // Howard Hinnant's `civil_from_days`: years begin in March, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        1.. => format!("{year:04}-{month:02}-{day:02} {time}"),
        _ => format!("{:04}-{month:02}-{day:02} {time} BC", 1 - year),
    }
}

/// Trying again does not help: what the WAL says of the past stays as it is.
fn gone(relation: &Relation, column: &str) -> Error {
    Error::failed(format!(
        "column `{column}` of table `{relation}` was dropped, renamed or made part of the key, and a change of before cannot be \
         completed without it: `tidemill teardown`, then `tidemill run` reads all rows anew"
    ))
}

fn arrow(error: arrow_schema::ArrowError) -> Error {
    Error::failed("columns could not be put together").with_cause(error)
}
