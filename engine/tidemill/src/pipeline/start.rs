//! The first steps of a run: whose state it is, the publication, the slot, what each stream has settled and has to read.
//!
//! The order is what keeps a crash harmless. The state knows of the slot before the slot is made, so that one found later is
//! ours; the publication is made before the slot, since a slot that is older than its publication fails for ever; tables
//! are marked as to be read before anything else is done with them.

use std::time::Duration;

use tidemill_change::{Epoch, Lsn};
use tokio::sync::watch;
use tokio::time::Instant;

use super::continuity::{Changed, Look, NO_PLAN, gone};
use super::stream::RUN_ANEW;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plan::{Plan, StreamPlan};
use crate::source::publication::{self, Actions, Ensured, Wanted};
use crate::source::slot::{self, Blocker, Created, SlotInfo, SlotName};
use crate::source::wire::Connection;
use crate::source::{Connector, Session};
use crate::state::{BackfillState, Made, NewSource, SourceIdentity, SourceState, State, TableBackfill};

/// A slot that a dead engine held is free once the server has noticed: its `wal_sender_timeout` is 10 s.
const SLOT_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a slot that is held.
const SLOT_PAUSE: Duration = Duration::from_millis(200);

/// Everything that is known once the start is over.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) system: u64,
    pub(super) is_standby: bool,
    pub(super) epoch: Epoch,
    /// What each stream of the plan has settled.
    pub(super) settled: Vec<Lsn>,
    /// Why each of them is paused, where it is.
    pub(super) paused: Vec<Option<String>>,
    /// The slot, where it was made now: its snapshot is the first backfill's.
    pub(super) created: Option<Created>,
}

pub(crate) fn connector(config: &Config) -> Result<Connector> {
    let url = config
        .source
        .url
        .expose()
        .parse()
        .map_err(|error: crate::source::Error| Error::usage(format!("source.url: {error}")))?;
    let connector = Connector::new(url)?;
    Ok(match &config.source.password {
        Some(password) => connector.with_password(password.clone()),
        None => connector,
    })
}

/// An LSN that everything lies before which is committed by now.
///
/// A commit with `synchronous_commit = off` is not on disk yet, and nothing is sent before it is. The end of what is written but
/// not on disk would be no bound: it may lie behind the header of a page that stays empty, where no record ever ends. So
/// a message that commits in the usual way brings what is before it to the disk; it is in nobody's rows.
pub(super) async fn committed_end(session: &Session, is_standby: bool) -> Result<Lsn> {
    if !is_standby {
        let flush = "BEGIN; SET LOCAL synchronous_commit = local; \
                     SELECT pg_catalog.pg_logical_emit_message(true, 'tidemill', ''); COMMIT";
        let flushed = session.batch_execute(flush).await.map_err(crate::source::Error::from);
        flushed.map_err(|error| error.during("the end of what is committed cannot be told"))?;
    }
    Ok(crate::source::ServerInfo::read(session).await?.wal_end)
}

