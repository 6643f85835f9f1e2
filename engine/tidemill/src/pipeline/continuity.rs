//! Whether the source goes on where the state left it: the same cluster, with a WAL that reaches as far as it did, and a slot
//! that nobody else has moved on. `check` shows what `run` refuses.
//!
//! Postgres itself does not tell. It streams from a position beyond the end of its WAL, and leaves out every commit below it;
//! and it goes on from where a slot was confirmed, whoever did that. The state holds what it confirmed before the server is
//! told (see `keeper`), so a slot beyond that was moved by another state, or by a newer copy of this one.

use tidemill_change::Lsn;

use super::board::ask_for_backfill;
use crate::error::{Error, Result};
use crate::plan::{Plan, StreamPlan};
use crate::source::slot::{SlotInfo, SlotName};
use crate::state::{BackfillState, Made, SourceIdentity, SourceState, State};

/// The plan of a stream whose stages have not been opened yet: it made no document.
pub(super) const NO_PLAN: &str = "";

/// What to do about a stream whose plan is not the one that its documents were made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Refuse,
    /// Read its rows anew, and remove what no longer belongs.
    Backfill,
    /// Leave the documents that the old plan made.
    Keep,
}

/// What the source is, beside a state that was there before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) name: &'a SlotName,
    /// Read before the state is: an engine that runs beside moves both, the state first.
    pub(crate) slot: Option<&'a SlotInfo>,
    /// How far the state knew the WAL to reach before the server was looked at, for the same reason.
    pub(crate) reached: Lsn,
    pub(crate) state: &'a State,
}

/// A difference between the two, and what of the configuration it is about.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) subject: String,
    pub(crate) error: Error,
}

impl Look<'_> {
    /// All that stands against going on. Nothing is changed.
    pub(crate) fn differences(&self, changed: Changed) -> Result<Vec<Difference>> {
        let Some(known) = self.state.source()? else { return Ok(Vec::new()) };
        let server = &self.plan.server;
        let identity = SourceIdentity {
            system_identifier: server.system,
            database: server.database.clone(),
            slot: self.name.as_str().to_owned(),
        };
        let mut found = vec![
            ("state".to_owned(), self.state.expect_source(&known, &identity)),
            ("source".to_owned(), look_back(server.wal_end, self.reached, server.is_standby)),
            ("source".to_owned(), if self.is_gone()? { Err(gone(self.name)) } else { Ok(()) }),
        ];
        if changed == Changed::Refuse {
            for stream in &self.plan.streams {
                let unchanged = if is_changed(stream, self.state)? { Err(plan_changed(stream)) } else { Ok(()) };
                found.push((format!("stream {}", stream.name), unchanged));
            }
            let missed = self.slot.map(|slot| Missed::find(self.plan, slot, self.state)).transpose()?.flatten();
            found.push(("source".to_owned(), missed.map_or(Ok(()), |missed| Err(missed.into()))));
        }
        let differs = |(subject, looked): (String, Result<()>)| looked.err().map(|error| Difference { subject, error });
        Ok(found.into_iter().filter_map(differs).collect())
    }

    /// The state knows a slot that is not there.
    pub(crate) fn is_gone(&self) -> Result<bool> {
        let is_known = |known: SourceState| known.consistent_point.is_some() || known.slot_made == Made::ByOthers;
        Ok(self.slot.is_none() && self.state.source()?.is_some_and(is_known))
    }

    /// Does what was asked for about plans that changed and changes that were missed.
    pub(super) fn take_up(&self, changed: Changed) -> Result<()> {
        let missed = self.slot.map(|slot| Missed::find(self.plan, slot, self.state)).transpose()?.flatten();
        if let Some(missed) = &missed {
            tracing::warn!(
                streams = missed.streams.join(", "), slot = self.name.as_str(), from = %missed.confirmed, to = %missed.slot,
                "the slot was moved on without this state, so the streams never got the changes between"
            );
        }
        if changed != Changed::Backfill {
            return Ok(());
        }
        let missed = missed.map(|missed| missed.streams).unwrap_or_default();
        for stream in &self.plan.streams {
            if missed.contains(&stream.name) || is_changed(stream, self.state)? {
                ask_for_backfill(self.state, &stream.name)?;
            }
        }
        Ok(())
    }
}

