//! Sends dead letters again: the same lines at the same version, so that a newer document wins over them.
//!
//! A tombstone keeps a deleted document from coming back for a while only. So each letter is read, and its fate looked at
//! once more, just before it is sent: one that a later change has superseded meanwhile stays where it is.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tidemill_change::Version;
use tidemill_settle::{ActionKind, Answer, Outcome, Response, Sent};

use crate::config::Config;
use crate::deliver::{self, Sink};
use crate::error::{Error, Result};
use crate::state::{DeadLetter, LetterKind, LetterState, RefusedLetter, State};

/// Letters in one request.
const LETTERS_MAX: usize = 1_000;
/// And their bytes; one that is larger goes alone.
const LETTERS_BYTES_MAX: u64 = 8 << 20;

/// What became of the letters.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Retried {
    /// Taken by the sink.
    pub(crate) delivered: u64,
    /// The index has a newer document, or a newer letter of the same document waits.
    pub(crate) superseded: u64,
    /// Not taken: they stay open.
    pub(crate) refused: u64,
    /// The first refusal's words.
    pub(crate) error: Option<String>,
    /// Each of them.
    pub(crate) refusals: Vec<RefusedLetter>,
    /// Rows that never became a document: these are read again by a backfill.
    pub(crate) rows: u64,
}

impl Retried {
    /// How many of those that were meant stay open.
    pub(crate) fn open(&self) -> u64 {
        self.refused + self.rows
    }

    fn refuse(&mut self, letter: &DeadLetter, error_type: &str, error: String) {
        self.refused += 1;
        self.error.get_or_insert_with(|| format!("letter {}: {error}", letter.id));
        self.refusals.push(RefusedLetter { id: letter.id, error_type: error_type.to_owned(), error });
    }
}

/// Sends letters of a list, which has no documents.
pub(crate) async fn retry_letters(config: &Config, listed: Vec<DeadLetter>) -> Result<Retried> {
    let mut retried = Retried::default();
    let mut by_sink: BTreeMap<String, Vec<DeadLetter>> = BTreeMap::new();
    for letter in listed {
        by_sink.entry(config.stream(&letter.stream)?.sink.clone()).or_default().push(letter);
    }
    // Beside a running engine: letters are marked, and nothing else in the state is touched.
    let state = State::beside(&config.state)?;
    for (name, listed) in by_sink {
        let sink =
            Sink::new(deliver::options(&config.sinks[&name])?).map_err(|error| Error::failed(error.to_string()))?;
        let mut left = listed.as_slice();
        while !left.is_empty() {
            let (now, later) = left.split_at(together(left));
            left = later;
            let letters = look_again(&state, now, &mut retried)?;
            if !letters.is_empty() {
                send(&sink, &letters, &state, &mut retried).await?;
            }
        }
    }
    Ok(retried)
}

/// How many go into the next request.
fn together(letters: &[DeadLetter]) -> usize {
    let mut bytes = 0;
    let fits = |letter: &&DeadLetter| {
        bytes += letter.bytes;
        bytes <= LETTERS_BYTES_MAX
    };
    letters.iter().take(LETTERS_MAX).take_while(fits).count().max(1)
}

/// The letters with their documents, without those that are not open any more, or have a newer one beside them.
fn look_again(state: &State, listed: &[DeadLetter], retried: &mut Retried) -> Result<Vec<DeadLetter>> {
    let ids: Vec<i64> = listed.iter().map(|letter| letter.id).collect();
    state.supersede_by_newer_letters(&ids)?;
    let mut letters = Vec::with_capacity(ids.len());
    for id in ids {
        match state.dead_letter(id)? {
            Some(letter) if letter.state == LetterState::Superseded => retried.superseded += 1,
            Some(letter) if letter.state != LetterState::Open => {}
            Some(letter) if letter.kind == LetterKind::Row || letter.action.is_none() => retried.rows += 1,
            Some(letter) => letters.push(letter),
            None => {}
        }
    }
    Ok(letters)
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
    let (mut delivered, mut superseded, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let mut exceptions = items.exceptions.iter().peekable();
    for (place, letter) in letters.iter().enumerate() {
        match exceptions.next_if(|exception| exception.index as usize == place).map(|exception| &exception.outcome) {
            None | Some(Outcome::NotFound) => delivered.push(letter.id),
            Some(Outcome::Stale { .. }) => superseded.push(letter.id),
            Some(Outcome::DeadLetter(error)) => {
                let words = if error.json.is_empty() { &error.reason } else { &error.json };
                retried.refuse(letter, &error.kind, words.clone());
                refused.extend(retried.refusals.last().cloned());
            }
            // Not the document's fault: the letter keeps the error that made it one.
            Some(Outcome::Retry(trouble)) => retried.refuse(letter, "", trouble.to_string()),
            Some(Outcome::SinkFull | Outcome::Pause) => {
                retried.refuse(letter, "", format!("sink `{}` takes nothing at present", sink.name()));
            }
        }
    }
    state.mark_dead_letters(&delivered, LetterState::Retried)?;
    state.mark_dead_letters(&superseded, LetterState::Superseded)?;
    state.refuse_dead_letters(&refused)?;
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
