//! The engine: reads what has to be read, follows the stream, delivers, confirms; until it is told to stop.
//!
//! ```text
//!  start ─► streams (worker thread, task) ─┐
//!        └► source: backfill what is to be read ─► follow ─► again, where a stream or the connection asks for it
//! ```

mod backfill;
mod board;
mod clock;
mod continuity;
mod fill;
mod keeper;
mod letters;
mod observe;
mod push;
mod retry;
mod said;
mod source;
mod stages;
mod start;
mod stream;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemill_change::{BUCKET_LAST, Lsn, TableId};
use tidemill_decode::Decoder;
use tidemill_encode::Encoder;
use tidemill_settle::{Backoff, Limits};
use tokio::sync::{Notify, mpsc, watch};

use self::board::Board;
pub(crate) use self::board::ask_for_backfill;
pub use self::board::{Phase, Status};
use self::clock::Clock;
pub use self::continuity::Changed;
pub(crate) use self::continuity::Look;
use self::continuity::{Missed, gone, look_back};
use self::fill::Filler;
use self::keeper::Keeper;
use self::letters::Letters;
use self::observe::Observed;
pub use self::observe::StreamStatus;
pub(crate) use self::retry::{Retried, retry_letters};
use self::said::PluginLog;
use self::source::{Bounds, Caps, End, Reader, Shared};
use self::stages::Stages;
use self::start::Started;
pub(crate) use self::start::{connector, say_blockers};
use self::stream::{Documents, Parts, StreamHandle, StreamTask};
pub(crate) use self::stream::{PAUSED, with_way_on};
use self::worker::Worker;
use crate::config::Config;
use crate::control;
use crate::deliver::{self, Sink};
use crate::error::{Error, Result};
use crate::http;
use crate::metrics::Metrics;
use crate::plan::{Findings, IndexPlan, Plan, Plugins, StreamPlan};
use crate::source::catalog::TableInfo;
use crate::source::slot::{self, SlotName};
use crate::source::wire::SystemIdentity;
use crate::source::{Connector, Session};
use crate::state::{BackfillState, SourceIdentity, State};

/// Jobs that wait for a stream's worker, and bodies that wait for its task: one, so that what is not yet needed stays a
/// growing batch.
const JOBS_MAX: usize = 1;
/// The first and the longest delay before the source is tried again.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(200);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(30);
/// What is in flight at a stop has this long to settle; what has not is sent again at the next start.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);
/// What the streams of an engine hold together in bodies that have not settled.
const HELD_BYTES_ALL_MAX: u64 = 48 << 20;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Stop once everything that is committed now has settled.
    pub until_caught_up: bool,
    /// What to do about a stream whose plan is not the one its documents were made by.
    pub changed: Changed,
}

/// A stop takes no longer than this, whatever is waited for at that moment; what had not settled is sent again at the
/// next start.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How a run ended that was not cut short by an error.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Dead letters that it wrote.
    pub dead_letters: u64,
    /// The streams that are paused at its end, each with its reason.
    pub paused: Vec<String>,
}

/// Runs until `stop` says so, or until it has caught up where that is asked for.
pub async fn run(config: Config, options: Options, stop: watch::Receiver<bool>) -> Result<Ended> {
    let mut told = stop.clone();
    let out_of_patience = async {
        let _told = told.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        result = run_until_told(config, options, stop) => result,
        () = out_of_patience => {
            tracing::warn!("something was still waited for; what had not settled is sent again at the next start");
            Ok(Ended::default())
        }
    }
}

