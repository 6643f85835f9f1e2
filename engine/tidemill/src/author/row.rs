//! Rows that were written down, made into what Postgres sends, and through the engine's decoder into batches.
//!
//! A row of a case is JSON with a value for each column; a row of a capture has the text of each as Postgres wrote it. Both become
//! the cells of a pgoutput message: nothing here knows how a type is parsed.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tidemill_change::{ChangeBatch, Kind, Lsn, Op};
use tidemill_decode::Decoder;

use super::json::Fields;
use super::table::{Identity, Table, Type};
use crate::error::{Error, Result};

/// A cell as a message has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell {
    Null,
    /// A large value that an update left out.
    Unchanged,
    Text(String),
}

/// What happened to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowChange {
    pub(super) op: Op,
    /// The new row; empty for a delete.
    pub(super) row: Vec<Cell>,
    /// The row as it was before, as far as the replica identity tells it.
    pub(super) old: Option<Vec<Cell>>,
    pub(super) commit: Option<CommitInfo>,
}

/// The transaction that a captured change came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommitInfo {
    pub(super) lsn: Lsn,
    pub(super) time_us: i64,
}

/// Reads a row of a case: the row itself, or `{"op": …, "row": …, "old": …}`.
pub(super) fn read_row(line: &str, table: &Table, types: &[Type]) -> Result<RowChange, String> {
    let fields: Fields = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if table.place("op").is_some()
        || !fields.names().all(|name| ["op", "row", "old"].contains(&name))
        || fields.get("op").is_none()
    {
        return Ok(RowChange { op: Op::Insert, row: cells(&fields, table, types)?, old: None, commit: None });
    }
    let op = match fields.get("op").map(RawValue::get) {
        Some("\"read\"") => Op::Read,
        Some("\"insert\"") => Op::Insert,
        Some("\"update\"") => Op::Update,
        Some("\"delete\"") => Op::Delete,
        _ => return Err("`op` is read, insert, update or delete".to_owned()),
    };
    let part = |name: &str| -> Result<Option<Vec<Cell>>, String> {
        let Some(value) = fields.get(name) else { return Ok(None) };
        let row: Fields = serde_json::from_str(value.get()).map_err(|error| format!("`{name}`: {error}"))?;
        cells(&row, table, types).map(Some)
    };
    let (row, old) = (part("row")?, part("old")?);
    match (op, &row, &old) {
        (Op::Read | Op::Insert, Some(_), None) | (Op::Update, Some(_), _) | (Op::Delete, None, Some(_)) => {}
        (Op::Read | Op::Insert, ..) => return Err("a read or insert has `row` and no `old`".to_owned()),
        (Op::Update, ..) => return Err("an update has `row`, and `old` where the replica identity tells it".to_owned()),
        (Op::Delete, ..) => return Err("a delete has `old` and no `row`".to_owned()),
    }
    Ok(RowChange { op, row: row.unwrap_or_default(), old, commit: None })
}

fn cells(row: &Fields, table: &Table, types: &[Type]) -> Result<Vec<Cell>, String> {
    if let Some(name) = row.names().find(|name| table.place(name).is_none()) {
        let known: Vec<_> = table.columns.iter().map(|column| format!("`{}`", column.name)).collect();
        return Err(format!("there is no column `{name}`: there are {}", known.join(", ")));
    }
    let cell = |(column, of): (&super::table::Column, &Type)| match row.get(&column.name) {
        None => Ok(Cell::Null),
        Some(value) => cell(value, of.kind).map_err(|error| format!("column `{}`: {error}", column.name)),
    };
    table.columns.iter().zip(types).map(cell).collect()
}

/// A JSON value as the text that Postgres writes for a column of that kind.
fn cell(value: &RawValue, kind: Kind) -> Result<Cell, String> {
    let text = value.get();
    let is_json = matches!(kind, Kind::Json | Kind::Jsonb);
    Ok(Cell::Text(match text.as_bytes().first() {
        Some(b'n') => return Ok(Cell::Null),
        _ if is_json => text.to_owned(),
        Some(b't' | b'f') if kind == Kind::Bool => text[..1].to_owned(),
        Some(b'"') => string(text)?,
        Some(b'[') if matches!(kind, Kind::Array(_)) => array(text)?,
        Some(b'{' | b'[') => return Err("only a column of type json or jsonb takes an object or a list".to_owned()),
        _ => text.to_owned(),
    }))
}

