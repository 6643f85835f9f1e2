//! A case: a folder with rows that go in and the documents that must come out.
//!
//! ```text
//! cases/NAME/config.json        the stage's configuration; `{}` where it is missing
//!            grants.json        what the stage is granted; nothing where it is missing
//!            schema.json        the table; told from the rows where it is missing
//!            rows.ndjson        rows, a JSON object each
//!            documents.ndjson   documents, rejects, deletes, a JSON object each, in order
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tidemill_stage::Grants;

use super::line::Line;
use super::row::{RowChange, read_row};
use super::table::Table;
use crate::config;
use crate::error::{Error, Result};

const CONFIG: &str = "config.json";
const GRANTS: &str = "grants.json";
const SCHEMA: &str = "schema.json";
const ROWS: &str = "rows.ndjson";
pub(super) const DOCUMENTS: &str = "documents.ndjson";

#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) config: Value,
    pub(super) grants: Grants,
    pub(super) table: Table,
    pub(super) rows: Vec<RowChange>,
    /// With the line of the file that each stands in; none where there is no file yet.
    pub(super) expected: Option<Vec<(usize, Line)>>,
}

/// All cases of a folder, in order of their names.
pub(super) fn cases(folder: &Path) -> Result<Vec<Case>> {
    let none = || {
        Error::usage(format!(
            "there is no case in `{}`: make a folder there with `{ROWS}`, rows as JSON, a line each, and run this with `--accept`",
            folder.display()
        ))
    };
    let entries = fs::read_dir(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => none(),
        _ => Error::unreadable(folder, error),
    })?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    if folders.is_empty() {
        return Err(none());
    }
    folders.iter().map(|folder| read(folder)).collect()
}

fn read(folder: &Path) -> Result<Case> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let at = |file: &str, error: String| Error::usage(format!("`{}`: {error}", folder.join(file).display()));
    let settings = match read_file(&folder.join(CONFIG))? {
        None => json!({}),
        Some(text) => serde_json::from_str(&text).map_err(|error| at(CONFIG, error.to_string()))?,
    };
    if !settings.is_object() {
        return Err(at(CONFIG, "a stage's configuration is a JSON object".to_owned()));
    }
    let grants = match read_file(&folder.join(GRANTS))? {
        None => Grants::default(),
        Some(text) => config::grants(&text, &folder.join(GRANTS))?,
    };
    let text = read_file(&folder.join(ROWS))?
        .ok_or_else(|| at(ROWS, "the case has no rows: write them as JSON, a line each".to_owned()))?;
    let table = match read_file(&folder.join(SCHEMA))? {
        Some(schema) => Table::parse(&schema).map_err(|error| at(SCHEMA, error))?,
        None => inferred(&text).map_err(|error| at(ROWS, error))?,
    };
    let types = table.types();
    let row =
        |(number, line)| read_row(line, &table, &types).map_err(|error| at(ROWS, format!("line {number}: {error}")));
    let rows = numbered(&text).map(row).collect::<Result<_>>()?;
    let expected = match read_file(&folder.join(DOCUMENTS))? {
        None => None,
        Some(text) => {
            let line = |(number, line)| match Line::parse(line) {
                Ok(line) => Ok((number, line)),
                Err(error) => Err(at(DOCUMENTS, format!("line {number}: {error}"))),
            };
            Some(numbered(&text).map(line).collect::<Result<_>>()?)
        }
    };
    Ok(Case { name, folder: folder.to_owned(), config: settings, grants, table, rows, expected })
}

/// What rows tell of their table; those that are wrapped by their new row.
pub(super) fn inferred(text: &str) -> Result<Table, String> {
    let row = |(number, line)| {
        let row: Map<String, Value> = serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
        Ok(match row.get("op").and_then(|_| row.get("row").or(row.get("old"))) {
            Some(Value::Object(inner)) => inner.clone(),
            _ => row,
        })
    };
    let rows: Result<Vec<Map<String, Value>>, String> = numbered(text).map(row).collect();
    Table::inferred(rows?.iter())
}

/// The lines that hold something, with their numbers.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(|(_, line)| !line.is_empty())
}

/// A file's text; none where it is not there.
fn read_file(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::unreadable(path, error)),
    }
}