async fn run_until_told(config: Config, options: Options, mut stop: watch::Receiver<bool>) -> Result<Ended> {
    let state = Arc::new(State::open(&config.state)?);
    let metrics = Arc::new(Metrics::default());
    let board = Arc::new(Board::new(&config, Arc::clone(&state)));
    let http = match &config.http {
        Some(options) => Some(show(options, &metrics, &board, config.ready.lag).await?),
        None => None,
    };
    let connector = start::connector(&config)?;
    let Some((mut session, plan)) = resolve(&config, &connector, &options, &mut stop).await? else {
        return Ok(Ended::default());
    };
    let sinks = sinks(&config)?;
    let mut told = stop.clone();
    // Given up at any point, a start is taken up again by the next.
    let started = tokio::select! {
        started = start::start(&config, &plan, &connector, &mut session, &state, options.changed, &mut stop) => started?,
        _ = told.wait_for(|stop| *stop) => return Ok(Ended::default()),
    };
    let Some(started) = started else { return Ok(Ended::default()) };
    let (control, calls) = control::Server::start(&config.state)?;
    let until = match options.until_caught_up {
        true => Some(start::committed_end(&session, plan.server.is_standby).await?),
        false => None,
    };
    let engine = Engine::build(
        &plan,
        &sinks,
        &state,
        &metrics,
        &board,
        started,
        Bounds { until, wal_keep_bytes: config.source.wal_keep_bytes },
    )?;
    let answering = tokio::spawn(Arc::clone(&board).answer(calls));
    let result = engine.run(&config, &plan, connector, session, &mut stop).await;
    answering.abort();
    drop((control, http));
    result?;
    let dead_letters = metrics.snapshot().streams.values().map(|stream| stream.dead_letters).sum();
    Ok(Ended { dead_letters, paused: board.paused() })
}

/// All sinks of the configuration, by name.
fn sinks(config: &Config) -> Result<HashMap<&str, Sink>> {
    let mut sinks = HashMap::new();
    for (name, sink) in &config.sinks {
        let sink = Sink::new(deliver::options(sink)?).map_err(|error| Error::failed(error.to_string()))?;
        sinks.insert(name.as_str(), sink);
    }
    Ok(sinks)
}

/// How often `/readyz` looks.
const READINESS_INTERVAL: Duration = Duration::from_millis(500);

/// Serves metrics and health until what it returns is dropped.
async fn show(
    options: &crate::config::Http,
    metrics: &Arc<Metrics>,
    board: &Arc<Board>,
    lag: Duration,
) -> Result<tokio::task::JoinSet<()>> {
    let server = http::Server::bind(options).await?;
    tracing::info!(address = %server.address(), "metrics and health are served");
    let (sender, readiness) = watch::channel(board.readiness(lag));
    let (metrics, board) = (Arc::clone(metrics), Arc::clone(board));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        if let Err(error) = server.serve(metrics, readiness, std::future::pending()).await {
            tracing::error!(%error, "metrics and health are not served any more");
        }
    });
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(READINESS_INTERVAL);
        loop {
            ticks.tick().await;
            sender.send_replace(board.readiness(lag));
        }
    });
    Ok(tasks)
}

/// Looks at everything, as `check` does. A database that cannot be reached at present is waited for, unless somebody
/// waits for the end.
async fn resolve(
    config: &Config,
    connector: &Connector,
    options: &Options,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<(Session, Plan)>> {
    let mut backoff = Backoff::new(RECONNECT_DELAY_MIN, RECONNECT_DELAY_MAX, 0);
    let mut plugins = Plugins::default();
    let mut failures = 0;
    loop {
        let resolved = tokio::select! {
            resolved = try_resolve(config, connector, &mut plugins) => resolved,
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        };
        let error = match resolved {
            Ok(resolved) => return Ok(Some(resolved)),
            Err(error) if error.is_transient() && !options.until_caught_up => error,
            Err(error) => return Err(error),
        };
        failures += 1;
        let delay = backoff.delay(failures);
        tracing::warn!(%error, delay_ms = delay.as_millis() as u64, "the source is not there; trying again");
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
            () = tokio::time::sleep(delay) => {}
        }
    }
}

async fn try_resolve(config: &Config, connector: &Connector, plugins: &mut Plugins) -> Result<(Session, Plan)> {
    let session = connector.sql().await?;
    let mut findings = Findings::default();
    let plan = Plan::resolve(config, &session, connector, plugins, &mut findings).await?;
    findings.require()?;
    let plan = plan.ok_or_else(|| Error::failed("the configuration could not be resolved"))?;
    Ok((session, plan))
}

struct Engine {
    shared: Shared,
    state: Arc<State>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    started: Started,
    wal_end: Arc<AtomicU64>,
    /// The streams' tasks: they end when their jobs do.
    tasks: tokio::task::JoinSet<()>,
    plugin_logs: Vec<PluginLog>,
    generation: u32,
    /// For looks at the slot; made anew after it was lost.
    session: Option<Session>,
}

