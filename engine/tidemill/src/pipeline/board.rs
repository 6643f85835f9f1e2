//! What an engine shows and takes: the answers to commands, readiness, and the wishes of operators.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tidemill_change::Lsn;
use tokio::sync::{Notify, mpsc, watch};

use super::observe::{Observed, StreamStatus};
use super::stream::{PAUSED, Report, Standing, StreamHandle, Wish};
use crate::config::Config;
use crate::control::{Call, Request};
use crate::cpu;
use crate::error::{Error, Result};
use crate::http::Readiness;
use crate::plan::StreamPlan;
use crate::state::{BackfillState, State, TableBackfill};

/// What the engine is doing as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Starting,
    Backfilling,
    Streaming,
    /// The source is not there.
    Waiting,
}

/// The answer to `status --json` of an engine that runs.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub running: bool,
    pub phase: Phase,
    /// Why the source is waited for.
    pub reason: Option<String>,
    pub confirmed_lsn: String,
    pub wal_end_lsn: String,
    pub lag_bytes: u64,
    pub backfill: BackfillCost,
    pub streams: Vec<StreamStatus>,
}

/// What reading rows that were there before has cost so far.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BackfillCost {
    pub time_us: u64,
    /// Of the whole process, user and system.
    pub cpu_us: u64,
}

#[derive(Debug)]
struct Stream {
    name: String,
    wishes: mpsc::Sender<Wish>,
    report: watch::Receiver<Report>,
    observed: Arc<Observed>,
    /// Its stages could not be opened: it goes on with the next start alone.
    waits_for_a_start: bool,
}