fn string(json: &str) -> Result<String, String> {
    let text: String = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if text.contains('\0') { Err("no text in Postgres has the character U+0000".to_owned()) } else { Ok(text) }
}

/// A list as an array's text: `{1,NULL,"a b"}`.
fn array(json: &str) -> Result<String, String> {
    let items: Vec<Box<RawValue>> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let item = |item: &RawValue| {
        Ok(match item.get().as_bytes().first() {
            Some(b'n') => "NULL".to_owned(),
            Some(b'[') => array(item.get())?,
            Some(b'"') => quoted_element(&string(item.get())?),
            Some(b'{') => quoted_element(item.get()),
            Some(b't' | b'f') => item.get()[..1].to_owned(),
            _ => item.get().to_owned(),
        })
    };
    let items: Result<Vec<String>, String> = items.iter().map(|value| item(value)).collect();
    Ok(format!("{{{}}}", items?.join(",")))
}

fn quoted_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

const TABLE: u32 = 1;
/// Where made-up transactions stand in a WAL, and how far apart.
const FIRST_LSN: u64 = 0x0100_0000;
const LSN_STEP: u64 = 0x100;

/// Feeds rows to the engine's decoder, as the stream would, each as a transaction of its own.
#[derive(Debug)]
pub(super) struct Feeder {
    decoder: Decoder,
    table: Table,
    lsn: u64,
}

impl Feeder {
    pub(super) fn new(table: &Table) -> Result<Feeder> {
        let mut feeder = Feeder { decoder: Decoder::new(Lsn::ZERO), table: table.clone(), lsn: FIRST_LSN };
        for of in table.types() {
            feeder.decoder.name_type(of.oid, of.kind);
        }
        feeder.say(&relation(table))?;
        Ok(feeder)
    }

    /// These rows as one batch.
    pub(super) fn batch(&mut self, rows: &[RowChange]) -> Result<ChangeBatch> {
        for row in rows {
            let commit = row.commit.unwrap_or(CommitInfo { lsn: Lsn::ZERO, time_us: POSTGRES_EPOCH_US });
            self.lsn = commit.lsn.0.max(self.lsn + LSN_STEP);
            let (begin, end) = transaction(self.lsn, commit.time_us);
            self.say(&begin)?;
            self.say(&change(row, self.table.identity))?;
            self.say(&end)?;
        }
        let mut batches = self.decoder.cut().batches;
        match (batches.pop(), batches.is_empty()) {
            (Some(mut batch), true) => {
                // The stream has no message for a row that a backfill read.
                for (change, row) in batch.changes.iter_mut().zip(rows).filter(|(_, row)| row.op == Op::Read) {
                    change.op = row.op;
                }
                Ok(batch)
            }
            _ => Err(Error::failed("these rows are not of one table and shape")),
        }
    }

    /// The relation as the decoder knows it.
    pub(super) fn relation(&self) -> &Arc<tidemill_change::Relation> {
        self.decoder.relation(tidemill_change::TableId(TABLE)).expect("it was described first")
    }

    fn say(&mut self, message: &[u8]) -> Result<()> {
        let chunk = Bytes::copy_from_slice(message);
        self.decoder.message(&chunk, 0..chunk.len())?;
        Ok(())
    }
}

/// Microseconds from 1970-01-01 to 2000-01-01, where Postgres counts from.
pub(super) const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

fn transaction(lsn: u64, time_us: i64) -> (Vec<u8>, Vec<u8>) {
    let time = time_us.saturating_sub(POSTGRES_EPOCH_US).to_be_bytes();
    let begin = [b"B", &lsn.to_be_bytes()[..], &time, &1_u32.to_be_bytes()].concat();
    let end = [b"C\0", &lsn.to_be_bytes()[..], &(lsn + LSN_STEP / 2).to_be_bytes(), &time].concat();
    (begin, end)
}

