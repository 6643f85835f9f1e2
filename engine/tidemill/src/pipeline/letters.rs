//! What cannot become a document, kept: on disk before its change counts as settled.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tidemill_change::{ChangeBatch, Version};
use tidemill_encode::{Action, ActionKind, Encoded, Rejected};
use tidemill_settle::{Counts, SinkError};

use super::stream::Documents;
use crate::config::{DeadLetters, DeadLettersThen, Rejects};
use crate::metrics::StreamMetrics;
use crate::state::{LetterFilter, LetterKind, LetterPlace, LetterState, NewDeadLetter, State};

/// Letters that were dealt with are kept for those who look what happened, up to this many of all streams.
const CLOSED_LETTERS_MAX: u64 = 10_000;

/// A stream's dead letters.
pub(crate) struct Letters {
    pub(crate) state: Arc<State>,
    pub(crate) stream: String,
    pub(crate) limits: DeadLetters,
    pub(crate) rejects: Rejects,
    pub(crate) window: Window,
    pub(crate) metrics: Arc<StreamMetrics>,
    /// The documents with a letter that waits, as index and id.
    waiting: HashSet<(String, String)>,
}

/// Rows and rejects since the ratio was last looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    rows: u64,
    rejected: u64,
    /// Those of them that stages refused.
    by_stage: BTreeMap<String, u64>,
}

impl Letters {
    /// Begins with the letters that wait from before.
    pub(crate) fn new(
        state: Arc<State>,
        stream: &str,
        limits: DeadLetters,
        rejects: Rejects,
        metrics: Arc<StreamMetrics>,
    ) -> crate::error::Result<Letters> {
        let filter = LetterFilter {
            stream: Some(stream.to_owned()),
            state: Some(LetterState::Open),
            limit: Some(i64::MAX as u64),
            ..LetterFilter::default()
        };
        let waiting: HashSet<_> =
            state.dead_letters(&filter)?.into_iter().map(|letter| (letter.index, letter.key)).collect();
        state.prune_dead_letters(CLOSED_LETTERS_MAX)?;
        metrics.dead_letters_open.set(state.dead_letter_totals(stream)?.rows as i64);
        let window = Window::default();
        Ok(Letters { state, stream: stream.to_owned(), limits, rejects, window, metrics, waiting })
    }

    /// Later actions were taken: letters of the same documents have nothing more to say.
    pub(crate) async fn superseded_by(&mut self, encoded: &Encoded) -> Result<(), String> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut taken = Vec::new();
        for action in &encoded.actions {
            let lines = &encoded.body[action.start..action.end];
            // Not the document, which is most of it.
            let line = lines.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let place = place_of(&String::from_utf8_lossy(line));
            if self.waiting.contains(&place) {
                taken.push((place.0, place.1, action.version));
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        self.supersede(move |state, stream| {
            let later = taken.iter().map(|(index, key, version)| (index.as_str(), key.as_str(), *version));
            state.supersede_dead_letters(stream, later)
        })
        .await
    }

    /// No row is left of what these documents were before this version: a letter that is older would only bring one back.
    pub(crate) async fn superseded_under(&self, documents: &Documents, version: Version) -> Result<(), String> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let Documents { index, prefix, table, .. } = documents.clone();
        self.supersede(move |state, stream| {
            state.supersede_dead_letters_under(stream, &index, &prefix, version)?;
            state.supersede_nameless_letters_under(stream, &table, version)
        })
        .await
    }

    async fn supersede(
        &self,
        mark: impl FnOnce(&State, &str) -> crate::error::Result<usize> + Send + 'static,
    ) -> Result<(), String> {
        let (state, stream) = (Arc::clone(&self.state), self.stream.clone());
        let marked = tokio::task::spawn_blocking(move || {
            mark(&state, &stream)?;
            state.prune_dead_letters(CLOSED_LETTERS_MAX)?;
            state.dead_letter_totals(&stream)
        });
        match marked.await {
            Ok(Ok(totals)) => {
                self.metrics.dead_letters_open.set(totals.rows as i64);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("a dead letter could not be marked: {error}")),
            Err(error) => Err(format!("a dead letter could not be marked: {error}")),
        }
    }

