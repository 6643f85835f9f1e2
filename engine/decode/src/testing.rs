//! Writers of the bytes that Postgres sends, and the bodies of fuzz targets.

use std::ops::Range;

use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use tidemill_change::{
    ChangeBatch, Column, Commit, ElementKind, Kind, LeftOut, Lsn, Relation, ReplicaIdentity, TableId,
};

use crate::pgoutput::POSTGRES_EPOCH_US;
use crate::{CopyDecoder, Decoder};

/// A cell of a row message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    /// A large value that the update did not change.
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.into())
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Cell {
        text.map_or(Cell::Null, Cell::from)
    }
}

/// An old image: `K` (key) or `O` (full).
pub type Old<'a> = (u8, &'a [Cell]);

pub fn begin(commit: &Commit) -> Vec<u8> {
    let mut out = vec![b'B'];
    out.extend(commit.lsn.0.to_be_bytes());
    out.extend((commit.time_us - POSTGRES_EPOCH_US).to_be_bytes());
    out.extend(commit.xid.to_be_bytes());
    out
}

pub fn commit(commit: &Commit, end: Lsn) -> Vec<u8> {
    let mut out = vec![b'C', 0];
    out.extend(commit.lsn.0.to_be_bytes());
    out.extend(end.0.to_be_bytes());
    out.extend((commit.time_us - POSTGRES_EPOCH_US).to_be_bytes());
    out
}

pub fn relation(relation: &Relation) -> Vec<u8> {
    let mut out = vec![b'R'];
    out.extend(relation.id.0.to_be_bytes());
    out.extend(relation.schema.bytes().chain([0]).chain(relation.name.bytes()).chain([0]));
    out.push(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.extend((relation.columns.len() as u16).to_be_bytes());
    for column in &relation.columns {
        out.push(u8::from(column.identity));
        out.extend(column.name.bytes().chain([0]));
        out.extend(column.type_oid.to_be_bytes());
        out.extend(column.type_modifier.to_be_bytes());
    }
    out
}

pub fn insert(table: TableId, row: &[Cell]) -> Vec<u8> {
    let mut out = row_message(b'I', table);
    tuple(b'N', row, &mut out);
    out
}

pub fn update(table: TableId, old: Option<Old<'_>>, row: &[Cell]) -> Vec<u8> {
    let mut out = row_message(b'U', table);
    if let Some((tag, old)) = old {
        tuple(tag, old, &mut out);
    }
    tuple(b'N', row, &mut out);
    out
}

pub fn delete(table: TableId, old: Old<'_>) -> Vec<u8> {
    let mut out = row_message(b'D', table);
    tuple(old.0, old.1, &mut out);
    out
}

pub fn truncate(tables: &[TableId]) -> Vec<u8> {
    let mut out = vec![b'T'];
    out.extend((tables.len() as u32).to_be_bytes());
    out.push(0);
    out.extend(tables.iter().flat_map(|table| table.0.to_be_bytes()));
    out
}

fn row_message(tag: u8, table: TableId) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(table.0.to_be_bytes());
    out
}

fn tuple(tag: u8, cells: &[Cell], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend((cells.len() as u16).to_be_bytes());
    for cell in cells {
        let (tag, bytes) = match cell {
            Cell::Null => (b'n', None),
            Cell::Unchanged => (b'u', None),
            Cell::Text(bytes) => (b't', Some(bytes)),
            Cell::Binary(bytes) => (b'b', Some(bytes)),
        };
        out.push(tag);
        if let Some(bytes) = bytes {
            out.extend((bytes.len() as u32).to_be_bytes());
            out.extend(bytes);
        }
    }
}

/// A line of COPY text with its newline, escaped as COPY TO escapes.
pub fn copy_line(row: &[Option<&str>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, cell) in row.iter().enumerate() {
        if index > 0 {
            out.push(b'\t');
        }
        let Some(text) = cell else {
            out.extend(b"\\N");
            continue;
        };
        for byte in text.bytes() {
            match byte {
                b'\\' => out.extend(b"\\\\"),
                b'\n' => out.extend(b"\\n"),
                b'\t' => out.extend(b"\\t"),
                b'\r' => out.extend(b"\\r"),
                8 => out.extend(b"\\b"),
                11 => out.extend(b"\\v"),
                12 => out.extend(b"\\f"),
                byte => out.push(byte),
            }
        }
    }
    out.push(b'\n');
    out
}

