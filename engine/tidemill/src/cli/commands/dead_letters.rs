//! `dead-letters`: what could not be delivered, and sending it again.

use std::path::Path;

use serde_json::json;

use super::super::arguments::{DeadLettersCommand, LetterChoice};
use super::super::output::{Output, table};
use super::block_on;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::pipeline;
use crate::state::{DeadLetter, LetterFilter, LetterState, State};

pub(super) fn run(path: &Path, asked: &DeadLettersCommand) -> Result<()> {
    let config = Config::load(path)?;
    let state = State::read(&config.state)?;
    match asked {
        DeadLettersCommand::List { choice, state: fate, limit, after, json } => {
            let filter = LetterFilter { state: *fate, limit: Some(*limit), after: *after, ..filter(&config, choice)? };
            let letters = match &state {
                Some(state) => state.dead_letters(&filter)?,
                None => Vec::new(),
            };
            if *json {
                return Output::stdout().json(&json!({ "dead_letters": letters }));
            }
            Output::stdout().text(&list(&letters))
        }
        DeadLettersCommand::Show { id, json } => {
            let letter = match &state {
                Some(state) => state.dead_letter(*id)?,
                None => None,
            };
            let letter = letter.ok_or_else(|| {
                Error::failed(format!("there is no dead letter {id}: see `tidemill dead-letters list`"))
            })?;
            if *json {
                return Output::stdout().json(&letter);
            }
            Output::stdout().text(&show(&letter))
        }
        DeadLettersCommand::Retry { ids, choice, json } => {
            let Some(state) = state else {
                return Err(Error::failed("there are no dead letters: nothing has run yet"));
            };
            let letters = chosen(&state, ids, filter(&config, choice)?)?;
            drop(state);
            let retried = block_on(pipeline::retry_letters(&config, letters))?;
            if *json {
                return Output::stdout().json(&retried);
            }
            Output::stdout().text(&retried.to_string())
        }
    }
}

fn filter(config: &Config, choice: &LetterChoice) -> Result<LetterFilter> {
    if let Some(stream) = &choice.stream {
        config.stream(stream)?;
    }
    Ok(LetterFilter {
        stream: choice.stream.clone(),
        error_type: choice.error_type.clone(),
        key: choice.key.clone(),
        ..LetterFilter::default()
    })
}

/// The open letters that are meant, with their documents.
fn chosen(state: &State, ids: &[i64], filter: LetterFilter) -> Result<Vec<DeadLetter>> {
    let ids = match ids {
        [] => {
            let filter = LetterFilter { state: Some(LetterState::Open), limit: Some(u64::MAX >> 1), ..filter };
            state.dead_letters(&filter)?.into_iter().map(|letter| letter.id).collect()
        }
        ids => ids.to_vec(),
    };
    let letter = |id: i64| {
        let found = state.dead_letter(id)?;
        let found = found
            .ok_or_else(|| Error::failed(format!("there is no dead letter {id}: see `tidemill dead-letters list`")))?;
        match found.state {
            LetterState::Open => Ok(found),
            other => Err(Error::failed(format!("dead letter {id} is {} already", other.as_str()))),
        }
    };
    ids.into_iter().map(letter).collect()
}

fn list(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let rows: Vec<[String; 6]> = letters
        .iter()
        .map(|letter| {
            let place = format!("{}/{}", letter.index, letter.key);
            [
                letter.id.to_string(),
                letter.stream.clone(),
                letter.table.clone(),
                place,
                letter.error_type.clone(),
                reason(&letter.error),
            ]
        })
        .collect();
    table(["id", "stream", "table", "document", "error", "reason"], &rows)
}

/// The reason inside a server's error; any other error as it is.
fn reason(error: &str) -> String {
    let parsed: serde_json::Value = serde_json::from_str(error).unwrap_or_default();
    let reason = parsed["caused_by"]["reason"].as_str().or(parsed["reason"].as_str()).unwrap_or(error);
    reason.replace('\n', " ")
}

fn show(letter: &DeadLetter) -> String {
    let mut text = format!(
        "dead letter {} of stream {}, {}\ntable    {}\ndocument {}/{}\ncommit   {} (change {}), version {}\nerror    {}\n         {}\n",
        letter.id,
        letter.stream,
        letter.state.as_str(),
        letter.table,
        letter.index,
        letter.key,
        letter.commit_lsn,
        letter.ordinal,
        letter.version,
        letter.error_type,
        letter.error
    );
    for (name, value) in [
        ("stage    ", &letter.stage),
        ("plugin   ", &letter.plugin_sha256),
        ("action   ", &letter.action),
        ("content  ", &letter.document),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("{name}{value}\n"));
        }
    }
    text.trim_end().to_owned()
}