    /// Keeps the rows that stages or the encoder refused.
    pub(crate) async fn rejected(&mut self, encoded: &Encoded, batches: &[Arc<ChangeBatch>]) -> Result<(), String> {
        let letters = encoded.rejected.iter().map(|rejected| self.of_reject(rejected, batches)).collect();
        self.store(letters).await
    }

    /// Counts a body's rows that are not sent: a stage dropped them, or they were refused.
    pub(crate) fn count_encoded(&mut self, encoded: &Encoded) {
        let rejected = encoded.rejected.len() as u64;
        self.window.rows += encoded.counts.filtered as u64 + rejected;
        self.window.rejected += rejected;
        for stage in encoded.rejected.iter().filter_map(|rejected| rejected.stage.as_ref()) {
            match self.window.by_stage.get_mut(stage) {
                Some(count) => *count += 1,
                None => drop(self.window.by_stage.insert(stage.clone(), 1)),
            }
        }
    }

    /// Counts what the sink made of those that were sent.
    pub(crate) fn count_settled(&mut self, counts: &Counts) {
        self.window.rows += u64::from(counts.total());
        self.window.rejected += u64::from(counts.dead);
    }

    /// Gives the reason to pause where too many rows were refused, by whomever.
    pub(crate) fn too_many_rejects(&mut self) -> Option<String> {
        if self.window.rows < self.rejects.of {
            return None;
        }
        let Window { rows, rejected, by_stage } = std::mem::take(&mut self.window);
        (rejected as f64 > rows as f64 * self.rejects.ratio).then(|| {
            let most = by_stage.into_iter().max_by_key(|(_, count)| *count);
            format!(
                "{rejected} of {rows} rows were rejected{}, more than `rejects.ratio` {} allows: see `tidemill dead-letters \
                 list`, mend what refuses them or raise `rejects.ratio`, then `tidemill resume {}`",
                by(most),
                self.rejects.ratio,
                self.stream
            )
        })
    }

    /// An action that the sink will never take.
    pub(crate) fn of_action(
        &self,
        encoded: &Encoded,
        action: &Action,
        batches: &[Arc<ChangeBatch>],
        error: &SinkError,
    ) -> NewDeadLetter {
        let lines = String::from_utf8_lossy(&encoded.body[action.start..action.end]);
        let (line, document) = lines.split_once('\n').unwrap_or((&lines, ""));
        let (index, key) = place_of(line);
        let batch = batches.get(action.batch as usize);
        NewDeadLetter {
            stream: self.stream.clone(),
            table: batch.map(|batch| batch.relation.to_string()).unwrap_or_default(),
            key,
            index,
            also: Vec::new(),
            kind: match action.kind {
                ActionKind::Index => LetterKind::Index,
                ActionKind::Delete => LetterKind::Delete,
            },
            commit: action.version.commit(),
            ordinal: batch.map_or(0, |batch| batch.changes[action.change as usize].ordinal),
            version: action.version,
            action: Some(line.to_owned()),
            document: (action.kind == ActionKind::Index).then(|| document.trim_end().to_owned()),
            error_type: error.kind.clone(),
            error: error.json.clone(),
            stage: None,
            plugin_sha256: None,
            attempts: 1,
        }
    }

    fn of_reject(&self, rejected: &Rejected, batches: &[Arc<ChangeBatch>]) -> NewDeadLetter {
        let batch = &batches[rejected.batch as usize];
        let place = rejected.place.as_ref();
        NewDeadLetter {
            stream: self.stream.clone(),
            table: batch.relation.to_string(),
            key: place.map(|place| place.id.clone()).unwrap_or_default(),
            index: place.map(|place| place.index.clone()).unwrap_or_default(),
            also: rejected
                .also
                .iter()
                .map(|place| LetterPlace { index: place.index.clone(), key: place.id.clone() })
                .collect(),
            kind: LetterKind::Row,
            commit: rejected.version.commit(),
            ordinal: batch.changes[rejected.change as usize].ordinal,
            version: rejected.version,
            action: None,
            document: Some(String::from_utf8_lossy(&rejected.document).into_owned()),
            error_type: rejected.code.clone(),
            error: rejected.message.clone(),
            stage: rejected.stage.clone(),
            plugin_sha256: rejected.plugin_sha256.clone(),
            attempts: 1,
        }
    }

