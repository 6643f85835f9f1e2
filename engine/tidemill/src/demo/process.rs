//! The demo's children: the engine and the index, each this same binary.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child as Process, Command};

use crate::control;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A child that was asked to end has this long.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// The engine answers on its socket within this of its start.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The engine answers a question within this.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// A child that ends with us: `--with-stdin` makes it end when its standard input does.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::sync::Mutex<Process>,
    id: u32,
    state: PathBuf,
    log: PathBuf,
}

impl Child {
    /// Starts the embedded index; gives the URL that it says.
    pub(super) async fn index(dir: &Path) -> Result<(Child, String)> {
        let mut command = this_binary()?;
        command.arg("index").arg("--dir").arg(dir).args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let log = dir.with_extension("log");
        let mut process = spawn(command, &log)?;
        let stdout = process.stdout.take().expect("piped above");
        let line = BufReader::new(stdout).lines().next_line().await;
        let url = line.ok().flatten().and_then(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with("http://"))
                .map(|url| url.trim_end_matches('/').to_owned())
        });
        let url = url.ok_or_else(|| failed("the index did not start", &log))?;
        let id = process.id().unwrap_or_default();
        Ok((Child { process: process.into(), id, state: PathBuf::new(), log }, url))
    }

    /// Starts the engine, and waits until it answers.
    pub(super) async fn engine(config: &Path, api_key: Option<&Secret>) -> Result<Child> {
        let mut command = this_binary()?;
        command.arg("run").arg("--config").arg(config).stdout(Stdio::null());
        // What it keeps goes with the demo.
        command.env("CACHE_DIRECTORY", config.with_file_name("cache"));
        if let Some(key) = api_key {
            command.env(super::shop::KEY_VARIABLE, key.expose());
        }
        let log = config.with_file_name("engine.log");
        let process = spawn(command, &log)?;
        let id = process.id().unwrap_or_default();
        let child = Child { process: process.into(), id, state: config.with_file_name("tidemill.db"), log };
        let start = std::time::Instant::now();
        while let Err(error) = child.status().await {
            if start.elapsed() > START_PATIENCE || child.has_ended().await {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(child)
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    async fn has_ended(&self) -> bool {
        !matches!(self.process.lock().await.try_wait(), Ok(None))
    }

    /// What the engine says of itself.
    pub(super) async fn status(&self) -> Result<Value> {
        if self.has_ended().await {
            return Err(failed("the engine ended", &self.log));
        }
        let state = self.state.clone();
        let asked =
            tokio::task::spawn_blocking(move || control::send(&state, &control::Request::Status, STATUS_PATIENCE))
                .await;
        let answer = asked.map_err(|error| Error::failed("the engine could not be asked").with_cause(error))??;
        answer.ok_or_else(|| Error::transient("the engine does not answer yet"))
    }

    /// Closes the child's standard input and waits for its end.
    pub(super) async fn stop(self) -> Result<()> {
        let mut process = self.process.into_inner();
        drop(process.stdin.take());
        match tokio::time::timeout(STOP_PATIENCE, process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => Err(failed("a child of the demo ended badly", &self.log)),
            Err(_) => {
                let _killed = process.kill().await;
                Err(failed("a child of the demo did not end", &self.log))
            }
        }
    }
}

fn this_binary() -> Result<Command> {
    let path =
        std::env::current_exe().map_err(|error| Error::failed("this binary's path is not known").with_cause(error))?;
    let mut command = Command::new(path);
    command.env_remove("STATE_DIRECTORY");
    Ok(command)
}

fn spawn(mut command: Command, log: &Path) -> Result<Process> {
    let file = std::fs::File::create(log)
        .map_err(|error| Error::failed(format!("{} cannot be written", log.display())).with_cause(error))?;
    let spawned = command.arg("--with-stdin").stdin(Stdio::piped()).stderr(file).kill_on_drop(true).spawn();
    spawned.map_err(|error| Error::failed("a child of the demo cannot be started").with_cause(error))
}

/// The message and the end of the child's log.
fn failed(what: &str, log: &Path) -> Error {
    /// So many last lines tell why.
    const LINES: usize = 5;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    Error::failed(format!("{what}: {}", lines[lines.len().saturating_sub(LINES)..].join(" | ")))
}
