//! A capture's file: real rows with the text that Postgres sent of each value, so that they go through decode again.
//!
//! ```text
//! {"tidemill_capture":1,"stream":…,"from":"table","table":{…},"plugins":[…],"masked":[…]}
//! {"op":"read","row":["1","Red shoe",null]}
//! {"op":"update","row":["1","Shoe",{"unchanged":true}],"old":["1",null,null],"lsn":"16/B374D848","time_us":…}
//! ```

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidemill_change::Op;

use super::case::numbered;
use super::row::{Cell, CommitInfo, RowChange};
use super::table::Table;
use crate::error::{Error, Result};

/// The format's version.
const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    tidemill_capture: u32,
    pub stream: String,
    /// `table`: rows as they stood there; `slot`: changes that wait there.
    pub from: String,
    pub table: Table,
    /// The stream's plugins at that time.
    pub plugins: Vec<PluginDigest>,
    pub masked: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDigest {
    pub name: String,
    pub sha256: String,
}

impl Head {
    pub(super) fn new(stream: &str, from: &str, table: Table, plugins: Vec<PluginDigest>, masked: &[String]) -> Head {
        let (stream, from, masked) = (stream.to_owned(), from.to_owned(), masked.to_vec());
        Head { tidemill_capture: VERSION, stream, from, table, plugins, masked }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    op: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lsn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_us: Option<i64>,
}

/// Writes a file that nobody but its owner can read, as a whole or not at all.
pub(super) fn write(path: &Path, head: &Head, rows: &[RowChange]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = (|| {
        // A temporary file has the mode 0600 from its beginning.
        let mut file = BufWriter::new(tempfile::Builder::new().prefix(".tidemill-").tempfile_in(folder)?);
        serde_json::to_writer(&mut file, head)?;
        file.write_all(b"\n")?;
        for row in rows {
            serde_json::to_writer(&mut file, &line(row))?;
            file.write_all(b"\n")?;
        }
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.persist(path).map_err(|error| error.error)
    })();
    written
        .map(drop)
        .map_err(|error| Error::failed(format!("`{}` cannot be written", path.display())).with_cause(error))
}

fn line(row: &RowChange) -> Row {
    let cells = |cells: &[Cell]| {
        let value = |cell: &Cell| match cell {
            Cell::Null => Value::Null,
            Cell::Unchanged => json!({ "unchanged": true }),
            Cell::Text(text) => json!(text),
        };
        cells.iter().map(value).collect()
    };
    let op = match row.op {
        Op::Read => "read",
        Op::Insert => "insert",
        Op::Update => "update",
        Op::Delete => "delete",
    };
    Row {
        op: op.to_owned(),
        row: (row.op != Op::Delete).then(|| cells(&row.row)),
        old: row.old.as_deref().map(cells),
        lsn: row.commit.map(|commit| commit.lsn.to_string()),
        time_us: row.commit.map(|commit| commit.time_us),
    }
}

/// Reads a capture.
pub(super) fn read(path: &Path) -> Result<(Head, Vec<RowChange>)> {
    let text = fs::read_to_string(path).map_err(|error| Error::unreadable(path, error))?;
    parse(&text).map_err(|error| Error::usage(format!("`{}`: {error}", path.display())))
}

fn parse(text: &str) -> Result<(Head, Vec<RowChange>), String> {
    let mut lines = numbered(text);
    let (_, first) = lines.next().ok_or("it is empty, and a capture says on its first line of which table it is")?;
    let mut head: Head =
        serde_json::from_str(first).map_err(|error| format!("its first line is not a capture's: {error}"))?;
    if head.tidemill_capture != VERSION {
        return Err(format!("it is a capture of version {}, and this is version {VERSION}", head.tidemill_capture));
    }
    head.table = head.table.completed()?;
    let row =
        |(number, line)| change(line, head.table.columns.len()).map_err(|error| format!("line {number}: {error}"));
    let rows = lines.map(row).collect::<Result<_, _>>()?;
    Ok((head, rows))
}

fn change(line: &str, columns: usize) -> Result<RowChange, String> {
    let Row { op, row, old, lsn, time_us } = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let cells = |values: Vec<Value>| -> Result<Vec<Cell>, String> {
        if values.len() != columns {
            return Err(format!("it has {} values, and the table has {columns} columns", values.len()));
        }
        let cell = |value| match value {
            Value::Null => Ok(Cell::Null),
            Value::String(text) => Ok(Cell::Text(text)),
            value if value == json!({ "unchanged": true }) => Ok(Cell::Unchanged),
            other => Err(format!("a value is a text, null or {{\"unchanged\":true}}, not {other}")),
        };
        values.into_iter().map(cell).collect()
    };
    let op = match (op.as_str(), &row, &old) {
        ("read", Some(_), None) => Op::Read,
        ("insert", Some(_), None) => Op::Insert,
        ("update", Some(_), _) => Op::Update,
        ("delete", None, Some(_)) => Op::Delete,
        _ => return Err("a read or insert has `row`, an update `row` and perhaps `old`, a delete `old`".to_owned()),
    };
    let lsn =
        lsn.map(|lsn| lsn.parse().map_err(|error: tidemill_change::ParseLsnError| error.to_string())).transpose()?;
    Ok(RowChange {
        op,
        row: row.map(cells).transpose()?.unwrap_or_default(),
        old: old.map(cells).transpose()?,
        commit: lsn.zip(time_us).map(|(lsn, time_us)| CommitInfo { lsn, time_us }),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tidemill_change::Lsn;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_nobody_else_reads_it() {
        let table = Table::parse(r#"{"table": "s.t", "columns": [{"name": "id", "type": "bigint"}, {"name": "m", "type": "mood", "kind": "text", "oid": 20000}]}"#).unwrap();
        let head = Head::new("products", "slot", table, vec![], &["m".to_owned()]);
        let text = |text: &str| Cell::Text(text.to_owned());
        let commit = Some(CommitInfo { lsn: Lsn(0x16_b374_d848), time_us: 1_700_000_000_000_000 });
        let rows = vec![
            RowChange { op: Op::Insert, row: vec![text("1"), Cell::Null], old: None, commit: None },
            RowChange {
                op: Op::Update,
                row: vec![text("2"), Cell::Unchanged],
                old: Some(vec![text("1"), Cell::Null]),
                commit,
            },
            RowChange { op: Op::Delete, row: vec![], old: Some(vec![text("2"), Cell::Null]), commit },
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.capture");
        write(&path, &head, &rows).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), (head, rows));
    }

    #[test]
    fn what_is_wrong_in_a_capture_is_named() {
        let head = r#"{"tidemill_capture":1,"stream":"a","from":"table","table":{"table":"t","columns":[{"name":"id","type":"int8"}]},"plugins":[],"masked":[]}"#;
        let refused = |text: &str, word: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        };
        refused("", "empty");
        refused("{}", "first line");
        refused(&head.replace(":1,", ":2,"), "version 2");
        refused(&format!("{head}\n{{\"op\":\"insert\",\"row\":[\"1\",\"2\"]}}"), "line 2: it has 2 values");
        refused(&format!("{head}\n{{\"op\":\"insert\",\"row\":[1]}}"), "a value is a text");
        refused(&format!("{head}\n{{\"op\":\"delete\",\"row\":[\"1\"]}}"), "delete");
        refused(&format!("{head}\n{{\"op\":\"update\",\"row\":[\"1\"],\"lsn\":\"x\",\"time_us\":1}}"), "LSN");
    }
}
