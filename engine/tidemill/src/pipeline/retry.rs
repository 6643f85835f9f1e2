//! Sends dead letters again: the same lines at the same version, so that a newer document wins over them.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tidemill_change::Version;
use tidemill_settle::{ActionKind, Answer, Outcome, Response, Sent};

use crate::config::Config;
use crate::deliver::{self, Sink};
use crate::error::{Error, Result};
use crate::state::{DeadLetter, LetterKind, LetterState, State};

/// Letters in one request.
const LETTERS_MAX: usize = 1_000;

/// What became of the letters.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Retried {
    /// Taken by the sink.
    pub(crate) delivered: u64,
    /// The index has a newer document.
    pub(crate) superseded: u64,
    /// Refused again.
    pub(crate) refused: u64,
    /// The first refusal's words.
    pub(crate) error: Option<String>,
    /// Rows that never became a document: these are read again by a backfill.
    pub(crate) rows: u64,
}

impl fmt::Display for Retried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} delivered, {} superseded by newer documents, {} refused again",
            self.delivered, self.superseded, self.refused
        )?;
        if let Some(error) = &self.error {
            write!(f, ": {error}")?;
        }
        if self.rows > 0 {
            write!(
                f,
                "; {} are rows that were refused before they were sent: mend what refuses them, then `tidemill backfill` reads them again",
                self.rows
            )?;
        }
        Ok(())
    }
}

pub(crate) async fn retry_letters(config: &Config, letters: Vec<DeadLetter>) -> Result<Retried> {
    let mut retried = Retried::default();
    let mut by_sink: BTreeMap<String, Vec<DeadLetter>> = BTreeMap::new();
    for letter in letters {
        if letter.kind == LetterKind::Row || letter.action.is_none() {
            retried.rows += 1;
            continue;
        }
        by_sink.entry(config.stream(&letter.stream)?.sink.clone()).or_default().push(letter);
    }
    // Beside a running engine: letters are marked, and nothing else in the state is touched.
    let state = State::beside(&config.state)?;
    for (name, letters) in by_sink {
        let sink =
            Sink::new(deliver::options(&config.sinks[&name])?).map_err(|error| Error::failed(error.to_string()))?;
        for letters in letters.chunks(LETTERS_MAX) {
            send(&sink, letters, &state, &mut retried).await?;
        }
    }
    Ok(retried)
}

async fn send(sink: &Sink, letters: &[DeadLetter], state: &State, retried: &mut Retried) -> Result<()> {
    let answer = sink.bulk(lines(letters)).await.map_err(|error| Error::transient(error.to_string()))?;
    let response =
        Response { status: answer.status, retry_after: answer.retry_after, body: &answer.body, items_left_out: false };
    let sent = letters.iter().map(|letter| Sent {
        kind: if letter.kind == LetterKind::Delete { ActionKind::Delete } else { ActionKind::Index },
        version: Version::from(letter.version),
        id: None,
    });
    let items = match tidemill_settle::read(&response, sent) {
        Answer::Items(items) => items,
        _ => {
            return Err(Error::failed(format!(
                "sink `{}` did not take the letters: {}",
                sink.name(),
                answer.excerpt()
            )));
        }
    };
    let (mut delivered, mut superseded) = (Vec::new(), Vec::new());
    let mut exceptions = items.exceptions.iter().peekable();
    for (place, letter) in letters.iter().enumerate() {
        match exceptions.next_if(|exception| exception.index as usize == place).map(|exception| &exception.outcome) {
            None | Some(Outcome::NotFound) => delivered.push(letter.id),
            Some(Outcome::Stale { .. }) => superseded.push(letter.id),
            Some(Outcome::DeadLetter(error)) => {
                retried.refused += 1;
                retried.error.get_or_insert_with(|| format!("letter {}: {error}", letter.id));
            }
            Some(Outcome::Retry(trouble)) => {
                retried.refused += 1;
                retried.error.get_or_insert_with(|| trouble.to_string());
            }
            Some(Outcome::SinkFull | Outcome::Pause) => {
                retried.refused += 1;
                retried.error.get_or_insert_with(|| format!("sink `{}` takes nothing at present", sink.name()));
            }
        }
    }
    state.mark_dead_letters(&delivered, LetterState::Retried)?;
    state.mark_dead_letters(&superseded, LetterState::Superseded)?;
    retried.delivered += delivered.len() as u64;
    retried.superseded += superseded.len() as u64;
    Ok(())
}

fn lines(letters: &[DeadLetter]) -> Bytes {
    let mut body = BytesMut::new();
    for letter in letters {
        for line in [&letter.action, &letter.document].into_iter().flatten() {
            body.extend_from_slice(line.as_bytes());
            body.extend_from_slice(b"\n");
        }
    }
    body.freeze()
}