/// Messages behind one another as a socket delivers them, framing included.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    bytes: Vec<u8>,
    payloads: Vec<Range<usize>>,
}

impl Wire {
    /// The tag and length of CopyData, and the header of XLogData.
    const FRAME_BYTES: usize = 30;

    pub fn push(&mut self, message: &[u8]) -> &mut Wire {
        self.bytes.extend([0; Wire::FRAME_BYTES]);
        let start = self.bytes.len();
        self.bytes.extend(message);
        self.payloads.push(start..self.bytes.len());
        self
    }

    /// The buffer, and where each message's body is.
    pub fn chunk(self) -> (Bytes, Vec<Range<usize>>) {
        (self.bytes.into(), self.payloads)
    }
}

/// A table of the given columns, the first of which is its key.
pub fn table(id: u32, name: &str, columns: &[(&str, u32)]) -> Relation {
    let columns = columns.iter().enumerate().map(|(index, (name, oid))| Column {
        name: (*name).into(),
        type_oid: *oid,
        type_modifier: -1,
        kind: Kind::from_oid(*oid),
        identity: index == 0,
    });
    Relation::new(TableId(id), "public", name, ReplicaIdentity::Default, columns.collect())
}

/// One column of each kind.
pub fn table_of_all_kinds(id: u32) -> Relation {
    const COLUMNS: [(&str, u32); 23] = [
        ("id", 20),
        ("bool", 16),
        ("int2", 21),
        ("int4", 23),
        ("oid", 26),
        ("float4", 700),
        ("float8", 701),
        ("numeric", 1700),
        ("text", 25),
        ("uuid", 2950),
        ("json", 114),
        ("jsonb", 3802),
        ("bytea", 17),
        ("date", 1082),
        ("timestamp", 1114),
        ("timestamptz", 1184),
        ("time", 1083),
        ("bools", 1000),
        ("numbers", 1231),
        ("jsons", 3807),
        ("texts", 1009),
        ("other", 603),
        ("enum", 70_000),
    ];
    table(id, "kinds", &COLUMNS)
}