/// A database whose WAL ends before what was received from it is not the one it was. A standby that was started again may
/// have to replay what it had replayed already.
pub(super) fn look_back(wal_end: Lsn, received: Lsn, is_standby: bool) -> Result<()> {
    if wal_end >= received {
        return Ok(());
    }
    if is_standby {
        return Err(Error::transient(format!(
            "the standby has replayed WAL up to {wal_end}, and {received} was received from it: it is waited for"
        )));
    }
    Err(Error::failed(format!(
        "the source's WAL ends at {wal_end}, and {received} was received from it: the database was restored to an earlier \
         state, so its rows may be older than the documents; name another state and other indices, or restore the database"
    )))
}

/// What was confirmed to the slot by others, and what of it streams of ours would have needed.
#[derive(Debug)]
pub(super) struct Missed {
    name: SlotName,
    slot: Lsn,
    confirmed: Lsn,
    streams: Vec<String>,
}

impl Missed {
    /// Tables that are still to be read have missed nothing: they are read as they are now.
    pub(super) fn find(plan: &Plan, slot: &SlotInfo, state: &State) -> Result<Option<Missed>> {
        let confirmed = state.source()?.and_then(|known| known.confirmed);
        let (Some(at), Some(confirmed)) = (slot.confirmed_flush, confirmed) else { return Ok(None) };
        let mut streams = Vec::new();
        if at > confirmed {
            for stream in &plan.streams {
                let is_behind = state.stream(&stream.name)?.is_some_and(|known| known.settled < at);
                if is_behind && has_read(stream, state)? {
                    streams.push(stream.name.clone());
                }
            }
        }
        let missed = Missed { name: slot.name.clone(), slot: at, confirmed, streams };
        Ok(if missed.streams.is_empty() { None } else { Some(missed) })
    }
}

/// A table of the stream has been read, so that it lives by changes alone.
fn has_read(stream: &StreamPlan, state: &State) -> Result<bool> {
    let known = state.backfills(&stream.name)?;
    let mut read = known.iter().filter(|known| matches!(known.state, BackfillState::Done { .. }));
    Ok(read.any(|known| stream.tables.iter().any(|table| table.relation.id == known.table)))
}

impl From<Missed> for Error {
    fn from(missed: Missed) -> Error {
        let Missed { name, slot, confirmed, streams } = missed;
        let named: Vec<_> = streams.iter().map(|stream| format!("`{stream}`")).collect();
        let commands: Vec<_> = streams.iter().map(|stream| format!("`tidemill backfill {stream}`")).collect();
        Error::failed(format!(
            "slot `{name}` was confirmed up to {slot}, and this state confirmed no more than {confirmed}: another state uses the \
             slot too, or this one is an older copy, so the changes between never came to {}: {} and then `tidemill run` reads \
             the rows anew, as `tidemill run --backfill-changed` does; `--keep-old-documents` goes on without those changes; \
             in an index that tidemill did not make, documents of rows deleted meanwhile stay; give each state a slot of its own",
            named.join(", "),
            commands.join(", "),
        ))
    }
}

pub(super) fn gone(name: &SlotName) -> Error {
    Error::failed(format!(
        "slot `{}` is gone though the state knows it, and changes went with it: `tidemill teardown` forgets it, then `tidemill \
         run` makes a new one, reads all rows anew and removes documents without a row",
        name.as_str()
    ))
}

/// Documents of two plans must not mix unnoticed.
fn is_changed(stream: &StreamPlan, state: &State) -> Result<bool> {
    let is_other = |known: &str| known != stream.digest && known != NO_PLAN;
    Ok(state.stream(&stream.name)?.is_some_and(|known| is_other(&known.plan_digest)))
}

fn plan_changed(stream: &StreamPlan) -> Error {
    Error::failed(format!(
        "stream `{}` was changed (its where, stages, plugins, columns, id, index or routing), so new documents would stand \
         beside documents of the old plan: `tidemill run --backfill-changed` reads its rows anew and removes what no longer \
         belongs, `--keep-old-documents` leaves the old ones",
        stream.name
    ))
}
