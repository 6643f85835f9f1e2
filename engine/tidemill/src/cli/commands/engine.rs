//! `run`, and what is asked of an engine that runs or does not.

use std::path::Path;

use serde_json::{Value, json};

use super::super::arguments::RunArguments;
use super::super::output::{Output, bytes, count, counted, table};
use super::{ANSWER_PATIENCE, block_on};
use crate::config::Config;
use crate::control::{self, Request};
use crate::error::{Error, Result};
use crate::pipeline::{self, Changed, Options};
use crate::signals;
use crate::state::State;

pub(super) fn run(path: &Path, asked: &RunArguments) -> Result<()> {
    let config = Config::load(path)?;
    let changed = match (asked.backfill_changed, asked.keep_old_documents) {
        (true, _) => Changed::Backfill,
        (_, true) => Changed::Keep,
        _ => Changed::Refuse,
    };
    let options = Options { until_caught_up: asked.until_caught_up, changed };
    let ended = block_on(async {
        let stop = signals::stop(asked.with_stdin)?;
        pipeline::run(config, options, stop).await
    })?;
    if !asked.until_caught_up {
        return Ok(());
    }
    if ended.dead_letters > 0 {
        let new = counted(ended.dead_letters, "new dead letter");
        Output::stdout().text(&format!("{new}: see `tidemill dead-letters list`"))?;
    }
    match ended.paused {
        paused if paused.is_empty() => Ok(()),
        paused => Err(Error::failed(format!("not all is delivered: {}", paused.join("; ")))),
    }
}

/// Carries out a request in the state, where no engine runs. It takes effect at the next start.
pub(super) fn without_engine(config: &Config, request: &Request) -> Result<Value> {
    let state = State::open(&config.state)?;
    let known = |stream: &str| match state.stream(stream)? {
        Some(_) => Ok(()),
        None => Err(Error::failed(format!(
            "stream `{stream}` has not run yet: there is nothing to change before `tidemill run`"
        ))),
    };
    match request {
        Request::Pause { stream } => {
            known(stream)?;
            state.set_paused(stream, Some(pipeline::PAUSED))?;
            Ok(json!({ "running": false, "stream": stream, "state": "paused" }))
        }
        Request::Resume { stream } => {
            known(stream)?;
            state.set_paused(stream, None)?;
            Ok(json!({ "running": false, "stream": stream, "state": "resumed" }))
        }
        Request::Backfill { stream } => {
            known(stream)?;
            let tables = pipeline::ask_for_backfill(&state, stream)?;
            Ok(json!({ "running": false, "stream": stream, "tables": tables }))
        }
        Request::Status | Request::CountDeadLetters => Err(Error::failed("no engine is running")),
    }
}

pub(super) fn status(path: &Path, as_json: bool) -> Result<()> {
    let config = Config::load(path)?;
    let answer = match control::send(&config.state, &Request::Status, ANSWER_PATIENCE)? {
        Some(answer) => answer,
        None => from_state(&config)?,
    };
    if as_json {
        return Output::stdout().json(&answer);
    }
    Output::stdout().text(&render(&answer))
}

/// What the state alone knows.
fn from_state(config: &Config) -> Result<Value> {
    let Some(state) = State::read(&config.state)? else {
        return Ok(json!({ "running": false, "streams": [] }));
    };
    let streams = state.streams()?.into_iter().map(|stream| {
        let letters = state.dead_letter_totals(&stream.name)?;
        Ok(json!({
            "name": stream.name,
            "state": if stream.paused.is_some() { "paused" } else { "stopped" },
            "reason": stream.paused.as_deref().map(|reason| pipeline::with_way_on(&stream.name, reason)),
            "settled_lsn": stream.settled.to_string(),
            "dead_letters": letters.rows,
        }))
    });
    Ok(json!({ "running": false, "streams": streams.collect::<Result<Vec<_>>>()? }))
}

/// Its name, and what a batch costs there.
fn slowest_stage(stream: &Value) -> String {
    let name = &stream["slowest_stage"];
    let stage = stream["stages"].as_array().into_iter().flatten().find(|stage| stage["name"] == *name);
    match (name.as_str(), stage.and_then(|stage| stage["us_a_call"].as_u64())) {
        (Some(name), Some(us)) => format!("{name}, {} us a batch", count(us)),
        _ => "-".to_owned(),
    }
}

/// The first line of it and what to do then: a trap's goes on with where it was, which `--json` has.
fn reason(stream: &Value) -> String {
    let whole = stream["reason"].as_str().unwrap_or_default();
    match (whole.split_once('\n'), whole.rsplit_once("; then `")) {
        (None, _) => whole.to_owned(),
        (Some((first, _)), None) => format!("{first} …"),
        (Some((first, _)), Some((_, way_on))) => format!("{first} …; then `{way_on}"),
    }
}

fn render(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_u64().map_or("-".to_owned(), count);
    let rows: Vec<[String; 8]> = status["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|stream| {
            [
                text(&stream["name"]),
                text(&stream["state"]),
                stream["lag_bytes"].as_u64().map_or("-".to_owned(), bytes),
                number(&stream["documents"]),
                number(&stream["dead_letters"]),
                text(&stream["settled_lsn"]),
                slowest_stage(stream),
                reason(stream),
            ]
        })
        .collect();
    let head = match status["running"].as_bool() {
        Some(true) => format!(
            "engine {}, confirmed {}, {} behind",
            text(&status["phase"]),
            text(&status["confirmed_lsn"]),
            status["lag_bytes"].as_u64().map_or("-".to_owned(), bytes)
        ),
        _ => "no engine is running with this state".to_owned(),
    };
    if rows.is_empty() {
        return format!(
            "{head}, and nothing has run yet: `tidemill check` says whether all is ready, `tidemill run` begins"
        );
    }
    let names = ["stream", "state", "lag", "documents", "dead letters", "settled", "slowest stage", ""];
    format!("{head}\n{}", table(names, &rows))
}
