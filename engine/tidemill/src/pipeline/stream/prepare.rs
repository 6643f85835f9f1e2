//! A stream's indices: made before the first document, and looked at while documents go into them.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tidemill_change::Lsn;
use tidemill_encode::Encoded;
use tidemill_settle::Backoff;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Came, StreamTask};
use crate::deliver::{Identities, Known, SinkError};
use crate::error::{Error, Result};
use crate::state::{BackfillState, State};

/// So often a stream looks whether its indices are still the ones that they were: what is sent into one that was deleted
/// and made anew is at most this much, beside what went with the deleted one.
const INDEX_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// After something that a lost index may have caused, it looks sooner, and not sooner than this.
const INDEX_LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// How often the sink was asked in vain, and how long to wait before it is asked again.
#[derive(Debug)]
pub(super) struct Patience {
    backoff: Backoff,
    failures: u32,
}

/// The looks at the indices.
#[derive(Debug, Default)]
pub(super) struct Watching {
    identities: Arc<Identities>,
    soon: Arc<Notify>,
    /// Rises with each preparation: a look that began before it says nothing.
    round: u32,
}

/// Indices that stages of a stream may name: each costs the sink memory, and a plugin that goes wrong can name any number.
const NAMED_INDICES_MAX: usize = 1_000;

/// What a look at the indices gave: what to say of one that is lost.
pub(super) struct Look {
    round: u32,
    lost: std::result::Result<Option<Error>, SinkError>,
}

impl Watching {
    /// The indices that are known.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.identities.iter().map(|(name, _)| name)
    }

    /// Something happened that a lost index would explain.
    pub(super) fn soon(&self) {
        self.soon.notify_one();
    }
}

impl StreamTask {
    /// Makes the indices that are missing. A sink that is not there is waited for; one that refuses pauses the stream.
    pub(super) async fn prepare(&mut self) {
        let mut patience = self.patience();
        let sink = self.parts.sink.name().to_owned();
        loop {
            self.waits.get_or_insert_with(|| format!("sink `{sink}` has not answered yet about the indices"));
            self.tell();
            if self.halted.is_some() {
                match self.wishes.recv().await {
                    Some(wish) => self.wish(&wish),
                    None => return,
                }
                continue;
            }
            match self.try_to_prepare().await {
                Ok(()) => {
                    self.unprepared = false;
                    self.last_error = None;
                    self.waits = None;
                    return self.tell();
                }
                Err(error) if error.is_transient() => self.wait_for_sink(&error, &mut patience).await,
                Err(error) => self.halt(error.to_string()),
            }
        }
    }

    async fn try_to_prepare(&mut self) -> Result<()> {
        let (state, stream) = (Arc::clone(&self.parts.letters.state), self.parts.name.clone());
        let (preparation, sink) = (self.parts.preparation.clone(), self.parts.sink.clone());
        let mut preparing = std::pin::pin!(async move {
            let (from, name) = (Arc::clone(&state), stream.clone());
            let known = blocking(move || known(&from, &name)).await?;
            let prepared = preparation.carry_out(&sink, &known).await?;
            let indices: Vec<_> = prepared.identities.iter().map(|(n, uuid)| (n.to_owned(), uuid.to_owned())).collect();
            let gone = prepared.gone.clone();
            blocking(move || {
                gone.iter().try_for_each(|name| state.remove_index(&stream, name))?;
                indices.iter().try_for_each(|(name, uuid)| state.set_index(&stream, name, uuid))
            })
            .await?;
            Ok::<_, Error>(prepared)
        });
        // A sink that takes a connection and says nothing keeps no operator from being heard.
        let prepared = loop {
            tokio::select! {
                prepared = &mut preparing => break prepared?,
                Some(wish) = self.wishes.recv() => {
                    self.wish(&wish);
                    self.tell();
                }
            }
        };
        self.sweepable = prepared.sweepable;
        self.watching.identities = Arc::new(prepared.identities);
        self.watching.round += 1;
        self.watch();
        Ok(())
    }

