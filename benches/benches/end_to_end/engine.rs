//! `tidemill run --until-caught-up`, as an operator would run it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Result;
use super::process::{self, Usage};
use super::receiver::Receiver;
use super::source::{PUBLICATION, Source, TABLE};

/// So many last lines of a log tell why a run failed.
const LOG_LINES: usize = 8;

/// Where a run begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    /// A slot that is there; no rows are read but its changes.
    Adopt(&'a str),
    /// All rows, by a slot that the engine makes.
    Backfill,
}

pub(super) struct Engine {
    url: String,
    columns: String,
    dir: tempfile::TempDir,
    runs: u32,
}

impl Engine {
    pub(super) fn new(source: &Source) -> Result<Engine> {
        let dir = tempfile::tempdir().map_err(|error| format!("no temporary folder can be made: {error}"))?;
        Ok(Engine { url: source.url(), columns: super::source::columns(), dir, runs: 0 })
    }

    /// Each run has a state of its own, so that none knows of another.
    pub(super) fn run(&mut self, receiver: &Receiver, start: Start<'_>) -> Result<Usage> {
        self.runs += 1;
        let run = self.runs;
        let config = self.path(&format!("run{run}.yaml"));
        let made_by_it = format!("backfill_{run}");
        let (slot, backfill) = match start {
            Start::Adopt(slot) => (slot, false),
            Start::Backfill => (made_by_it.as_str(), true),
        };
        let Engine { url, columns, .. } = self;
        let sink = receiver.url();
        let text = format!(
            "source:
  url: {url}
  slot: {slot}
  publication: {PUBLICATION}
sink:
  url: {sink}
streams:
  - name: {TABLE}
    from: public.{TABLE}
    backfill: {backfill}
    where: in_stock = true
    columns: [{columns}]
    index: {TABLE}
state: run{run}.db
"
        );
        std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        let log = self.path(&format!("run{run}.log"));
        let file = std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.args(["run", "--until-caught-up", "--with-stdin", "--config"]).arg(&config);
        command.env_remove("STATE_DIRECTORY").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file);
        process::measure(command, "tidemill").map_err(|error| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("{error}: {}", lines[lines.len().saturating_sub(LOG_LINES)..].join(" | "))
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