#[derive(Debug)]
pub(crate) struct Board {
    state: Arc<State>,
    config_path: String,
    streams: Mutex<Vec<Stream>>,
    phase: Mutex<(Phase, Option<String>)>,
    backfill: Mutex<BackfillCost>,
    /// When the present backfill began, and the CPU time by then.
    backfill_began: Mutex<Option<(Instant, Duration)>>,
    confirmed: AtomicU64,
    wal_end: AtomicU64,
    /// Somebody asked for a backfill: the source begins again with it.
    again: AtomicBool,
    moved: Mutex<Option<Arc<Notify>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    pub(crate) fn new(config: &Config, state: Arc<State>) -> Board {
        Board {
            state,
            config_path: config.path.display().to_string(),
            streams: Mutex::default(),
            phase: Mutex::new((Phase::Starting, None)),
            backfill: Mutex::default(),
            backfill_began: Mutex::default(),
            confirmed: AtomicU64::new(0),
            wal_end: AtomicU64::new(0),
            again: AtomicBool::new(false),
            moved: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, plan: &StreamPlan, handle: &StreamHandle, observed: Arc<Observed>) {
        let (name, wishes, report) = (handle.name.clone(), handle.wishes.clone(), handle.report.clone());
        let waits_for_a_start = plan.unopened.is_some();
        lock(&self.streams).push(Stream { name, wishes, report, observed, waits_for_a_start });
    }

    pub(crate) fn observed(&self, place: usize) -> Option<Arc<Observed>> {
        lock(&self.streams).get(place).map(|stream| Arc::clone(&stream.observed))
    }

    pub(crate) fn wake_by(&self, moved: &Arc<Notify>) {
        *lock(&self.moved) = Some(Arc::clone(moved));
    }

    pub(crate) fn phase(&self, phase: Phase) {
        self.account();
        if phase == Phase::Backfilling {
            *lock(&self.backfill_began) = Some((Instant::now(), cpu::of(std::process::id())));
        }
        *lock(&self.phase) = (phase, None);
    }

    /// Adds what a backfill that ends now has cost.
    fn account(&self) {
        let Some((start, cpu_before)) = lock(&self.backfill_began).take() else { return };
        let mut cost = lock(&self.backfill);
        cost.time_us += start.elapsed().as_micros() as u64;
        cost.cpu_us += cpu::of(std::process::id()).saturating_sub(cpu_before).as_micros() as u64;
    }

    pub(crate) fn waits(&self, error: &Error) {
        self.account();
        *lock(&self.phase) = (Phase::Waiting, Some(error.to_string()));
    }

    pub(crate) fn progress(&self, confirmed: Lsn, wal_end: Lsn) {
        self.confirmed.store(confirmed.0, Ordering::Relaxed);
        self.wal_end.fetch_max(wal_end.0, Ordering::Relaxed);
    }

    /// Whether somebody asked for the source to begin again; asked once, it is told once.
    pub(crate) fn take_again(&self) -> bool {
        self.again.swap(false, Ordering::Relaxed)
    }

    /// The streams that are paused, each with its reason.
    pub(crate) fn paused(&self) -> Vec<String> {
        let streams = lock(&self.streams);
        let paused = streams.iter().filter_map(|stream| match &stream.report.borrow().standing {
            Standing::Paused(reason) => Some(format!("stream `{}` is paused: {reason}", stream.name)),
            _ => None,
        });
        paused.collect()
    }

    pub(crate) fn status(&self) -> Status {
        let wal_end = Lsn(self.wal_end.load(Ordering::Relaxed));
        let confirmed = Lsn(self.confirmed.load(Ordering::Relaxed));
        let (phase, reason) = lock(&self.phase).clone();
        let streams = lock(&self.streams);
        let streams = streams.iter().map(|stream| {
            let Report { settled, standing, .. } = stream.report.borrow().clone();
            stream.observed.status(&stream.name, &standing, settled, wal_end)
        });
        Status {
            running: true,
            phase,
            reason,
            confirmed_lsn: confirmed.to_string(),
            wal_end_lsn: wal_end.to_string(),
            lag_bytes: wal_end.0.saturating_sub(confirmed.0),
            backfill: *lock(&self.backfill),
            streams: streams.collect(),
        }
    }

    /// Ready: streaming, nothing paused or waiting, within the lag.
    ///
    /// Called now and then while metrics are served: it keeps their lag in step with the clock.
    pub(crate) fn readiness(&self, lag: Duration) -> Readiness {
        let lags: Vec<_> = lock(&self.streams).iter().map(|stream| stream.observed.lag_now()).collect();
        let status = self.status();
        if status.phase != Phase::Streaming {
            let phase = format!("{:?}", status.phase).to_lowercase();
            return Readiness { reasons: vec![format!("the engine is {phase}")] };
        }
        let reasons = status.streams.iter().zip(lags).filter_map(|(stream, behind)| match &stream.reason {
            Some(reason) => Some(format!("stream `{}`: {reason}", stream.name)),
            None if behind > lag => Some(format!("stream `{}` is more than {} s behind", stream.name, lag.as_secs())),
            None => None,
        });
        Readiness { reasons: reasons.collect() }
    }

    /// Answers commands until the engine ends.
    pub(crate) async fn answer(self: Arc<Self>, mut calls: mpsc::Receiver<Call>) {
        while let Some(call) = calls.recv().await {
            let answer = self.carry_out(&call.request).await;
            call.answer(answer);
        }
    }

    async fn carry_out(&self, request: &Request) -> Result<serde_json::Value> {
        match request {
            Request::Status => serde_json::to_value(self.status())
                .map_err(|error| Error::failed("the status has no JSON form").with_cause(error)),
            Request::Pause { stream } => {
                self.wish(stream, Wish::Pause).await?;
                self.state.set_paused(stream, Some(PAUSED))?;
                Ok(json!({ "running": true, "stream": stream, "state": "paused" }))
            }
            Request::Resume { stream } => {
                if let Some(reason) = self.waits_for_a_start(stream) {
                    self.state.set_paused(stream, None)?;
                    return Err(Error::failed(format!("stream `{stream}` cannot go on: {reason}")));
                }
                self.wish(stream, Wish::Resume).await?;
                self.state.set_paused(stream, None)?;
                self.wake();
                Ok(json!({ "running": true, "stream": stream, "state": "resumed" }))
            }
            Request::Backfill { stream } => {
                self.find(stream)?;
                let tables = ask_for_backfill(&self.state, stream)?;
                self.again.store(true, Ordering::Relaxed);
                self.wake();
                Ok(json!({ "running": true, "stream": stream, "tables": tables }))
            }
            Request::CountDeadLetters => {
                for stream in lock(&self.streams).iter() {
                    let open = self.state.dead_letter_totals(&stream.name)?.rows;
                    stream.observed.metrics.dead_letters_open.set(open as i64);
                }
                Ok(json!({}))
            }
        }
    }

    fn wake(&self) {
        if let Some(moved) = &*lock(&self.moved) {
            moved.notify_one();
        }
    }

    fn find(&self, name: &str) -> Result<mpsc::Sender<Wish>> {
        let streams = lock(&self.streams);
        let stream = streams.iter().find(|stream| stream.name == name);
        let names: Vec<_> = streams.iter().map(|stream| format!("`{}`", stream.name)).collect();
        stream.map(|stream| stream.wishes.clone()).ok_or_else(|| {
            Error::usage(format!("there is no stream `{name}` in `{}`: it has {}", self.config_path, names.join(", ")))
        })
    }

    /// Why a stream is paused that goes on with the next start alone.
    fn waits_for_a_start(&self, name: &str) -> Option<String> {
        let streams = lock(&self.streams);
        let stream = streams.iter().find(|stream| stream.name == name && stream.waits_for_a_start)?;
        match &stream.report.borrow().standing {
            Standing::Paused(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    async fn wish(&self, name: &str, wish: Wish) -> Result<()> {
        let wishes = self.find(name)?;
        wishes.send(wish).await.map_err(|_| Error::failed(format!("stream `{name}` is ending")))
    }
}

/// Marks a stream's tables as to be read, in the state; gives their names.
pub(crate) fn ask_for_backfill(state: &State, stream: &str) -> Result<Vec<String>> {
    let known = state.backfills(stream)?;
    for table in &known {
        state.set_backfill(stream, &TableBackfill { state: BackfillState::Todo, ..table.clone() })?;
    }
    Ok(known.into_iter().map(|table| table.name).collect())
}