/// Feeds any bytes to a [`Decoder`], as whole messages and as cells of valid ones, cutting wherever it may, and checks
/// what comes out. The bytes are read as `length (1), choice (1), body (length)`.
pub fn fuzz_pgoutput(data: &[u8]) {
    let (all, two) = (table_of_all_kinds(1), table(2, "two", &[("id", 23), ("text", 25)]));
    let mut wire = Wire::default();
    wire.push(&relation(&all)).push(&relation(&two));
    wire.push(&begin(&Commit { lsn: Lsn(16), xid: 1, time_us: 0 }));
    let mut choices = vec![0; 3];
    let mut rest = data;
    while let [len, choice, tail @ ..] = rest {
        let (body, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        wire.push(&fuzz_message(*choice, body, &all));
        choices.push(*choice);
        rest = tail;
    }
    let (chunk, payloads) = wire.chunk();
    let mut decoder = Decoder::new(Lsn(8));
    if data.len() % 2 == 1 {
        decoder.leave_out(two.into(), LeftOut::but(2, &[0]));
        let count = all.columns.len();
        let needed: Vec<usize> = (0..count).filter(|column| column % 3 != 1).collect();
        decoder.leave_out(all.into(), LeftOut::but(count, &needed));
    }
    for (payload, choice) in payloads.iter().zip(choices) {
        if decoder.message(&chunk, payload.clone()).is_err() {
            assert!(!decoder.can_cut() && decoder.message(&chunk, payload.clone()).is_err(), "an error stays");
            decoder.restart(Lsn(8));
            decoder.message(&chunk, payloads[2].clone()).expect("a transaction begins anew");
        }
        if choice & 0x40 != 0 {
            decoder.keepalive(Lsn(u64::from(choice) << 8));
            decoder.name_type(70_000, Kind::Array(ElementKind::Text));
        }
        if decoder.can_cut() && (decoder.must_cut() || choice & 0x80 != 0) {
            decoder.cut().batches.iter().for_each(assert_whole);
        }
    }
}

fn fuzz_message(choice: u8, body: &[u8], all: &Relation) -> Vec<u8> {
    let two = TableId(2);
    let cells = |id: &str| [Cell::from(id), Cell::Text(body.to_vec())];
    let head = |head: &[u8]| [head, body].concat();
    match choice % 32 {
        0 | 1 => head(b""),
        2 => head(&[b'I', 0, 0, 0, 2]),
        3 => head(&[b'U', 0, 0, 0, 2]),
        4 => head(&[b'D', 0, 0, 0, 1]),
        5 => head(&[b'R', 0, 0, 0, 2]),
        6 => insert(two, &cells("7")),
        7 => update(two, Some((b'O', &cells("8"))), &[Cell::from("9"), Cell::Unchanged]),
        8 => update(two, None, &[Cell::from("9"), Cell::Unchanged]),
        9 => delete(two, (b'K', &[Cell::Text(body.to_vec()), Cell::Null])),
        10 => commit(&Commit { lsn: Lsn(16), xid: 1, time_us: 0 }, Lsn(24)),
        11 => begin(&Commit { lsn: Lsn(32), xid: 2, time_us: 0 }),
        12 => truncate(&[two]),
        _ => {
            let mut row = vec![Cell::Null; all.columns.len()];
            let column = usize::from(choice) * 7 % row.len();
            row[column] = Cell::Text(body.to_vec());
            insert(all.id, &row)
        }
    }
}

/// Feeds any bytes to a [`CopyDecoder`] as lines, and checks what comes out.
pub fn fuzz_copy(data: &[u8]) {
    let commit = Commit { lsn: Lsn(16), xid: 0, time_us: 0 };
    let chunk = Bytes::copy_from_slice(data);
    for relation in [table_of_all_kinds(1), table(2, "one", &[("text", 25)]), table(3, "none", &[])] {
        let mut decoder = CopyDecoder::new(relation.into(), commit);
        let mut start = 0;
        for line in data.split_inclusive(|&byte| byte == b'\n') {
            if decoder.row(&chunk, start..start + line.len()).is_err() {
                break;
            }
            start += line.len();
            if line.len() % 7 == 0 {
                assert_whole(&decoder.take());
            }
        }
    }
}

/// Panics unless the batch keeps what [`ChangeBatch`] promises and arrow's own validation finds nothing.
pub fn assert_whole(batch: &ChangeBatch) {
    let whole = |batch: &RecordBatch| batch.columns().iter().all(|column| column.to_data().validate_full().is_ok());
    assert!(whole(&batch.rows) && whole(&batch.old), "every array is valid");
    assert_eq!(batch.rows.schema(), *batch.relation.arrow());
    assert_eq!(batch.old.schema(), *batch.relation.arrow());
    let rows: Vec<u32> = batch.changes.iter().map(|change| change.row).filter(|row| *row != u32::MAX).collect();
    let olds: Vec<u32> = batch.changes.iter().map(|change| change.old).filter(|row| *row != u32::MAX).collect();
    assert!(rows.into_iter().eq(0..batch.rows.num_rows() as u32), "changes name the rows in order");
    assert!(olds.into_iter().eq(0..batch.old.num_rows() as u32), "changes name the old rows in order");
    assert!(batch.commits.is_sorted_by(|a, b| a.lsn < b.lsn), "commits ascend");
    assert!(batch.changes.is_sorted_by_key(|change| (change.commit, change.ordinal)), "changes are in WAL order");
    assert_eq!(batch.unchanged.len(), batch.relation.columns.len());
    for column in (0..batch.unchanged.len()).filter(|column| batch.left_out.has(*column)) {
        let images = [batch.rows.column(column), batch.old.column(column)];
        assert!(images.iter().all(|column| column.null_count() == column.len()), "what is left out holds nothing");
        assert!(batch.unchanged[column].is_none(), "what is left out is not to be filled");
        assert!(batch.unreadable.iter().all(|cell| cell.column as usize != column), "what is left out is not read");
    }
    for (bits, column) in batch.unchanged.iter().zip(batch.rows.columns()) {
        let Some(bits) = bits else { continue };
        assert_eq!(bits.len(), column.len());
        assert!(bits.set_indices().all(|row| column.is_null(row)), "a cell to be filled is null");
    }
}

#[cfg(test)]
pub(crate) fn written(write: impl FnOnce(&mut crate::views::Side)) -> String {
    let mut views = crate::views::Views::default();
    let column = views.add_text();
    write(views.write());
    views.push_written_text(column).unwrap();
    views.finish().text(column, None).value(0).to_owned()
}