    /// Makes the indices that stages named and that are not known yet, before anything goes into them.
    pub(super) async fn prepare_named(&mut self, encoded: &Encoded) -> std::result::Result<(), String> {
        let named = encoded.indices.iter().map(|(name, _)| name.as_str());
        let new: Vec<String> =
            named.filter(|name| !self.watching.names().any(|known| known == *name)).map(str::to_owned).collect();
        let mut patience = self.patience();
        for name in new {
            if self.watching.names().count() >= NAMED_INDICES_MAX {
                return Err(format!(
                    "its stages named index `{name}`, and {NAMED_INDICES_MAX} indices are as many as a stream may have: name fewer"
                ));
            }
            loop {
                match self.try_to_prepare_named(&name).await {
                    Ok(()) => break,
                    Err(error) if error.is_transient() => self.wait_for_sink(&error, &mut patience).await,
                    Err(error) => return Err(error.to_string()),
                }
            }
            self.waits = None;
        }
        Ok(())
    }

    async fn try_to_prepare_named(&mut self, name: &str) -> Result<()> {
        let prepared = self.parts.preparation.make_named(&self.parts.sink, name).await?;
        let (state, stream) = (Arc::clone(&self.parts.letters.state), self.parts.name.clone());
        for (name, uuid) in prepared.identities.iter() {
            let (state, stream, name, uuid) = (Arc::clone(&state), stream.clone(), name.to_owned(), uuid.to_owned());
            blocking(move || state.set_index(&stream, &name, &uuid)).await?;
        }
        let was_empty = self.watching.identities.is_empty();
        Arc::make_mut(&mut self.watching.identities).extend(&prepared.identities);
        self.sweepable.extend(prepared.sweepable);
        if was_empty {
            self.watch();
        }
        Ok(())
    }

    /// Looks at the indices once more, after a while.
    fn watch(&mut self) {
        let Watching { identities, soon, round } = &self.watching;
        if identities.is_empty() {
            return;
        }
        let (sink, identities, soon, round) =
            (self.parts.sink.clone(), Arc::clone(identities), Arc::clone(soon), *round);
        self.in_flight.push(Box::pin(async move {
            let due = Instant::now() + INDEX_LOOK_INTERVAL;
            tokio::time::sleep(INDEX_LOOK_INTERVAL_MIN).await;
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = soon.notified() => {}
            }
            Came::Look(Look { round, lost: identities.look(&sink).await })
        }));
    }

    /// What went into a lost index is lost with it, whatever was settled: only a backfill brings it back. So it does not
    /// matter how far the stream is, but that nobody takes the index for complete.
    pub(super) fn looked(&mut self, look: Look) {
        if look.round != self.watching.round {
            return;
        }
        match look.lost {
            Ok(Some(lost)) if self.halted.is_none() => {
                self.reading.clear();
                self.fail(lost.to_string());
            }
            Ok(_) => {}
            // A sink that is away is told of by the requests.
            Err(error) => tracing::debug!(stream = self.parts.name, %error, "the indices could not be looked at"),
        }
        self.watch();
    }

    pub(super) fn patience(&self) -> Patience {
        let limits = &self.parts.limits;
        Patience { backoff: Backoff::new(limits.retry_delay_min, limits.retry_delay_max, self.parts.seed), failures: 0 }
    }

    /// Lets some time pass, the more the oftener, and says that the sink is waited for.
    pub(super) async fn wait_for_sink(&mut self, error: &(dyn Display + Sync), patience: &mut Patience) {
        patience.failures += 1;
        let until = Instant::now() + patience.backoff.delay(patience.failures);
        tracing::warn!(stream = self.parts.name, %error, "the sink is waited for");
        self.waits = Some(error.to_string());
        loop {
            self.tell();
            tokio::select! {
                Some(wish) = self.wishes.recv() => self.wish(&wish),
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }
}

fn known(state: &State, stream: &str) -> Result<Known> {
    // A stream without backfill has its tables as read at zero.
    let is_read = |state| matches!(state, BackfillState::Done { consistent_point } if consistent_point > Lsn::ZERO);
    let tables = state.backfills(stream)?;
    let read = tables.iter().filter(|known| is_read(known.state)).map(|known| known.table).collect();
    Ok(Known { read, uuids: state.indices(stream)? })
}

/// The state's calls wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::failed("the state could not be asked").with_cause(error)))
}