impl Engine {
    fn build(
        plan: &Plan,
        sinks: &HashMap<&str, Sink>,
        state: &Arc<State>,
        metrics: &Arc<Metrics>,
        board: &Arc<Board>,
        started: Started,
        bounds: Bounds,
    ) -> Result<Engine> {
        let clock = Clock::start();
        let moved = Arc::new(Notify::new());
        let wal_end = Arc::new(AtomicU64::new(plan.server.wal_end.0));
        let mut tasks = tokio::task::JoinSet::new();
        let mut streams = Vec::with_capacity(plan.streams.len());
        let mut plugin_logs = Vec::with_capacity(plan.streams.len());
        for (place, stream) in plan.streams.iter().enumerate() {
            let observed = Arc::new(Observed::new(metrics.stream(&stream.name)));
            let limits = Limits {
                documents_max: stream.config.batch.documents_max,
                bytes_max: stream.config.batch.bytes_max,
                held_bytes_max: (HELD_BYTES_ALL_MAX / plan.streams.len() as u64).max(2 * stream.config.batch.bytes_max),
                ..Limits::default()
            };
            let config = &stream.config;
            let counters = metrics.stream(&stream.name);
            let letters = Letters::new(Arc::clone(state), &stream.name, config.dead_letters, config.rejects, counters)?;
            let (again, again_out) = watch::channel(None);
            let parts = Parts {
                name: stream.name.clone(),
                sink: sinks[stream.sink.as_str()].clone(),
                settled: started.settled[place],
                epoch: started.epoch,
                limits,
                letters,
                observed: Arc::clone(&observed),
                wal_end: Arc::clone(&wal_end),
                clock,
                moved: Arc::clone(&moved),
                seed: place as u64,
                documents: documents(stream),
                sweeps: config.actions.insert,
                preparation: deliver::Preparation::of(stream, started.system, started.epoch)?,
                again: again_out,
                paused: started.paused[place].clone(),
            };
            let chain = stream.chain();
            let said = PluginLog::new(&stream.name, &chain);
            let worker = Worker {
                encoder: Encoder::new(stream.encoding(started.epoch)),
                stream: stream.name.clone(),
                observed: Arc::clone(&observed),
                stages: Stages::new(Arc::clone(metrics), &stream.name, &chain),
                chain,
                said: said.clone(),
                again,
                seed: place as u64,
            };
            let handle = spawn(stream, worker, parts, &mut tasks)?;
            board.add(stream, &handle, observed);
            streams.push(handle);
            plugin_logs.push(said);
        }
        let caps = Caps {
            rows: plan.streams.iter().map(|stream| stream.config.batch.documents_max as usize).max().unwrap_or(10_000),
            bytes: plan.streams.iter().map(|stream| stream.config.batch.bytes_max as usize).max().unwrap_or(8 << 20),
        };
        board.wake_by(&moved);
        let kept = state.source()?.and_then(|known| known.confirmed).unwrap_or_default();
        let keeper = Keeper::start(state, kept, &moved);
        let shared = Shared {
            streams,
            moved,
            clock,
            caps,
            bounds,
            wal_end: Arc::clone(&wal_end),
            board: Arc::clone(board),
            metrics: Arc::clone(metrics),
            keeper,
        };
        let (state, metrics, board) = (Arc::clone(state), Arc::clone(metrics), Arc::clone(board));
        Ok(Engine { shared, state, metrics, board, started, wal_end, tasks, plugin_logs, generation: 0, session: None })
    }

