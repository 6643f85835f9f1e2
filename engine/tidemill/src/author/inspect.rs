//! `inspect`: what a component is, by its bytes, of which none runs. Only with a schema it is opened, as `check` opens it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tidemill_stage::{Grants, Inspection, NamedInfo};

use super::row::Feeder;
use super::runner::{Runner, load};
use super::table::Table;
use crate::config;
use crate::error::{Error, Result};
use crate::plan::{Plugins, shipped};

/// What a plugin says to a table.
#[derive(Debug)]
pub struct Opened {
    pub requires: Vec<String>,
    /// The columns of the documents, each with the table's column that it is, if it is one.
    pub outputs: Vec<(String, Option<String>)>,
    /// What it names itself; none where documents are called as the configuration says.
    pub named: Option<NamedInfo>,
}

/// Reads a file's bytes, or those of a shipped plugin. Only a file that cannot be read is an error.
pub fn inspect(path: &Path) -> Result<Inspection> {
    match path.to_str().and_then(shipped) {
        Some(bytes) => Ok(tidemill_stage::inspect(bytes)),
        None => Ok(tidemill_stage::inspect(&fs::read(path).map_err(|error| Error::unreadable(path, error))?)),
    }
}

/// Opens a plugin on a table.
pub fn open(path: &Path, schema: &Path, config: Value, grants: Grants) -> Result<Opened> {
    let table = read_table(schema)?;
    let runner = Runner::new(load(&mut Plugins::default(), path)?, config, grants);
    let feeder = Feeder::new(&table)?;
    let mut chain = runner.chain().with_primary_keys([(feeder.relation().id, table.key.clone())]);
    let info = chain.open(feeder.relation()).map_err(|error| Error::failed(error.to_string()))?;
    let name = |place: usize| table.columns.get(place).map(|column| column.name.clone());
    let outputs = info.columns.iter().map(|column| (column.name.clone(), column.source.and_then(name)));
    let requires = chain.requires(feeder.relation().id).concat().iter().map(ToString::to_string).collect();
    Ok(Opened { requires, outputs: outputs.collect(), named: info.named })
}

/// A schema is a case's `schema.json`, or the first line of a capture.
pub(super) fn read_table(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).map_err(|error| Error::unreadable(path, error))?;
    table(&text).map_err(|error| Error::usage(format!("`{}`: {error}", path.display())))
}

fn table(text: &str) -> Result<Table, String> {
    let first = text.lines().next().unwrap_or_default();
    match serde_json::from_str::<Value>(first) {
        Ok(head) if head.get("tidemill_capture").is_some() => {
            let table: Table = serde_json::from_value(head["table"].clone()).map_err(|error| error.to_string())?;
            table.completed()
        }
        _ => Table::parse(text),
    }
}

/// A stage's configuration as it was typed: a JSON object, or a file with one.
pub fn config(typed: Option<&str>) -> Result<Value> {
    let Some(typed) = typed else { return Ok(json!({})) };
    let is_text = typed.trim_start().starts_with('{');
    let text = match is_text {
        true => typed.to_owned(),
        false => fs::read_to_string(typed).map_err(|error| Error::unreadable(Path::new(typed), error))?,
    };
    let wrong = |why: String| {
        Error::usage(format!("--config is the stage's configuration, a JSON object or a file with one: {why}"))
    };
    let config: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if config.is_object() { Ok(config) } else { Err(wrong("this is another JSON value".to_owned())) }
}

/// What a stage may do beside looking at its rows, as it was typed: a map of grants, or a file with one.
pub fn grants(typed: Option<&str>) -> Result<Grants> {
    match typed {
        None => Ok(Grants::default()),
        Some(text) if text.trim_start().starts_with('{') => config::grants(text, Path::new("--grants")),
        Some(path) => {
            let path = Path::new(path);
            config::grants(&fs::read_to_string(path).map_err(|error| Error::unreadable(path, error))?, path)
        }
    }
}
