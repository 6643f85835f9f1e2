//! `dead-letters`: what could not be delivered; sending it again, or giving it up.

use std::path::Path;

use serde_json::json;

use super::super::arguments::{DeadLettersCommand, LetterChoice, LetterStates, MeantLetters};
use super::super::output::{Output, count, counted, table};
use super::{ANSWER_PATIENCE, block_on};
use crate::config::Config;
use crate::control::{self, Request};
use crate::error::{Error, Result};
use crate::pipeline::{self, Retried};
use crate::state::{DeadLetter, LetterFilter, LetterState, State};

pub(super) fn run(path: &Path, asked: &DeadLettersCommand) -> Result<()> {
    let config = Config::load(path)?;
    let state = State::read(&config.state)?;
    match asked {
        DeadLettersCommand::List { choice, state: fate, limit, after, json } => {
            let filter = LetterFilter { state: *fate, limit: Some(*limit), after: *after, ..filter(&config, choice)? };
            list(state.as_ref(), &filter, *json)
        }
        DeadLettersCommand::Show { id, json } => {
            let letter = match &state {
                Some(state) => state.dead_letter(*id)?,
                None => None,
            };
            let letter = letter.ok_or_else(|| missing(*id))?;
            if *json {
                return Output::stdout().json(&letter);
            }
            Output::stdout().text(&show(&letter))
        }
        DeadLettersCommand::Retry { meant, json } => {
            let letters = chosen(state.as_ref(), &config, meant)?;
            drop(state);
            let retried = block_on(pipeline::retry_letters(&config, letters));
            count_anew(&config);
            let retried = retried?;
            match json {
                true => Output::stdout().json(&retried)?,
                false => Output::stdout().text(&outcome(&retried))?,
            }
            match retried.open() {
                0 => Ok(()),
                open => {
                    Err(Error::failed(format!("{} not delivered: see `tidemill dead-letters list`", letters_of(open))))
                }
            }
        }
        DeadLettersCommand::Drop { meant, yes, json } => {
            let letters = chosen(state.as_ref(), &config, meant)?;
            drop(state);
            give_up(&config, &letters, *yes, *json)
        }
    }
}

fn missing(id: i64) -> Error {
    Error::failed(format!("there is no dead letter {id}: see `tidemill dead-letters list`"))
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

/// The open letters that are meant, without their documents.
fn chosen(state: Option<&State>, config: &Config, meant: &MeantLetters) -> Result<Vec<DeadLetter>> {
    let filter = filter(config, &meant.choice)?;
    let Some(state) = state else {
        return Err(Error::failed("there are no dead letters: nothing has run yet"));
    };
    for id in &meant.ids {
        match state.dead_letter(*id)? {
            Some(found) if found.state == LetterState::Open => {}
            Some(found) => return Err(Error::failed(format!("dead letter {id} is {} already", found.state.as_str()))),
            None => return Err(missing(*id)),
        }
    }
    let filter = LetterFilter { state: Some(LetterState::Open), limit: Some(u64::MAX), ..filter };
    let mut letters = state.dead_letters(&filter)?;
    letters.retain(|letter| meant.ids.is_empty() || meant.ids.contains(&letter.id));
    Ok(letters)
}

/// Lets an engine that runs know that letters were marked. It is right at its next start in any case.
fn count_anew(config: &Config) {
    if let Err(error) = control::send(&config.state, &Request::CountDeadLetters, ANSWER_PATIENCE) {
        tracing::warn!(%error, "the running engine still shows the dead letters from before");
    }
}

fn give_up(config: &Config, letters: &[DeadLetter], yes: bool, as_json: bool) -> Result<()> {
    let mut output = Output::stdout();
    if letters.is_empty() {
        return match as_json {
            true => output.json(&json!({ "dropped": 0 })),
            false => output.text("no dead letter is meant"),
        };
    }
    if !as_json {
        output.text(&format!("gives up {}: what they hold is never sent", letters_of(letters.len() as u64)))?;
    }
    if !yes && !output.ask("drop them?", "say --yes to drop them without a question")? {
        return Err(Error::failed("nothing was dropped"));
    }
    let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
    let dropped = State::beside(&config.state)?.mark_dead_letters(&ids, LetterState::Dropped)?;
    count_anew(config);
    match as_json {
        true => output.json(&json!({ "dropped": dropped })),
        false => output.text(&format!("{} dropped", letters_of(dropped as u64))),
    }
}

fn letters_of(number: u64) -> String {
    counted(number, "dead letter")
}

fn outcome(retried: &Retried) -> String {
    let mut text = format!(
        "{} delivered, {} superseded by newer documents, {} refused again",
        count(retried.delivered),
        count(retried.superseded),
        count(retried.refused)
    );
    if retried.rows > 0 {
        text.push_str(&format!(
            "; {} are rows that never became a document: mend them or the plugin that refused them, then \
             `tidemill backfill` reads them again",
            count(retried.rows)
        ));
    }
    for refused in &retried.refusals {
        text.push_str(&format!("\n{}: {}", refused.id, reason(&refused.error)));
    }
    text
}

/// A page of letters, and how many there are beyond it.
fn list(state: Option<&State>, filter: &LetterFilter, as_json: bool) -> Result<()> {
    let (mut letters, mut total, mut more) = (Vec::new(), 0, 0);
    if let Some(state) = state {
        letters = state.dead_letters(filter)?;
        total = state.count_dead_letters(&LetterFilter { after: None, ..filter.clone() })?;
        let after = letters.last().map(|letter| letter.id).or(filter.after);
        more = state.count_dead_letters(&LetterFilter { after, ..filter.clone() })?;
    }
    if as_json {
        return Output::stdout().json(&json!({ "dead_letters": letters, "total": total }));
    }
    if letters.is_empty() && more == 0 {
        return Output::stdout().text("no dead letters");
    }
    let mut text = rows(&letters, filter.state);
    if more > 0 {
        let next =
            letters.last().map_or(String::new(), |letter| format!(": `--after {}`, or a higher `--limit`", letter.id));
        text.push_str(&format!("\n{} more of {}{next}", count(more), count(total)));
    }
    Output::stdout().text(&text)
}

fn rows(letters: &[DeadLetter], states: LetterStates) -> String {
    let row = |letter: &DeadLetter| {
        [
            letter.id.to_string(),
            letter.stream.clone(),
            letter.table.clone(),
            format!("{}/{}", letter.index, letter.key),
            letter.error_type.clone(),
            reason(&letter.error),
        ]
    };
    if states.is_some() {
        let rows: Vec<[String; 6]> = letters.iter().map(row).collect();
        return table(["id", "stream", "table", "document", "error", "reason"], &rows);
    }
    let with_state = |letter: &DeadLetter| {
        let [id, stream, table, document, error, reason] = row(letter);
        [id, letter.state.as_str().to_owned(), stream, table, document, error, reason]
    };
    let rows: Vec<[String; 7]> = letters.iter().map(with_state).collect();
    table(["id", "state", "stream", "table", "document", "error", "reason"], &rows)
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
    let also: Vec<String> = letter.also.iter().map(|place| format!("{}/{}", place.index, place.key)).collect();
    let also = (!also.is_empty()).then(|| also.join(", "));
    for (name, value) in [
        ("also     ", &also),
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
