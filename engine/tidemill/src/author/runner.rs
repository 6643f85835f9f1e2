//! One plugin on rows, as a stream would run it: through a chain of one stage and the encoder.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemill_change::Epoch;
use tidemill_encode::{Actions, Encoder, Encoding, IdRule, LongId, Nonfinite, Numbers};
use tidemill_stage::{Chain, Grants, Limits, NamedInfo, OpenedInfo, Plugin, Stage};

use super::json::Fields;
use super::line::Line;
use super::row::{Cell, Feeder, RowChange};
use super::table::Table;
use crate::config::SHIPPED_PLUGINS;
use crate::error::{Error, Result};
use crate::plan::Plugins;

/// Rows of one batch at most, as in the engine.
pub(super) const BATCH_ROWS_MAX: usize = 10_000;
/// What the documents' index is called here; a plugin's own choice shows beside it.
const INDEX: &str = "documents";

/// A line and the row, from 0, that it came of.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) row: usize,
    pub(super) line: Line,
}

/// What a plugin made of rows.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) lines: Vec<Outcome>,
    /// What it logged.
    pub(super) logs: Vec<String>,
    /// How long its calls took, and how many there were.
    pub(super) busy: Duration,
    pub(super) calls: u64,
}

/// Loads a plugin: a file, or a shipped one by its name, as the configuration has it.
pub(super) fn load(plugins: &mut Plugins, path: &Path) -> Result<Arc<Plugin>> {
    let limits = Limits::default();
    match path.to_str().filter(|name| SHIPPED_PLUGINS.contains(name)) {
        Some(name) => plugins.shipped(name, &limits),
        None => plugins.file(path, &limits),
    }
}

/// A plugin with its configuration.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    plugin: Arc<Plugin>,
    config: Value,
    grants: Grants,
}

impl Runner {
    pub(super) fn new(plugin: Arc<Plugin>, config: Value, grants: Grants) -> Runner {
        Runner { plugin, config, grants }
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    pub(super) fn chain(&self) -> Chain {
        let (plugin, config) = (Arc::clone(&self.plugin), self.config.clone());
        let (limits, grants) = (Limits::default(), self.grants.clone());
        Chain::new(vec![Stage { name: plugin.name().to_owned(), plugin, config, limits, grants }])
    }

    /// Runs all rows, in batches of that size at most. What the plugin says against all of them is a line too.
    pub(super) fn run(&self, table: &Table, rows: &[RowChange], rows_max: usize) -> Result<Outcomes> {
        let mut feeder = Feeder::new(table)?;
        let mut chain = self.chain().with_primary_keys([(feeder.relation().id, table.key.clone())]);
        let mut outcomes = Outcomes::default();
        let mut at = 0;
        let refused = match chain.open(feeder.relation()) {
            Ok(OpenedInfo { named, .. }) => {
                let mut encoder = encoder(table, &feeder, named.is_some())?;
                loop {
                    if at == rows.len() {
                        break None;
                    }
                    let count = batch_length(table, &rows[at..], rows_max);
                    let batch = Arc::new(feeder.batch(&rows[at..at + count])?);
                    match chain.run(batch) {
                        Ok(staged) => outcomes.lines.append(&mut lines(&mut encoder, staged, at, named.as_ref())?),
                        Err(error) => break Some(error),
                    }
                    at += count;
                }
            }
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            outcomes.lines.push(Outcome { row: at, line: Line::Error { message: error.message().to_owned() } });
        }
        let logs = chain.take_logs();
        outcomes.logs = logs.lines.into_iter().map(|line| format!("{:?}: {}", line.level, line.message)).collect();
        for (_, stats) in chain.stats() {
            (outcomes.busy, outcomes.calls) = (stats.busy, stats.calls);
        }
        Ok(outcomes)
    }
}

/// How many rows make a batch: of several changes of one key only the last would show, so each begins another.
fn batch_length(table: &Table, rows: &[RowChange], rows_max: usize) -> usize {
    let places = table.key_places();
    let key = |cells: &[Cell]| places.iter().map(|place| cells.get(*place).cloned()).collect::<Vec<_>>();
    let mut seen: HashMap<Vec<Option<Cell>>, usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate().take(rows_max) {
        let new = (!row.row.is_empty()).then(|| key(&row.row));
        let old = row.old.as_deref().map(key);
        for key in new.into_iter().chain(old) {
            if seen.insert(key, at).is_some_and(|before| before != at) {
                return at;
            }
        }
    }
    rows.len().min(rows_max)
}

/// The encoder of a stream whose plugin names its documents or not.
fn encoder(table: &Table, feeder: &Feeder, is_named: bool) -> Result<Encoder> {
    let fail = |error: tidemill_encode::Error| Error::failed(error.to_string());
    let relation = feeder.relation();
    let keys = HashMap::from([(relation.id, table.key.clone())]);
    let encoder = Encoder::new(Encoding {
        index: INDEX.parse().map_err(fail)?,
        id: IdRule::Key(keys.clone()),
        routing: None,
        pipeline: None,
        numbers: Numbers::default(),
        nonfinite: Nonfinite::default(),
        long_id: LongId::default(),
        actions: Actions::default(),
        epoch: Epoch::default(),
        exclusive: [relation.id].into(),
        keys: is_named.then_some(keys),
    });
    encoder.check(relation).map_err(fail)?;
    Ok(encoder)
}

/// What a staged batch comes to, in the order of its rows; the first of them is row `first`.
fn lines(
    encoder: &mut Encoder,
    staged: tidemill_change::Staged,
    first: usize,
    named: Option<&NamedInfo>,
) -> Result<Vec<Outcome>> {
    let encoded = encoder.encode(&[staged]).map_err(|error| Error::failed(error.to_string()))?;
    let mut lines = Vec::with_capacity(encoded.actions.len() + encoded.rejected.len());
    for action in &encoded.actions {
        let row = first + action.change as usize;
        lines.push(Outcome { row, line: action_line(&encoded.body[action.start..action.end], named)? });
    }
    for rejected in encoded.rejected {
        let row = first + rejected.change as usize;
        let line = Line::Reject { row: Some(row + 1), code: Some(rejected.code), message: Some(rejected.message) };
        lines.push(Outcome { row, line });
    }
    lines.sort_by_key(|outcome| outcome.row);
    Ok(lines)
}

/// The line of an action, out of what the index would be sent, with the names that the plugin gives in it.
fn action_line(lines: &[u8], named: Option<&NamedInfo>) -> Result<Line> {
    let unfit = |error: serde_json::Error| Error::failed("an action is not written as JSON").with_cause(error);
    let mut lines = lines.split(|byte| *byte == b'\n');
    let action: Value = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(unfit)?;
    if let Some(delete) = action.get("delete") {
        return Ok(Line::Delete { id: delete["_id"].as_str().unwrap_or_default().to_owned() });
    }
    let mut fields: Fields = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(unfit)?;
    let names = named.map(|named| {
        [("_routing", "routing", named.routing), ("_index", "_index", named.index.is_some()), ("_id", "_id", named.id)]
    });
    for (name, meta, _) in names.into_iter().flatten().filter(|(_, _, is_given)| *is_given) {
        let value = serde_json::value::to_raw_value(&action["index"][meta]).map_err(unfit)?;
        fields.0.insert(0, (name.to_owned(), value));
    }
    Ok(Line::Document(fields))
}