    /// The ids of an index whose rows, at this version or a later one, were refused and wait.
    pub(crate) async fn rows_refused(&self, index: &str, since: Version) -> Result<HashSet<String>, String> {
        let (state, stream, index) = (Arc::clone(&self.state), self.stream.clone(), index.to_owned());
        match tokio::task::spawn_blocking(move || state.rows_refused(&stream, &index, since)).await {
            Ok(Ok(ids)) => Ok(ids),
            Ok(Err(error)) => Err(format!("the dead letters could not be read: {error}")),
            Err(error) => Err(format!("the dead letters could not be read: {error}")),
        }
    }

    /// Writes letters; they are on disk when this returns.
    pub(crate) async fn store(&mut self, letters: Vec<NewDeadLetter>) -> Result<(), String> {
        if letters.is_empty() {
            return Ok(());
        }
        let (state, stream) = (Arc::clone(&self.state), self.stream.clone());
        let count = letters.len();
        self.waiting.extend(letters.iter().map(|letter| (letter.index.clone(), letter.key.clone())));
        let written = tokio::task::spawn_blocking(move || {
            state.add_dead_letters(&letters)?;
            state.dead_letter_totals(&stream)
        });
        match written.await {
            Ok(Ok(totals)) => {
                self.metrics.dead_letters.inc_by(count as u64);
                self.metrics.dead_letters_open.set(totals.rows as i64);
                tracing::warn!(
                    stream = self.stream,
                    count,
                    "dead letters were written: see `tidemill dead-letters list`"
                );
                Ok(())
            }
            Ok(Err(error)) => Err(format!("a dead letter could not be written: {error}")),
            Err(error) => Err(format!("a dead letter could not be written: {error}")),
        }
    }

    /// The reason to pause where the letters have reached their limit; or the oldest go, where that is wished.
    pub(crate) async fn full(&self) -> Option<String> {
        let (state, stream, limits) = (Arc::clone(&self.state), self.stream.clone(), self.limits);
        let looked = tokio::task::spawn_blocking(move || {
            let totals = state.dead_letter_totals(&stream)?;
            if totals.rows <= limits.rows_max && totals.bytes <= limits.bytes_max {
                return Ok(None);
            }
            if limits.then == DeadLettersThen::DropOldest {
                let dropped = state.drop_oldest_dead_letters(&stream, limits.rows_max, limits.bytes_max)?;
                tracing::error!(stream, dropped, "the oldest dead letters were dropped, as `dead_letters.then` says");
                return Ok(None);
            }
            let (is, what, limit, max) = match totals.rows > limits.rows_max {
                true => (totals.rows, "dead letters", "dead_letters.rows", limits.rows_max),
                false => (totals.bytes, "bytes of dead letters", "dead_letters.bytes", limits.bytes_max),
            };
            let most = by(state.most_dead_letters(&stream)?);
            Ok(Some(format!(
                "its {is} {what}{most} are more than the {max} that `{limit}` allows: see `tidemill dead-letters list`, retry or drop \
                 them or raise `{limit}`, then `tidemill resume {stream}`"
            )))
        });
        match looked.await {
            Ok(Ok(reason)) => reason,
            Ok(Err(error)) => Some(crate::error::Error::to_string(&error)),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// Which stage refused the most, where stages did.
fn by(most: Option<(String, u64)>) -> String {
    most.map(|(stage, count)| format!(" ({count} by stage `{stage}`)")).unwrap_or_default()
}

/// Index and id of an action line.
fn place_of(line: &str) -> (String, String) {
    let action: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let meta = action.as_object().and_then(|action| action.values().next());
    let text = |key: &str| meta.and_then(|meta| meta[key].as_str()).unwrap_or_default().to_owned();
    (text("_index"), text("_id"))
}
