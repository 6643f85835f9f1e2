//! `bench`: what a plugin costs, beside a plugin that asks for the same columns and passes every row.
//!
//! What the two have in common, getting rows across, is the engine's part and no author can change it; the ratio is the author's.
//! Batches go through both in turns, so that a machine that is busy for a while is busy for both.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_change::{ChangeBatch, Relation};
use tidemill_stage::{Chain, Grants, Limits, Required, StageStats};

use super::case::cases;
use super::inspect::read_table;
use super::made::made;
use super::recording::read;
use super::row::{Feeder, RowChange};
use super::runner::{Runner, load};
use super::table::Table;
use crate::error::{Error, Result};
use crate::plan::Plugins;

/// The yardstick.
const PASS: &[u8] = include_bytes!("../../../../plugins/fixtures/pass.wasm");
const PASS_NAME: &str = "pass-through";
/// So many batches of made rows, so that no cache holds all of them.
const MADE_BATCHES: usize = 5;

/// What goes in.
#[derive(Clone, Copy, Debug)]
pub enum BenchRows<'a> {
    /// A capture's rows, again and again where they do not fill a batch.
    Captured(&'a Path),
    /// Rows made for a table that a file describes.
    Made(&'a Path),
    /// Rows made for the table of the first case in a folder.
    Case(&'a Path),
}

#[derive(Debug)]
pub struct BenchOptions<'a> {
    pub plugin: &'a Path,
    /// None: that of the case, or an empty one.
    pub config: Option<Value>,
    pub grants: Option<Grants>,
    pub rows: BenchRows<'a>,
    pub batch_rows: usize,
    /// How long both are run.
    pub time: Duration,
}

#[derive(Debug)]
pub struct Bench {
    pub table: String,
    /// The rows that there are; they come again and again.
    pub rows: usize,
    pub is_made: bool,
    pub batch_rows: usize,
    /// What the plugin asked for; the yardstick asks for the columns among it.
    pub requires: Vec<String>,
    pub plugin: Measured,
    pub yardstick: Measured,
}

impl Bench {
    /// How many times longer than the yardstick a batch takes.
    pub fn ratio(&self) -> f64 {
        self.plugin.median.as_secs_f64() / self.yardstick.median.as_secs_f64().max(1e-9)
    }
}

/// What batches cost in one plugin.
#[derive(Clone, Debug)]
pub struct Measured {
    pub name: String,
    pub sha256: String,
    /// Until it was ready for its first batch, compiling left out.
    pub open: Duration,
    pub batches: u64,
    pub rows: u64,
    pub documents: u64,
    pub rejects: u64,
    /// Calls that ended in no answer.
    pub failures: u64,
    pub busy: Duration,
    /// Of a batch.
    pub median: Duration,
    pub p99: Duration,
    /// What crossed in all, and what came back.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub memory_bytes: usize,
}

pub fn bench(options: &BenchOptions<'_>) -> Result<Bench> {
    let Input { table, rows, config, grants } = input(options)?;
    let mut feeder = Feeder::new(&table)?;
    let mut batches = Vec::new();
    for rows in rows.chunks(options.batch_rows) {
        batches.push(Arc::new(feeder.batch(rows)?));
    }
    let mut plugins = Plugins::default();
    let relation = Arc::clone(feeder.relation());
    let mut plugin = Side::open(Runner::new(load(&mut plugins, options.plugin)?, config, grants), &relation)?;
    let requires = plugin.chain.requires(relation.id).concat();
    let columns: Vec<&String> = requires
        .iter()
        .filter_map(|required| match required {
            Required::Column(name) => Some(name),
            Required::Old(_) | Required::Fact(_) => None,
        })
        .collect();
    let pass = plugins.compile(PASS_NAME, PASS, &Limits::default())?;
    let pass = Runner::new(pass, json!({ "columns": columns }), Grants::default());
    let mut yardstick = Side::open(pass, &relation)?;
    in_turns(&mut plugin, &mut yardstick, &batches, options.time)?;
    Ok(Bench {
        table: relation.to_string(),
        rows: rows.len(),
        is_made: !matches!(options.rows, BenchRows::Captured(_)),
        batch_rows: options.batch_rows.min(rows.len()),
        requires: requires.iter().map(ToString::to_string).collect(),
        plugin: plugin.measured(),
        yardstick: yardstick.measured(),
    })
}

struct Input {
    table: Table,
    rows: Vec<RowChange>,
    config: Value,
    grants: Grants,
}

fn input(options: &BenchOptions<'_>) -> Result<Input> {
    let made_rows = |table: &Table| made(table, MADE_BATCHES * options.batch_rows);
    let (table, rows, case) = match options.rows {
        BenchRows::Captured(path) => {
            let (head, rows) = read(path)?;
            if rows.is_empty() {
                return Err(Error::usage(format!("`{}` holds no row", path.display())));
            }
            let count = rows.len().max(options.batch_rows);
            (head.table, rows.into_iter().cycle().take(count).collect(), None)
        }
        BenchRows::Made(path) => {
            let table = read_table(path)?;
            let rows = made_rows(&table);
            (table, rows, None)
        }
        BenchRows::Case(folder) => {
            let case = cases(folder)?.swap_remove(0);
            let rows = made_rows(&case.table);
            (case.table, rows, Some((case.config, case.grants)))
        }
    };
    let (config, grants) = case.unwrap_or_else(|| (json!({}), Grants::default()));
    let config = options.config.clone().unwrap_or(config);
    Ok(Input { table, rows, config, grants: options.grants.clone().unwrap_or(grants) })
}

/// Each batch through the one and the other, until the time is over and every batch was seen.
fn in_turns(one: &mut Side, other: &mut Side, batches: &[Arc<ChangeBatch>], time: Duration) -> Result<()> {
    // What is done once, growing memory above all, is not what a batch costs.
    for side in [&mut *one, &mut *other] {
        side.pass(&batches[0])?;
        side.begin();
    }
    let begun = Instant::now();
    for (at, batch) in batches.iter().cycle().enumerate() {
        if at >= batches.len() && begun.elapsed() >= time {
            break;
        }
        one.pass(batch)?;
        other.pass(batch)?;
    }
    Ok(())
}

/// One of the two, under way.
struct Side {
    name: String,
    sha256: String,
    chain: Chain,
    open: Duration,
    before: StageStats,
    times: Vec<Duration>,
}

impl Side {
    fn open(runner: Runner, relation: &Arc<Relation>) -> Result<Side> {
        let (name, sha256) = (runner.plugin().name().to_owned(), runner.plugin().sha256().to_owned());
        let mut chain = runner.chain();
        let begun = Instant::now();
        chain.open(relation).map_err(|error| Error::failed(error.to_string()))?;
        let open = begun.elapsed();
        Ok(Side { name, sha256, chain, open, before: StageStats::default(), times: Vec::new() })
    }

    fn stats(&self) -> StageStats {
        self.chain.stats().next().map(|(_, stats)| *stats).unwrap_or_default()
    }

    fn pass(&mut self, batch: &Arc<ChangeBatch>) -> Result<()> {
        let before = self.stats().busy;
        self.chain.run(Arc::clone(batch)).map_err(|error| Error::failed(error.to_string()))?;
        self.times.push(self.stats().busy - before);
        self.chain.take_logs();
        self.chain.take_metrics();
        Ok(())
    }

    /// From here on it counts.
    fn begin(&mut self) {
        self.times.clear();
        self.before = self.stats();
    }

    fn measured(mut self) -> Measured {
        let (before, after) = (self.before, self.stats());
        self.times.sort_unstable();
        let quantile = |part: f64| {
            let last = self.times.len().saturating_sub(1);
            self.times.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
        };
        Measured {
            open: self.open,
            batches: self.times.len() as u64,
            rows: after.rows_in - before.rows_in,
            documents: after.rows_out - before.rows_out,
            rejects: after.rejects - before.rejects,
            failures: after.failures - before.failures,
            busy: after.busy.saturating_sub(before.busy),
            median: quantile(0.5),
            p99: quantile(0.99),
            bytes_in: after.bytes_in - before.bytes_in,
            bytes_out: after.bytes_out - before.bytes_out,
            memory_bytes: after.memory_bytes,
            name: self.name,
            sha256: self.sha256,
        }
    }
}