fn relation(table: &Table) -> Vec<u8> {
    let (schema, name) = table.names();
    let mut out = [b"R", &TABLE.to_be_bytes()[..], schema.as_bytes(), b"\0", name.as_bytes(), b"\0"].concat();
    out.push(if table.identity == Identity::Full { b'f' } else { b'd' });
    out.extend((table.columns.len() as u16).to_be_bytes());
    for (column, of) in table.columns.iter().zip(table.types()) {
        let identity = table.identity == Identity::Full || table.key.contains(&column.name);
        out.push(u8::from(identity));
        out.extend(column.name.bytes().chain([0]));
        out.extend(of.oid.to_be_bytes());
        out.extend((-1_i32).to_be_bytes());
    }
    out
}

fn change(row: &RowChange, identity: Identity) -> Vec<u8> {
    let tag = match row.op {
        Op::Read | Op::Insert => b'I',
        Op::Update => b'U',
        Op::Delete => b'D',
    };
    let mut out = vec![tag];
    out.extend(TABLE.to_be_bytes());
    if let Some(old) = &row.old {
        tuple(if identity == Identity::Full { b'O' } else { b'K' }, old, &mut out);
    }
    if row.op != Op::Delete {
        tuple(b'N', &row.row, &mut out);
    }
    out
}

fn tuple(tag: u8, cells: &[Cell], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((cells.len() as u16).to_be_bytes());
    for cell in cells {
        match cell {
            Cell::Null => out.push(b'n'),
            Cell::Unchanged => out.push(b'u'),
            Cell::Text(text) => {
                out.push(b't');
                out.extend((text.len() as u32).to_be_bytes());
                out.extend(text.bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    use super::*;

    fn table() -> Table {
        Table::parse(
            r#"{"table": "public.t", "columns": [{"name": "id", "type": "bigint"}, {"name": "tags", "type": "text[]"},
               {"name": "doc", "type": "jsonb"}, {"name": "ok", "type": "boolean"}, {"name": "price", "type": "numeric"}]}"#,
        )
        .unwrap()
    }

    fn read(line: &str) -> Result<RowChange, String> {
        read_row(line, &table(), &table().types())
    }

    #[test]
    fn json_becomes_the_text_of_postgres() {
        let row =
            read(r#"{"id": 7, "tags": ["a b", null, "q\"x", [1]], "doc": {"a": "x"}, "ok": true, "price": 1.50}"#)
                .unwrap()
                .row;
        let texts: Vec<_> =
            row.into_iter().map(|cell| if let Cell::Text(text) = cell { text } else { "-".into() }).collect();
        assert_eq!(
            texts,
            ["7", r#"{"a b",NULL,"q\"x",{1}}"#, r#"{"a": "x"}"#, "t", "1.50"]
                .map(|text| text.replace("q\"x", "q\\\"x"))
        );
        assert_eq!(read("{}").unwrap().row, vec![Cell::Null; 5]);
    }

    #[test]
    fn what_is_wrong_in_a_row_names_the_column() {
        let refused = |line: &str, words: &[&str]| {
            let error = read(line).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
        };
        refused(r#"{"idd": 1}"#, &["`idd`", "`id`"]);
        refused(r#"{"ok": {}}"#, &["`ok`", "jsonb"]);
        refused(r#"{"price": "\u0000"}"#, &["`price`", "U+0000"]);
        refused(r#"{"op": "upsert", "row": {}}"#, &["insert, update or delete"]);
        refused(r#"{"op": "delete", "row": {}}"#, &["delete", "old"]);
        refused("[1]", &["object"]);
    }

    #[test]
    fn rows_pass_the_decoder() {
        let mut feeder = Feeder::new(&table()).unwrap();
        let rows = [
            read(r#"{"id": 7, "tags": ["a"]}"#).unwrap(),
            read(r#"{"op": "update", "row": {"id": 8}, "old": {"id": 7}}"#).unwrap(),
            read(r#"{"op": "delete", "old": {"id": 8}}"#).unwrap(),
        ];
        let batch = feeder.batch(&rows).unwrap();
        assert_eq!(
            batch.changes.iter().map(|change| change.op).collect::<Vec<_>>(),
            [Op::Insert, Op::Update, Op::Delete]
        );
        assert_eq!(batch.rows.column(0).as_primitive::<Int64Type>().values(), &[7, 8]);
        assert_eq!(batch.rows.column(1).as_string_view().value(0), r#"["a"]"#);
        assert_eq!(feeder.relation().to_string(), "public.t");
        assert_eq!(feeder.batch(&rows[..1]).unwrap().changes.len(), 1, "batches follow each other");
    }
}