    async fn run(
        mut self,
        config: &Config,
        plan: &Plan,
        connector: Connector,
        session: Session,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        let connector = Arc::new(connector);
        self.session = Some(session);
        let mut backoff = Backoff::new(RECONNECT_DELAY_MIN, RECONNECT_DELAY_MAX, 1);
        let mut failures = 0;
        loop {
            let settled_before = self.shared.settled();
            let error = match self.live(config, plan, &connector, stop).await {
                Ok(End::Stopped | End::CaughtUp) => break,
                Ok(End::Again) => {
                    failures = 0;
                    continue;
                }
                Err(error) if error.is_transient() => error,
                Err(error) => {
                    self.end().await;
                    return Err(error);
                }
            };
            self.metrics.source.connected.set(0);
            self.metrics.source.reconnects.inc();
            failures = if self.shared.settled() > settled_before { 1 } else { failures + 1 };
            let delay = backoff.delay(failures);
            tracing::warn!(%error, delay_ms = delay.as_millis() as u64, "the source was lost; taking it up again");
            self.board.waits(&error);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(delay) => {}
            }
        }
        self.end().await;
        Ok(())
    }

    /// One life of the source: what has to be read is read, then the stream is followed.
    async fn live(
        &mut self,
        config: &Config,
        plan: &Plan,
        connector: &Arc<Connector>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End> {
        self.generation += 1;
        for stream in &mut self.shared.streams {
            stream.attached = !stream.is_paused();
            stream.from = stream.settled();
        }
        let mut told = stop.clone();
        // Nothing is lost with it, and any of its statements may wait for a lock.
        let ended = tokio::select! {
            ended = self.backfill(plan, connector, stop) => ended?,
            _ = told.wait_for(|stop| *stop) => Some(End::Stopped),
        };
        if let Some(end) = ended {
            return Ok(end);
        }
        let connected = tokio::select! {
            connected = self.connect(config, plan, connector, stop) => connected?,
            _ = told.wait_for(|stop| *stop) => return Ok(End::Stopped),
        };
        let (wire, from) = connected;
        self.metrics.source.connected.set(1);
        self.board.phase(Phase::Streaming);
        tracing::info!(slot = config.source.slot.as_str(), from = %from, "streaming");
        let filler = Filler::new(Arc::clone(connector), plan);
        let decoder = decoder(plan, from);
        let mut reader = Reader::new(&mut self.shared, wire, decoder, filler, self.generation, from);
        let end = reader.run(stop).await?;
        match end {
            End::Again => reader.finish().await?,
            End::Stopped | End::CaughtUp => reader.drain(DRAIN_PATIENCE).await?,
        }
        self.remember()?;
        Ok(end)
    }

    /// A connection that streams, and from where.
    async fn connect(
        &mut self,
        config: &Config,
        plan: &Plan,
        connector: &Connector,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(slot::Stream, Lsn)> {
        let name: SlotName = config.source.slot.clone();
        let mut connection = start::replication(connector, &mut self.session, &name, stop).await?;
        let from = self.shared.settled();
        self.look_back(config, &connection.identify_system().await?)?;
        let wire = slot::Stream::on(connector, connection, &name, &config.source.publication, from).await?;
        // Now that it is ours nobody moves it any more.
        self.look_at_slot(plan, &name).await?;
        // The first status says it already.
        self.shared.keeper.keep_now(from).await?;
        Ok((wire, from))
    }

    /// While the connection was away, another may have used the slot.
    async fn look_at_slot(&self, plan: &Plan, name: &SlotName) -> Result<()> {
        let session = self.session.as_ref().ok_or_else(|| Error::transient("the session for the slot is lost"))?;
        let slot = slot::inspect(session, name).await?.ok_or_else(|| gone(name))?;
        let confirmed = slot.confirmed_flush.unwrap_or_default();
        if confirmed <= self.shared.keeper.kept() {
            return Ok(());
        }
        self.remember()?;
        match Missed::find(plan, &slot, &self.state)? {
            Some(missed) => Err(missed.into()),
            // What is read from now on has all that was before.
            None => self.shared.keeper.keep_now(confirmed).await,
        }
    }

    /// The server may have become another while it was away.
    fn look_back(&self, config: &Config, found: &SystemIdentity) -> Result<()> {
        if let Some(known) = self.state.source()? {
            let identity = SourceIdentity {
                system_identifier: found.system,
                database: known.identity.database.clone(),
                slot: config.source.slot.as_str().to_owned(),
            };
            self.state.expect_source(&known, &identity)?;
        }
        let received = self.wal_end.fetch_max(found.flushed.0, Ordering::Relaxed).max(self.shared.settled().0);
        look_back(found.flushed, Lsn(received), self.started.is_standby)
    }

    /// Reads the tables that have to be read. A stream that is let go on the way keeps what it has to read.
    async fn backfill(
        &mut self,
        plan: &Plan,
        connector: &Connector,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<End>> {
        let created = self.started.created.take();
        let mut todo = Vec::new();
        for (place, stream) in plan.streams.iter().enumerate() {
            if self.shared.streams[place].attached {
                todo.extend(self.to_read(place, stream)?);
            }
        }
        if todo.is_empty() {
            return Ok(None);
        }
        self.board.phase(Phase::Backfilling);
        let reading = backfill::Reading {
            shared: &mut self.shared,
            plan,
            state: &self.state,
            generation: self.generation,
            bucket: (self.state.count_backfill()? % u32::from(BUCKET_LAST)) as u16,
            connector,
        };
        reading.run(todo, created, stop).await
    }

    fn to_read(&self, place: usize, stream: &StreamPlan) -> Result<Vec<backfill::Todo>> {
        let known = self.state.backfills(&stream.name)?;
        let is_done = |table: TableId| {
            known.iter().any(|known| known.table == table && matches!(known.state, BackfillState::Done { .. }))
        };
        let tables = stream.tables.iter().enumerate().filter(|(_, table)| !is_done(table.relation.id));
        Ok(tables.map(|(table, _)| backfill::Todo { stream: place, table }).collect())
    }

    /// Keeps what each stream has settled, so that none gets it again after a start.
    fn remember(&self) -> Result<()> {
        let settled: Vec<_> =
            self.shared.streams.iter().map(|stream| (stream.name.clone(), stream.settled())).collect();
        self.state.advance_settled(settled.iter().map(|(name, lsn)| (name.as_str(), *lsn)))?;
        self.state.advance_received(Lsn(self.wal_end.load(Ordering::Relaxed)))
    }

    /// Ends the streams' tasks.
    async fn end(mut self) {
        if let Err(error) = self.remember() {
            tracing::warn!(%error, "what has settled could not be kept; some of it is sent again at the next start");
        }
        // Tasks before workers: a task that finds its worker gone takes that for a defect.
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.plugin_logs.iter().for_each(PluginLog::end);
        tracing::info!(settled = %self.shared.settled(), "stopped");
        self.shared.streams.clear();
    }
}

/// Starts a stream's thread and task.
fn spawn(
    stream: &StreamPlan,
    worker: Worker,
    parts: Parts,
    tasks: &mut tokio::task::JoinSet<()>,
) -> Result<StreamHandle> {
    let (jobs, jobs_out) = mpsc::channel(JOBS_MAX);
    let (made, made_out) = mpsc::channel(JOBS_MAX);
    let (wishes, wishes_out) = mpsc::channel(JOBS_MAX);
    std::thread::Builder::new()
        .name(format!("stream {}", stream.name))
        .stack_size(tidemill_stage::Limits::THREAD_STACK_BYTES)
        .spawn(move || worker.run(jobs_out, made))
        .map_err(|error| Error::failed(format!("stream `{}` got no thread", stream.name)).with_cause(error))?;
    let from = parts.settled;
    let (task, report) = StreamTask::new(parts, wishes_out);
    tasks.spawn(task.run(made_out));
    let tables = stream.tables.iter().map(|table| table.relation.id).collect();
    let left_out = stream.tables.iter().zip(&stream.left_out).filter(|(_, left_out)| !left_out.is_empty());
    let left_out =
        left_out.map(|(table, left_out)| (table.relation.id, (Arc::clone(&table.relation), left_out.clone())));
    let (name, left_out) = (stream.name.clone(), left_out.collect());
    Ok(StreamHandle { name, jobs, wishes, report, tables, left_out, attached: true, from })
}

/// The documents of each table: what a TRUNCATE removes. Truncate goes with delete: without it documents stay when their
/// rows go.
fn documents(stream: &StreamPlan) -> HashMap<TableId, Documents> {
    if !stream.config.actions.delete {
        return HashMap::new();
    }
    let of_index = |index: &IndexPlan| {
        let tables = index.tables.iter().zip(&index.prefixes);
        let documents = |(table, prefix): (&Arc<TableInfo>, &String)| {
            let (is_pattern, prefix) = (index.is_pattern, prefix.clone());
            let index = index.name.clone();
            (table.relation.id, Documents { index, is_pattern, prefix, table: table.relation.to_string() })
        };
        tables.map(documents).collect::<Vec<_>>()
    };
    stream.indices.iter().flat_map(of_index).collect()
}

/// A decoder that knows the kinds of types which only the catalog can tell, and which columns no stream reads.
fn decoder(plan: &Plan, from: Lsn) -> Decoder {
    let mut decoder = Decoder::new(from);
    for table in plan.tables() {
        for column in &table.relation.columns {
            decoder.name_type(column.type_oid, column.kind);
        }
    }
    for table in plan.tables() {
        decoder.leave_out(Arc::clone(&table.relation), plan.left_out(&table));
    }
    decoder
}