/// `None`: it was told to stop before it was through.
pub(super) async fn start(
    config: &Config,
    plan: &Plan,
    connector: &Connector,
    session: &mut Session,
    state: &State,
    changed: Changed,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<Started>> {
    refuse_unopened(plan, state)?;
    let name = config.source.slot.clone();
    let found = find_slot(plan, session, &name, stop).await?;
    let reached = state.source()?.map(|known| known.reached()).unwrap_or_default();
    let look = Look { plan, name: &name, slot: found.as_ref(), reached, state };
    if let Some(difference) = look.differences(changed)?.into_iter().next() {
        return Err(difference.error);
    }
    if found.is_none() {
        plan.server.require_free_slot()?;
        // Proves the privilege before anything is made.
        slot::prove_replication(connector).await?;
    }
    look.take_up(changed)?;
    let identity = SourceIdentity {
        system_identifier: plan.server.system,
        database: plan.server.database.clone(),
        slot: name.as_str().to_owned(),
    };
    let publication = ensure_publication(config, plan, session).await?;
    let source = state.bind_source(&NewSource {
        identity,
        timeline: 0,
        slot_made: if found.is_none() { Made::ByUs } else { Made::ByOthers },
        publication: config.source.publication.clone(),
        publication_made: publication,
        epoch: Epoch::default(),
        consistent_point: found.as_ref().and_then(|found| found.confirmed_flush),
    })?;
    let (confirmed, created) = match &found {
        Some(found) => (adopt_slot(found, &source, state)?, None),
        None => {
            let created = tokio::select! {
                created = slot::create(connector, &name, say_blockers) => created?,
                _ = stop.wait_for(|stop| *stop) => return Ok(None),
            };
            state.set_consistent_point(created.consistent_point)?;
            tracing::info!(slot = name.as_str(), consistent_point = %created.consistent_point, "slot made");
            (created.consistent_point, Some(created))
        }
    };
    let mut started = Started {
        system: plan.server.system,
        is_standby: plan.server.is_standby,
        epoch: source.epoch,
        settled: Vec::new(),
        paused: Vec::new(),
        created,
    };
    forget_others(plan, state)?;
    for stream in &plan.streams {
        if !stream.config.backfill && state.stream(&stream.name)?.is_none() {
            tracing::info!(stream = stream.name, from = %confirmed, "the stream begins with the changes from here on");
        }
        let known = enrol(stream, state)?;
        started.settled.push(known.0.max(confirmed));
        started.paused.push(known.1);
    }
    Ok(Some(started))
}

/// What a plugin says of a configuration that has not run yet is for whoever wrote it, before anything is made. Whatever else keeps
/// stages from being opened pauses their stream.
fn refuse_unopened(plan: &Plan, state: &State) -> Result<()> {
    for stream in &plan.streams {
        if let Some(unopened) = stream.unopened.as_ref().filter(|unopened| !unopened.is_broken) {
            let known = state.stream(&stream.name)?;
            if known.is_none_or(|known| known.plan_digest != stream.digest) {
                return Err(Error::failed(format!("stream {}: {}", stream.name, unopened.reason)));
            }
        }
    }
    Ok(())
}

/// The slot, once nobody else streams from it: whoever had it may have moved it on.
async fn find_slot(
    plan: &Plan,
    session: &Session,
    name: &SlotName,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<SlotInfo>> {
    let Some(found) = slot::inspect(session, name).await? else { return Ok(None) };
    found.require_usable(&plan.server.database)?;
    until_free(session, name, stop).await.map(Some)
}

/// Gives where a slot that was there stands. What streams missed by that has been told, or is read anew.
fn adopt_slot(found: &SlotInfo, source: &SourceState, state: &State) -> Result<Lsn> {
    let confirmed = found.confirmed_flush.unwrap_or_default();
    state.advance_confirmed(confirmed)?;
    if source.consistent_point.is_none() {
        // It was made, and the engine ended before it could say so here.
        state.set_consistent_point(confirmed)?;
    }
    Ok(confirmed)
}

/// The slot goes on without the streams that are not there: one that comes back has missed something, and is read anew.
fn forget_others(plan: &Plan, state: &State) -> Result<()> {
    for known in state.streams()? {
        if plan.stream(&known.name).is_none() {
            tracing::info!(stream = known.name, "the stream is left out: where it comes back its rows are read anew");
            state.remove_stream(&known.name)?;
        }
    }
    Ok(())
}

/// Takes a stream into the state: gives what it has settled, and why it is paused.
fn enrol(stream: &StreamPlan, state: &State) -> Result<(Lsn, Option<String>)> {
    let backfills = state.backfills(&stream.name)?;
    let known = state.stream(&stream.name)?;
    let made_nothing = known.is_none_or(|known| known.plan_digest == NO_PLAN);
    let digest = if made_nothing && stream.unopened.is_some() { NO_PLAN } else { &stream.digest };
    state.put_stream(&stream.name, digest)?;
    for table in &stream.tables {
        if backfills.iter().any(|known| known.table == table.relation.id) {
            continue;
        }
        let backfill = match stream.config.backfill {
            true => BackfillState::Todo,
            false => BackfillState::Done { consistent_point: Lsn::ZERO },
        };
        let (table, name) = (table.relation.id, table.relation.to_string());
        state.set_backfill(&stream.name, &TableBackfill { table, name, state: backfill })?;
    }
    for gone in backfills.iter().filter(|known| !stream.tables.iter().any(|table| table.relation.id == known.table)) {
        state.remove_backfill(&stream.name, gone.table)?;
    }
    let (settled, paused) = state.stream(&stream.name)?.map(|known| (known.settled, known.paused)).unwrap_or_default();
    let unopened = stream.unopened.as_ref().map(|unopened| format!("{}{RUN_ANEW}", unopened.reason));
    Ok((settled, unopened.or(paused)))
}

async fn ensure_publication(config: &Config, plan: &Plan, session: &mut Session) -> Result<Made> {
    let tables: Vec<_> = plan.tables().iter().map(|table| (**table).clone()).collect();
    let wanted = Wanted { name: &config.source.publication, tables: &tables, actions: Actions::ALL };
    Ok(match publication::ensure(session, &plan.server.user, wanted).await? {
        Ensured::Adopted => Made::ByOthers,
        _ => Made::ByUs,
    })
}

/// Names who is waited for, so that it does not look like a hang.
pub(crate) fn say_blockers(blockers: &[Blocker]) {
    for blocker in blockers {
        tracing::warn!("the slot waits for an open transaction: {blocker}");
    }
}

/// A replication connection, once nobody else streams from the slot.
pub(super) async fn replication(
    connector: &Connector,
    session: &mut Option<Session>,
    name: &SlotName,
    stop: &mut watch::Receiver<bool>,
) -> Result<Connection> {
    // Put back only after it has served: one that failed is lost.
    let known = match session.take() {
        Some(known) if !known.is_closed() => known,
        _ => connector.sql().await?,
    };
    until_free(session.insert(known), name, stop).await?;
    Ok(connector.replication().await?)
}

/// Waits until nobody else streams from the slot: an engine that died holds it until the server has noticed. Gives it as it
/// is then.
async fn until_free(session: &Session, name: &SlotName, stop: &mut watch::Receiver<bool>) -> Result<SlotInfo> {
    let until = Instant::now() + SLOT_PATIENCE;
    loop {
        let Some(found) = slot::inspect(session, name).await? else { return Err(gone(name)) };
        match found.require_free() {
            Ok(()) => return Ok(found),
            Err(error) if Instant::now() >= until => return Err(error.into()),
            Err(_) => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Err(Error::transient("told to stop while the slot was held by another")),
            () = tokio::time::sleep(SLOT_PAUSE) => {}
        }
    }
}
